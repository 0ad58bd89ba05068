"""RELION 3.0, 3.1 and 5 particle tables as metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from morphem.core import rotations
from morphem.core.types import Optics, Poses
from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.record import AbstractSource, Metadata, dense, numbered
from morphem.data.star import PackedStar, StarFile, StarTable

_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_WITHOUT_ABERRATION = {"rlnMagMat00": 1.0, "rlnMagMat01": 0.0, "rlnMagMat10": 0.0, "rlnMagMat11": 1.0}
_ABERRATIONS = {
    "rlnBeamTiltX": "beam tilt",
    "rlnBeamTiltY": "beam tilt",
    "rlnOddZernike": "odd Zernike aberrations",
    "rlnEvenZernike": "even Zernike aberrations",
    "rlnMagMat00": "anisotropic magnification",
    "rlnMagMat01": "anisotropic magnification",
    "rlnMagMat10": "anisotropic magnification",
    "rlnMagMat11": "anisotropic magnification",
    "rlnCtfDataArePhaseFlipped": "phase flipping already applied to the images",
}


@dataclass(frozen=True)
class StarColumns:
    """Values per row of a particle table, looked up in its optics group first and in the row second."""

    star: StarFile
    particles: StarTable
    optics: StarTable | None
    optics_row: Int[np.ndarray, "n"]

    def find(self, label: str) -> Float[np.ndarray, "n"] | None:
        """A column, or None where neither table has it."""
        if self.optics is not None and label in self.optics:
            return self.optics.numbers(label)[self.optics_row]
        return self.particles.numbers(label) if label in self.particles else None

    def take(self, label: str, default: float) -> Float[np.ndarray, "n"]:
        """A column, or a constant where neither table has it."""
        found = self.find(label)
        return np.full(len(self.particles), float(default)) if found is None else found

    def require(self, label: str, given: float | None, code: str, fix: str) -> Float[np.ndarray, "n"]:
        """The value that the user stated, else the column, else a coded error that says what to do."""
        if given is not None:
            return np.full(len(self.particles), float(given))
        found = self.find(label)
        if found is None:
            tables = " nor ".join(f"data_{t.name}" for t in (self.optics, self.particles) if t is not None)
            raise DataError(code, f"{self.star.path}: no column _{label} in {tables}; {fix}")
        return found


@dataclass(frozen=True)
class RelionSource(AbstractSource):
    """A particle star file."""

    path: Path
    star: PackedStar
    pixel_size: Float[np.ndarray, "m"]
    defocus_columns = ("rlnDefocusU", "rlnDefocusV")

    def write(
        self,
        path: Path,
        rows: Int[np.ndarray, "b"],
        columns: Mapping[str, np.ndarray],
        poses: Poses | None,
    ) -> None:
        """Write rows with their text as it was; Euler angles and origins only where ``poses`` are given."""
        star = self.star.unpack()
        table = image_table(star)
        texts = as_texts(columns)
        if poses is not None:
            texts |= _pose_texts(table, poses, self.pixel_size[rows])
        star.write(path, table, rows, texts)


def image_table(star: StarFile) -> StarTable:
    """The first table that names images."""
    return next(table for table in star.tables if "rlnImageName" in table)


def as_texts(columns: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """Arrays as STAR words; nine digits bring a float32 back exactly."""
    return {name: [_word(value) for value in column.tolist()] for name, column in numbered(columns).items()}


def read_relion(star: StarFile, table: StarTable, options: MetadataOptions) -> Metadata:
    """One row per image of a particle table with ``_rlnImageName``."""
    columns = star_columns(star, table)
    pixel_size = _pixel_size(columns, options)
    files, file_index, image_index = _images(table)
    rotation, shift = _poses(columns, pixel_size)
    optics, assumed = read_optics(columns, options)
    setting = (optics.voltage_kv, optics.cs_mm, optics.amplitude_contrast)
    group, group_names = optics_groups(columns, pixel_size, *(column.numpy() for column in setting))
    n = len(table)
    return Metadata(
        source=RelionSource(star.path, star.pack(), pixel_size),
        row=np.arange(n),
        uid=None,
        files=files,
        file_index=file_index,
        image_index=image_index,
        rotation=rotation,
        shift=shift,
        optics=optics,
        pixel_size=pixel_size,
        box=columns.take("rlnImageSize", 0).astype(np.int64),
        group=group,
        group_names=group_names,
        particle=np.arange(n),
        half=columns.take("rlnRandomSubset", 0).astype(np.int64),
        sign=np.ones(n),
        premultiplied=columns.take("rlnCtfDataAreCtfPremultiplied", 0) > 0,
        unmodelled=unmodelled_aberrations(columns),
        assumed=assumed,
    )


def star_columns(star: StarFile, table: StarTable) -> StarColumns:
    """A particle table joined to the optics table of its file, if there is one."""
    optics = star.table("optics")
    if optics is None or len(optics) == 0:
        return StarColumns(star, table, None, np.zeros(len(table), np.int64))
    if "rlnOpticsGroup" not in table:
        if len(optics) > 1:
            message = f"{star.path}: {len(optics)} optics groups but no _rlnOpticsGroup in data_{table.name}"
            raise DataError("STAR-003", f"{message}; add the column")
        return StarColumns(star, table, optics, np.zeros(len(table), np.int64))
    known = {int(group): row for row, group in enumerate(optics.numbers("rlnOpticsGroup"))}
    wanted = table.numbers("rlnOpticsGroup").astype(np.int64)
    unknown = sorted(set(wanted.tolist()) - set(known))
    if unknown:
        raise DataError(
            "STAR-003", f"{star.path}: particles in optics group {unknown[0]}, which data_optics lacks"
        )
    lookup = np.full(max(known) + 1, -1)
    lookup[list(known)] = list(known.values())
    return StarColumns(star, table, optics, lookup[wanted])


def read_optics(columns: StarColumns, options: MetadataOptions) -> tuple[Optics, tuple[str, ...]]:
    """The contrast transfer of each row, and what had to be assumed for it."""
    n = len(columns.particles)
    if not options.has_ctf:
        return optics_without_ctf(n), ()
    assumed = []
    if options.amplitude_contrast is None and columns.find("rlnAmplitudeContrast") is None:
        assumed.append("amplitude contrast 0.1 (_rlnAmplitudeContrast is missing)")
    guess = 0.1 if options.amplitude_contrast is None else options.amplitude_contrast
    contrast = np.full(n, guess) if options.amplitude_contrast is not None else None
    no_ctf = "estimate the CTF first, or state has_ctf=False for projections without one"
    defocus_u = columns.require("rlnDefocusU", None, "CTF-001", no_ctf)
    defocus_v = columns.find("rlnDefocusV")
    values = {
        "defocus_u": defocus_u,
        "defocus_v": defocus_u if defocus_v is None else defocus_v,
        "astigmatism": np.radians(columns.take("rlnDefocusAngle", 0)),
        "voltage_kv": columns.require(
            "rlnVoltage", options.voltage_kv, "CTF-003", "state voltage_kv (often 300)"
        ),
        "cs_mm": columns.require(
            "rlnSphericalAberration", options.cs_mm, "CTF-003", "state cs_mm (often 2.7)"
        ),
        "amplitude_contrast": columns.take("rlnAmplitudeContrast", 0.1) if contrast is None else contrast,
        "phase_shift": np.radians(columns.take("rlnPhaseShift", 0)),
        "b_factor": columns.take("rlnCtfBfactor", 0),
        "scale": columns.take("rlnCtfScalefactor", 1),
    }
    return as_optics(values), tuple(assumed)


def unmodelled_aberrations(columns: StarColumns) -> tuple[str, ...]:
    """What the used optics groups or rows hold that the imaging model leaves out, where it is not nil."""
    met: dict[str, None] = {}
    used = np.unique(columns.optics_row)
    for label, words in _ABERRATIONS.items():
        if columns.optics is not None and label in columns.optics:
            texts: Sequence[str] = [columns.optics.texts(label)[row] for row in used]
        else:
            texts = columns.particles.texts(label) if label in columns.particles else []
        nil = _WITHOUT_ABERRATION.get(label, 0.0)
        if any(value != nil for text in set(texts) for value in _vector(text)):
            met[words] = None
    return tuple(met)


def _pixel_size(columns: StarColumns, options: MetadataOptions) -> Float[np.ndarray, "n"]:
    if options.pixel_size is None and columns.find("rlnImagePixelSize") is None:
        detector, magnification = columns.find("rlnDetectorPixelSize"), columns.find("rlnMagnification")
        if detector is not None and magnification is not None:
            return detector * 1e4 / magnification  # µm on the detector → Å in the specimen
    return columns.require("rlnImagePixelSize", options.pixel_size, "PIX-001", "state pixel_size in Å")


def _poses(
    columns: StarColumns, pixel_size: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n 3 3"] | None, Float[np.ndarray, "n 2"] | None]:
    angles = [columns.find(label) for label in _ANGLES]
    found = [angle for angle in angles if angle is not None]
    if len(found) < 3:
        return None, None
    rotation = rotations.from_euler(*torch.deg2rad(torch.from_numpy(np.stack(found)))).numpy()
    return rotation, -np.stack([_origin(columns, axis, pixel_size) for axis in "XY"], -1)


def _origin(columns: StarColumns, axis: str, pixel_size: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    angstrom = columns.find(f"rlnOrigin{axis}Angst")
    return columns.take(f"rlnOrigin{axis}", 0) * pixel_size if angstrom is None else angstrom


def _images(table: StarTable) -> tuple[tuple[str, ...], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Stacks, and for each row which stack and which image of it (RELION counts from 1)."""
    files: dict[str, int] = {}
    file_index, image_index = np.empty(len(table), np.int64), np.empty(len(table), np.int64)
    for row, name in enumerate(table.texts("rlnImageName")):
        number, at, file = name.partition("@")
        file_index[row] = files.setdefault(file if at else name, len(files))
        if at and not (number.isdecimal() and int(number) > 0):
            where = f"{table.path}, line {table.line_numbers[row]}"
            raise DataError("STAR-004", f"{where}: image {name!r} should be called like 000001@stack.mrcs")
        image_index[row] = int(number) - 1 if at else 0
    return tuple(files), file_index, image_index


def optics_groups(columns: StarColumns, *setting: np.ndarray) -> tuple[Int[np.ndarray, "n"], tuple[str, ...]]:
    """Optics group of each row; without an optics table, rows of one microscope ``setting`` are a group."""
    if columns.optics is not None:
        used, group = np.unique(columns.optics_row, return_inverse=True)
        label = "rlnOpticsGroupName" if "rlnOpticsGroupName" in columns.optics else "rlnOpticsGroup"
        names = columns.optics.texts(label)
        return group, tuple(names[row] for row in used)
    group = dense(np.unique(np.stack(setting, -1), axis=0, return_inverse=True)[1].reshape(-1))
    return group, tuple(f"group {k + 1}" for k in range(group.max(initial=-1) + 1))


def as_optics(columns: Mapping[str, np.ndarray]) -> Optics:
    """Float64 optics of NumPy columns."""
    return Optics(**{name: torch.from_numpy(np.array(v, np.float64)) for name, v in columns.items()})


def optics_without_ctf(n: int) -> Optics:
    """Optics whose contrast transfer is one at every frequency: amplitude contrast alone."""
    nil, one = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    return Optics(nil, nil, nil, 300 * one, nil, one, nil, nil, one)


def _vector(text: str) -> list[float]:
    return [float(word) for word in text.strip("[]").split(",") if word]


def _pose_texts(table: StarTable, poses: Poses, pixel_size: Float[np.ndarray, "b"]) -> dict[str, list[str]]:
    degrees = torch.rad2deg(rotations.to_euler(poses.rotation.double())).numpy()
    origin = -poses.shift.double().numpy()
    columns = dict(zip(_ANGLES, degrees.T, strict=True))
    in_pixels = "rlnOriginX" in table
    if in_pixels:
        columns |= {"rlnOriginX": origin[:, 0] / pixel_size, "rlnOriginY": origin[:, 1] / pixel_size}
    if "rlnOriginXAngst" in table or not in_pixels:
        columns |= {"rlnOriginXAngst": origin[:, 0], "rlnOriginYAngst": origin[:, 1]}
    return {label: [f"{value:.6f}" for value in column] for label, column in columns.items()}


def _word(value: float | str) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    text = str(value)
    return f'"{text}"' if not text or " " in text else text

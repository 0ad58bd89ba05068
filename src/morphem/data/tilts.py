"""Tilt series of RELION 5, WarpTools and their kin: geometry, focus and dose of each tilt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from morphem.core import rotations
from morphem.data.companions import require_companion
from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.star import StarFile, StarTable, read_star

_DOSE_TO_B = 4.0  # Å² per e/Å²: Warp's rule, used where the file gives doses but no B factor


@dataclass(frozen=True)
class Tilts:
    """The tilts of all tomograms, end to end.

    Attributes:
        first: First tilt of each tomogram, and the total: tomogram k has tilts first[k] … first[k + 1] − 1.
        rotation: Specimen to view frame.
        columns: Defocus (Å, at the centre), astigmatism (rad), scale, B factor (Å²) of each tilt.
        settings: Voltage, Cs, amplitude contrast and hand of each tomogram.
        centre: Of each tomogram, in pixels of the tilt series.
    """

    first: Int[np.ndarray, "k1"]
    rotation: Float[np.ndarray, "t 3 3"]
    columns: Mapping[str, Float[np.ndarray, "t"]]
    settings: Mapping[str, Float[np.ndarray, "k"]]
    centre: Float[np.ndarray, "k 3"]


def read_tilts(star: StarFile, names: list[str], options: MetadataOptions) -> Tilts:
    """The tilt series called ``names`` of a tomograms star file."""
    overview = next((table for table in star.tables if "rlnTomoName" in table), None)
    if overview is None:
        raise DataError(
            "TOMO-001", f"{star.path} has no column _rlnTomoName, so it does not describe tomograms"
        )
    known = {name: row for row, name in enumerate(overview.texts("rlnTomoName"))}
    missing = [name for name in names if name not in known]
    if missing:
        message = f"{star.path} lacks the tomogram {missing[0]} ({len(missing)} in all) that particles lie in"
        raise DataError("TOMO-001", f"{message}; do particles and tomograms belong together?")
    rows = [known[name] for name in names]
    series = [_series(star, overview, row, name, options) for row, name in zip(rows, names, strict=True)]
    columns = [_tilt_columns(table) for table in series]
    return Tilts(
        first=np.cumsum([0] + [len(table) for table in series]),
        rotation=np.concatenate([_rotation(table) for table in series]),
        columns={name: np.concatenate([column[name] for column in columns]) for name in columns[0]},
        settings={name: column[rows] for name, column in _settings(overview, options).items()},
        centre=np.stack([_numbers(overview, f"rlnTomoSize{axis}", 0)[rows] / 2 for axis in "XYZ"], -1),
    )


def _series(star: StarFile, overview: StarTable, row: int, name: str, options: MetadataOptions) -> StarTable:
    """The tilts of one tomogram: a block of the same file, or a file of its own."""
    if "rlnTomoTiltSeriesStarFile" in overview:
        file = overview.texts("rlnTomoTiltSeriesStarFile")[row]
        return read_star(require_companion(star.path, file, options.datadir)).tables[0]
    table = star.table(name)
    if table is None:
        raise DataError("TOMO-001", f"{star.path} has no block data_{name} with the tilts of that tomogram")
    return table


def _settings(overview: StarTable, options: MetadataOptions) -> dict[str, Float[np.ndarray, "k"]]:
    """Microscope of each tomogram; what the user states wins."""
    stated = {
        "voltage_kv": ("rlnVoltage", options.voltage_kv),
        "cs_mm": ("rlnSphericalAberration", options.cs_mm),
        "amplitude_contrast": ("rlnAmplitudeContrast", options.amplitude_contrast),
    }
    settings = {"hand": _numbers(overview, "rlnTomoHand", 1)}
    for name, (label, value) in stated.items():
        settings[name] = overview.numbers(label) if value is None else np.full(len(overview), float(value))
    return settings


def _tilt_columns(table: StarTable) -> dict[str, Float[np.ndarray, "t"]]:
    if "rlnDefocusU" not in table:
        raise DataError(
            "CTF-001", f"{table.path}: no column _rlnDefocusU in data_{table.name}; estimate the CTF"
        )
    dose = _DOSE_TO_B * _numbers(table, "rlnMicrographPreExposure", 0)
    defocus_u = table.numbers("rlnDefocusU")
    return {
        "defocus_u": defocus_u,
        "defocus_v": table.numbers("rlnDefocusV") if "rlnDefocusV" in table else defocus_u,
        "astigmatism": np.radians(_numbers(table, "rlnDefocusAngle", 0)),
        "phase_shift": np.radians(_numbers(table, "rlnPhaseShift", 0)),
        "scale": _numbers(table, "rlnCtfScalefactor", 1),
        "b_factor": table.numbers("rlnCtfBfactor") if "rlnCtfBfactor" in table else dose,
    }


def _rotation(table: StarTable) -> Float[np.ndarray, "t 3 3"]:
    """Specimen to view frame of each tilt: the projection matrix, or Rz(ZRot) Ry(YTilt) Rx(XTilt)."""
    if "rlnTomoProjX" in table:
        rows = [[_row(text) for text in table.texts(f"rlnTomoProj{axis}")] for axis in "XYZ"]
        return np.array(rows).transpose(1, 0, 2)
    if "rlnTomoYTilt" not in table:
        message = f"{table.path}: data_{table.name} has neither _rlnTomoProjX nor _rlnTomoYTilt"
        raise DataError("TOMO-002", f"{message}; align the tilt series first")
    x, y, z = (
        np.radians(_numbers(table, label, 0)) for label in ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
    )
    return _turn(z, 2) @ _turn(y, 1) @ _turn(x, 0)


def _turn(angle: Float[np.ndarray, "t"], axis: int) -> Float[np.ndarray, "t 3 3"]:
    """Active right-handed rotation about one axis."""
    vector = torch.zeros(len(angle), 3, dtype=torch.float64)
    vector[:, axis] = torch.from_numpy(angle)
    return rotations.from_rotation_vector(vector).numpy()


def _row(text: str) -> list[float]:
    return [float(word) for word in text.strip("[]").split(",")[:3]]


def _numbers(table: StarTable, label: str, default: float) -> Float[np.ndarray, "n"]:
    return table.numbers(label) if label in table else np.full(len(table), float(default))

"""Columns of a cryoSPARC dataset as poses and optics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from morphem.core import rotations
from morphem.core.types import Optics
from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.relion import as_optics, optics_without_ctf

_ABERRATIONS = {
    "ctf/tilt_A": "beam tilt",
    "ctf/trefoil_A": "trefoil",
    "ctf/tetra_A": "tetrafoil",
    "ctf/anisomag": "anisotropic magnification",
    "ctf/shift_A": "image shift by aberrations",
}


@dataclass(frozen=True)
class CsColumns:
    """Fields of a dataset and its passthroughs, by name, in the order of the dataset."""

    path: Path
    arrays: Mapping[str, np.ndarray]

    def take(self, name: str, default: float) -> Float[np.ndarray, "n"]:
        """A scalar field, or a constant where there is none."""
        if name in self.arrays:
            return self.arrays[name].astype(np.float64)
        return np.full(len(self.arrays["uid"]), float(default))

    def require(self, name: str, given: float | None, code: str, fix: str) -> Float[np.ndarray, "n"]:
        """The value that the user stated, else the field, else a coded error that says what to do."""
        if given is not None:
            return np.full(len(self.arrays["uid"]), float(given))
        if name not in self.arrays:
            raise DataError(code, f"{self.path}: no field {name}, nor in its passthroughs; {fix}")
        return self.take(name, 0)


@dataclass(frozen=True)
class Alignment:
    """Poses of a dataset; ``psize`` is the pixel size, Å, that its shifts are counted in."""

    rotation: Float[np.ndarray, "n 3 3"] | None
    shift: Float[np.ndarray, "n 2"] | None
    psize: Float[np.ndarray, "n"]
    half: Int[np.ndarray, "n"]
    assumed: tuple[str, ...] = ()


def read_alignment(
    columns: CsColumns, options: MetadataOptions, pixel_size: Float[np.ndarray, "n"]
) -> Alignment:
    """Poses: of ``alignments3D``, else of the most probable class, else none."""
    candidates = _candidates(columns, options)
    n = len(pixel_size)
    if candidates is None:
        return Alignment(None, None, pixel_size, np.zeros(n, np.int64))
    chosen = (np.arange(n), _choose(columns, candidates, options, n))
    psize, assumed = pixel_size, ("shifts counted in image pixels (no alignments3D/psize_A)",)
    if "psize_A" in candidates:
        psize, assumed = candidates["psize_A"][chosen].astype(np.float64), ()
    vector = torch.from_numpy(candidates["pose"][chosen].astype(np.float64))
    split = (
        candidates["split"][chosen].astype(np.int64) + 1 if "split" in candidates else np.zeros(n, np.int64)
    )
    return Alignment(
        rotation=rotations.from_rotation_vector(vector).mT.contiguous().numpy(),
        shift=-candidates["shift"][chosen].astype(np.float64) * psize[:, None],
        psize=psize,
        half=split.astype(np.int64),
        assumed=assumed,
    )


def read_optics(columns: CsColumns, options: MetadataOptions) -> Optics:
    """The contrast transfer of each image; cryoSPARC's angles are in radians, like ours."""
    if not options.has_ctf:
        return optics_without_ctf(len(columns.arrays["uid"]))
    lost = "state passthrough, or has_ctf=False for projections without a CTF"
    stated = options.amplitude_contrast
    values = {
        "defocus_u": columns.require("ctf/df1_A", None, "CTF-001", lost),
        "defocus_v": columns.require("ctf/df2_A", None, "CTF-001", lost),
        "astigmatism": columns.take("ctf/df_angle_rad", 0),
        "voltage_kv": columns.require("ctf/accel_kv", options.voltage_kv, "CTF-003", "state voltage_kv"),
        "cs_mm": columns.require("ctf/cs_mm", options.cs_mm, "CTF-003", "state cs_mm, often 2.7"),
        "amplitude_contrast": columns.require(
            "ctf/amp_contrast", stated, "CTF-003", "state amplitude_contrast, often 0.1"
        ),
        "phase_shift": columns.take("ctf/phase_shift_rad", 0),
        "b_factor": columns.take("ctf/bfactor", 0),
        "scale": columns.take("ctf/scale", 1),
    }
    return as_optics(values)


def unmodelled_aberrations(columns: CsColumns) -> tuple[str, ...]:
    """What the dataset holds that the imaging model leaves out, where it is not nil."""
    return tuple(words for name, words in _ABERRATIONS.items() if np.any(columns.arrays.get(name, 0)))


def _candidates(columns: CsColumns, options: MetadataOptions) -> dict[str, np.ndarray] | None:
    """Pose fields with an axis of classes after that of particles, one class long for ``alignments3D``."""
    names = columns.arrays
    if options.alignment_class is None and "alignments3D/pose" in names:
        return {field: values[:, None] for field, values in _group(columns, "alignments3D").items()}
    if "alignments3D_multi/pose" in names:
        multi = _group(columns, "alignments3D_multi")
        k = multi["pose"].shape[1]
        return {field: v if v.ndim > 1 else np.repeat(v[:, None], k, 1) for field, v in multi.items()}
    classes = sorted((n.partition("/")[0] for n in names if _is_class_pose(n)), key=_class_number)
    if classes:
        groups = [_group(columns, name) for name in classes]
        numbers = np.array([[_class_number(name) for name in classes]]).repeat(len(names["uid"]), 0)
        return {field: np.stack([g[field] for g in groups], 1) for field in groups[0]} | {"class": numbers}
    return None


def _choose(
    columns: CsColumns, candidates: Mapping[str, np.ndarray], options: MetadataOptions, n: int
) -> Int[np.ndarray, "n"]:
    """Which of its candidates each particle takes: the class that the user stated, or the most probable."""
    k = candidates["pose"].shape[1]
    wanted = options.alignment_class
    if wanted is None:
        return candidates["class_posterior"].argmax(1) if k > 1 else np.zeros(n, np.int64)
    classes = candidates["class"] if "class" in candidates else np.arange(k)[None].repeat(n, 0)
    if not np.all(np.any(classes == wanted, 1)):
        met = ", ".join(str(number) for number in np.unique(classes))
        raise DataError("CS-001", f"{columns.path}: no alignment of class {wanted}; it has classes {met}")
    return np.argmax(classes == wanted, 1)


def _group(columns: CsColumns, prefix: str) -> dict[str, np.ndarray]:
    fields = ("pose", "shift", "psize_A", "split", "class_posterior", "class")
    names = {field: f"{prefix}/{field}" for field in fields}
    return {field: columns.arrays[name] for field, name in names.items() if name in columns.arrays}


def _is_class_pose(name: str) -> bool:
    return name.startswith("alignments_class_") and name.endswith("/pose")


def _class_number(name: str) -> int:
    return int(name.rpartition("_")[2])

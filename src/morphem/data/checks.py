"""Whether metadata can be true, before any image is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.record import Metadata


def check(metadata: Metadata, options: MetadataOptions) -> Metadata:
    """The same metadata if nothing in it is impossible, else an error that names file and row."""
    if len(metadata) == 0:
        raise DataError("COUNT-002", f"{metadata.source.path} holds no particles")
    _check_optics(metadata)
    if not options.allow_duplicates:
        _check_duplicates(metadata)
    return _check_poses(metadata)


def _check_optics(metadata: Metadata) -> None:
    optics = metadata.optics
    columns = {name: value.numpy() for name, value in vars(optics).items()}
    for name, values in columns.items():
        code = "CTF-001" if name.startswith("defocus") else "CTF-003"
        _refuse(metadata, ~np.isfinite(values), code, f"{name} is not a number; drop these rows")
    # a phase plate works in focus; a microscope in focus without one shows almost nothing
    no_defocus = (
        (columns["defocus_u"] == 0) & (columns["phase_shift"] == 0) & (columns["amplitude_contrast"] < 1)
    )
    fix = "defocus is 0; estimate the CTF first, or state has_ctf=False for projections without one"
    _refuse(metadata, no_defocus, "CTF-001", fix)
    _refuse(metadata, columns["voltage_kv"] <= 0, "CTF-003", "voltage is not positive; state voltage_kv")
    bad_pixel = ~(metadata.pixel_size > 0) | ~np.isfinite(metadata.pixel_size)
    _refuse(metadata, bad_pixel, "PIX-001", "pixel size is not positive; state pixel_size in Å")


def _check_duplicates(metadata: Metadata) -> None:
    place = metadata.file_index * (metadata.image_index.max() + 1) + metadata.image_index
    _, first, counts = np.unique(place, return_index=True, return_counts=True)
    repeated = np.zeros(len(metadata), bool)
    repeated[first[counts > 1]] = True
    fix = "the same image is named by several rows; remove them, or state allow_duplicates=True"
    _refuse(metadata, repeated, "ID-001", fix)
    if metadata.uid is not None:
        _, first, counts = np.unique(metadata.uid, return_index=True, return_counts=True)
        repeated[first[counts > 1]] = True
        _refuse(metadata, repeated, "ID-001", "several rows share one uid; remove them")


def _check_poses(metadata: Metadata) -> Metadata:
    if metadata.rotation is None or metadata.shift is None:
        return metadata
    numbers = np.concatenate([metadata.rotation.reshape(-1, 9), metadata.shift], 1)
    _refuse(
        metadata,
        np.logical_not(np.isfinite(numbers)).max(1),
        "POSE-001",
        "the pose is not a number; drop these rows",
    )
    product = metadata.rotation @ metadata.rotation.transpose(0, 2, 1)
    skewed = np.abs(product - np.eye(3)).max((1, 2)) > 1e-3  # float32 files reach 1e-6
    skewed |= np.linalg.det(metadata.rotation) < 0
    _refuse(metadata, skewed, "POSE-001", "the pose is not a rotation; which program wrote it?")
    unposed = len(metadata) > 1 and np.all(metadata.rotation == np.eye(3)) and not metadata.shift.any()
    if not unposed:
        return metadata
    note = "no poses, as every angle and shift is zero (POSE-002)"
    return replace(metadata, rotation=None, shift=None, assumed=(*metadata.assumed, note))


def _refuse(metadata: Metadata, bad: np.ndarray, code: str, what: str) -> None:
    if not bad.any():
        return
    rows = metadata.row[np.flatnonzero(bad)]
    first = ", ".join(str(row + 1) for row in rows[:3])
    count = f"{len(rows)} of {len(bad)} images"
    raise DataError(code, f"{metadata.source.path}: in {count} (first rows {first}) {what}")


def require_poses(metadata: Metadata) -> None:
    """Nothing where every image has a pose, else an error that says how to get poses."""
    if metadata.has_poses:
        return
    path = metadata.source.path
    if path.suffix in (".cs", ".csg"):
        message = f"{path} has no alignments3D, so no poses"
        raise DataError("CS-001", f"{message}; open the particles of a refinement, or state passthrough")
    raise DataError("POSE-002", f"{path} has no poses, or they are all zero; refine the particles first")

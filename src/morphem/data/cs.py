"""cryoSPARC particle datasets (``.cs``) and result groups (``.csg``) as metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core import rotations
from morphem.core.types import Poses
from morphem.data.atomic import atomic_path
from morphem.data.companions import require_companion
from morphem.data.cs_columns import CsColumns, read_alignment, read_optics, unmodelled_aberrations
from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.record import AbstractSource, Metadata

_HEADER_LIMIT = 10**6  # characters; NumPy's own limit of 10⁴ is below what a hundred fields need


@dataclass(frozen=True)
class CsSource(AbstractSource):
    """A dataset, and the passthrough datasets that were joined to it."""

    path: Path
    dataset: np.ndarray
    passthroughs: tuple[np.ndarray, ...]
    psize: Float[np.ndarray, "m"]
    defocus_columns = ("ctf/df1_A", "ctf/df2_A")

    def write(
        self, path: Path, rows: Int[np.ndarray, "b"], columns: Mapping[str, np.ndarray], poses: Poses | None
    ) -> None:
        """Write rows bit for bit, and of each passthrough the same particles to a file beside it.

        New columns without a prefix get ``morphem/``; those that a passthrough has are replaced there.
        """
        added = {name if "/" in name else f"morphem/{name}": np.asarray(v) for name, v in columns.items()}
        chosen = self.dataset[rows]
        if poses is not None:
            added |= self._pose_columns(poses, rows)
        for k, passthrough in enumerate(self.passthroughs):
            number = f"_{k}" if k else ""
            beside = path.with_name(f"{path.stem}_passthrough_particles{number}.cs")
            known = set(passthrough.dtype.names or ()) - set(chosen.dtype.names or ())
            theirs = {name: added.pop(name) for name in known & set(added)}
            _save(beside, _with_columns(passthrough[rows_of(passthrough["uid"], chosen["uid"])], theirs))
        _save(path, _with_columns(chosen, added))

    def _pose_columns(self, poses: Poses, rows: Int[np.ndarray, "b"]) -> dict[str, np.ndarray]:
        psize = self.psize[rows]
        vector = _rotation_vector(poses.rotation.double().mT).numpy()
        return {
            "alignments3D/pose": vector.astype(np.float32),
            "alignments3D/shift": (-poses.shift.double().numpy() / psize[:, None]).astype(np.float32),
            "alignments3D/psize_A": psize.astype(np.float32),
        }


def read_cs(path: Path, options: MetadataOptions) -> Metadata:
    """One row per image of a particle dataset, its passthroughs joined by uid."""
    dataset = load_dataset(path)
    names = dataset.dtype.names or ()
    maps = [name for name in names if name.endswith("/path")]
    if maps and "blob/path" not in names and not _prefixes(dataset) & {"ctf", "alignments3D"}:
        raise DataError("CS-004", f"{path} holds maps ({maps[0]}), not particles; open the …_particles.cs")
    if "uid" not in names:
        raise DataError("CS-004", f"{path} has no uid, so it is not a dataset of particles")
    if len(dataset) == 0:
        raise DataError("COUNT-002", f"{path} holds no particles; was the job finished?")
    passthroughs = _passthroughs(path, dataset, options)
    joined = {name: dataset[name] for name in names}
    for passthrough in passthroughs:
        rows = rows_of(passthrough["uid"], dataset["uid"])
        joined |= {
            name: passthrough[name][rows] for name in passthrough.dtype.names or () if name not in joined
        }
    return _metadata(path, dataset, passthroughs, CsColumns(path, joined), options)


def read_csg(path: Path, options: MetadataOptions) -> Metadata:
    """The particles of a result group: the dataset with their images or poses, joined to the others."""
    text = path.read_text(encoding="utf-8")
    kind = re.search(r"^group:.*?^  type: *(\S+)", text, re.MULTILINE | re.DOTALL)
    if kind is None or kind[1] != "particle":
        met = "no group type" if kind is None else f"a result group of type {kind[1]}"
        raise DataError("CS-004", f"{path}: {met}, not particles; open the …_particles.csg of the job")
    results = re.findall(r"^  (\S+):\n(?:    .*\n)*?    metafile: *'?>?([^'\n]+)'?", text, re.MULTILINE)
    files = {name: require_companion(path, file, options.datadir) for name, file in results}
    base = files.get("alignments3D", files.get("blob"))
    if base is None:
        raise DataError("CS-004", f"{path} names neither images nor poses; open the …_particles.cs")
    others = [file for file in dict.fromkeys(files.values()) if file != base]
    return read_cs(base, replace(options, passthrough=(*options.passthrough, *others)))


def load_dataset(path: Path) -> np.ndarray:
    """The structured array of a ``.cs`` file; files with Python objects in them are refused."""
    with path.open("rb") as file:
        magic = file.read(6)
    if magic[1:] == b"CSDAT":
        return _load_stream(path)
    if magic != b"\x93NUMPY":
        raise DataError("CS-003", f"{path} does not start like a .cs file; is the download complete?")
    try:
        dataset = np.load(path, allow_pickle=False, max_header_size=_HEADER_LIMIT)
    except ValueError as error:
        message = f"{path} is cut short or holds Python objects, which are never loaded ({error})"
        raise DataError("CS-003", f"{message}; export it again") from error
    if dataset.dtype.names is None:
        raise DataError("CS-003", f"{path} is an array without fields, not a cryoSPARC dataset")
    return dataset


def _load_stream(path: Path) -> np.ndarray:
    try:
        from cryosparc.dataset import Dataset
    except ImportError as error:
        message = f"{path} is in cryoSPARC's stream format, which needs cryosparc-tools"
        raise DataError(
            "CS-005", f"{message}; run `pip install cryosparc-tools`, or export as .npy"
        ) from error
    return np.asarray(Dataset.load(str(path)).to_records(fixed=True))


def rows_of(have: np.ndarray, wanted: np.ndarray) -> Int[np.ndarray, "n"]:
    """Where each wanted uid is in another list of uids; −1 where it is not."""
    order = np.argsort(have)
    place = np.minimum(np.searchsorted(have, wanted, sorter=order), max(len(have) - 1, 0))
    rows = order[place] if len(have) else np.zeros(len(wanted), np.int64)
    return np.where(have[rows] == wanted, rows, -1) if len(have) else rows - 1


def _passthroughs(path: Path, dataset: np.ndarray, options: MetadataOptions) -> tuple[np.ndarray, ...]:
    """The datasets that were stated, and one from beside the file if images, CTF or poses are missing."""
    paths = [require_companion(path, str(file), options.datadir) for file in options.passthrough]
    stated = [load_dataset(file) for file in paths]
    for file, passthrough in zip(paths, stated, strict=True):
        lacking = int((rows_of(passthrough["uid"], dataset["uid"]) < 0).sum())
        if lacking:
            message = f"{file} lacks {lacking} of the {len(dataset)} particles of {path}"
            raise DataError("CS-002", f"{message}; is it the passthrough of another job?")
    missing = _missing([dataset, *stated])
    beside = sorted(path.parent.glob("*passthrough*particles*.cs")) if missing else []
    met = []
    for file in beside:
        candidate = load_dataset(file)
        lacking = int((rows_of(candidate["uid"], dataset["uid"]) < 0).sum())
        met.append(f"{file.name} lacks {lacking} of {len(dataset)} particles")
        if lacking == 0 and missing & _prefixes(candidate):
            stated.append(candidate)
            missing = _missing([dataset, *stated])
    if "blob" in missing:
        found = "; ".join(met) if met else "no file *passthrough*particles*.cs is beside it"
        raise DataError(
            "CS-002", f"{path} does not name its images (no blob/path) and {found}; state passthrough"
        )
    return tuple(stated)


def _missing(datasets: Sequence[np.ndarray]) -> set[str]:
    """Which of images, CTF and poses no dataset has."""
    present = set().union(*(_prefixes(dataset) for dataset in datasets))
    poses = {name for name in present if name.startswith(("alignments3D", "alignments_class"))}
    return ({"blob", "ctf"} - present) | (set() if poses else {"alignments3D"})


def _prefixes(dataset: np.ndarray) -> set[str]:
    return {name.partition("/")[0] for name in dataset.dtype.names or ()}


def _metadata(
    path: Path,
    dataset: np.ndarray,
    passthroughs: tuple[np.ndarray, ...],
    columns: CsColumns,
    options: MetadataOptions,
) -> Metadata:
    n = len(dataset)
    pixel_size = columns.require("blob/psize_A", options.pixel_size, "PIX-001", "state pixel_size in Å")
    alignment = read_alignment(columns, options, pixel_size)
    shape = columns.arrays.get("blob/shape", np.zeros((n, 2)))
    if np.any(shape[:, 0] != shape[:, 1]):
        raise DataError("BOX-001", f"{path}: images of {shape[0, 1]} × {shape[0, 0]} pixels are not square")
    files, file_index = np.unique(columns.arrays["blob/path"], return_inverse=True)
    exposure, group = np.unique(columns.take("ctf/exp_group_id", 0), return_inverse=True)
    return Metadata(
        source=CsSource(path, dataset, passthroughs, alignment.psize),
        row=np.arange(n),
        uid=dataset["uid"].astype(np.uint64),
        files=tuple(_text(file).lstrip(">") for file in files),
        file_index=file_index,
        image_index=columns.arrays["blob/idx"].astype(np.int64),
        rotation=alignment.rotation,
        shift=alignment.shift,
        optics=read_optics(columns, options),
        pixel_size=pixel_size,
        box=shape[:, 0].astype(np.int64),
        group=group,
        group_names=tuple(f"exposure group {int(number)}" for number in exposure),
        particle=np.arange(n),
        half=alignment.half,
        sign=columns.take("blob/sign", 1),
        premultiplied=np.zeros(n, bool),
        unmodelled=unmodelled_aberrations(columns),
        assumed=alignment.assumed,
    )


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _with_columns(dataset: np.ndarray, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The same rows with fields replaced, which keep their type, or added."""
    added = [
        (name, v.dtype.str, v.shape[1:])
        for name, v in columns.items()
        if name not in (dataset.dtype.names or ())
    ]
    extended = np.empty(len(dataset), np.dtype(dataset.dtype.descr + added))
    for name in dataset.dtype.names or ():
        extended[name] = dataset[name]
    for name, values in columns.items():
        extended[name] = values
    return extended


def _save(path: Path, dataset: np.ndarray) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, dataset, allow_pickle=False)


def _rotation_vector(rotation: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3"]:
    quaternion = rotations.to_quaternion(rotation)
    sine = quaternion[:, 1:].norm(dim=1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[:, :1])
    return quaternion[:, 1:] * torch.where(sine > 0, angle / sine.clamp(min=1e-300), 2.0)

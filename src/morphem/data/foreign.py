"""cryoDRGN's pickles as metadata, through an unpickler that admits NumPy arrays only."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from morphem.core.types import Optics, Poses
from morphem.data.companions import require_companion
from morphem.data.errors import DataError
from morphem.data.mrc import read_header
from morphem.data.options import MetadataOptions
from morphem.data.record import AbstractSource, Metadata
from morphem.data.relion import as_optics, optics_without_ctf

_CTF_COLUMNS = 9  # box, Å per pixel, defocus U and V, angle (°), kV, Cs (mm), contrast, phase (°)


def read_arrays(path: Path) -> np.ndarray | tuple[np.ndarray, ...]:
    """The array of a pickle, or its tuple of arrays; nothing in the file is ever run."""
    with Path(path).open("rb") as file:
        try:
            content = _ArraysOnly(file).load()
        except DataError as error:
            raise DataError(error.code, f"{path}: {error}") from error
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
            message = f"{path} is cut short, or no pickle of arrays ({error}); write it again"
            raise DataError("PKL-002", message) from error
    if isinstance(content, tuple):
        return tuple(_as_array(path, part) for part in content)
    return _as_array(path, content)


def read_bare_stack(path: Path, options: MetadataOptions) -> Metadata:
    """Images without metadata of their own, a stack or a list of stacks; ``ctf`` says how they were taken."""
    files = (str(path.resolve()),) if path.suffix != ".txt" else tuple(path.read_text("utf-8").split())
    headers = [read_header(require_companion(path, file, options.datadir)) for file in files]
    counts = [header.shape[0] for header in headers]
    n = sum(counts)
    pixel_size = np.repeat([options.pixel_size or header.cell[0] for header in headers], counts).astype(float)
    if options.ctf is None and options.has_ctf:
        message = f"{path} is a bare stack of images, and nothing says how they were taken"
        raise DataError("CTF-001", f"{message}; state ctf (cryoDRGN's ctf.pkl), or has_ctf=False")
    return Metadata(
        source=BareSource(path),
        row=np.arange(n),
        uid=None,
        files=files,
        file_index=np.repeat(np.arange(len(files)), counts),
        image_index=np.concatenate([np.arange(count) for count in counts]),
        rotation=None,
        shift=None,
        optics=optics_without_ctf(n),
        pixel_size=pixel_size,
        box=np.repeat([header.shape[2] for header in headers], counts),
        group=np.zeros(n, np.int64),
        group_names=("group 1",),
        particle=np.arange(n),
        half=np.zeros(n, np.int64),
        sign=np.ones(n),
        premultiplied=np.zeros(n, bool),
    )


def with_pickles(metadata: Metadata, options: MetadataOptions) -> Metadata:
    """The same metadata with cryoDRGN's optics and poses in place of its own, where they are stated."""
    if options.ctf is not None:
        optics, pixel_size = read_ctf(options.ctf, metadata)
        metadata = replace(metadata, optics=optics, pixel_size=pixel_size)
    if options.poses is not None:
        rotation, shift = read_poses(options.poses, metadata)
        metadata = replace(metadata, rotation=rotation, shift=shift)
    if options.indices is not None:
        metadata = metadata.select(read_indices(options.indices, len(metadata)))
    return metadata


def read_ctf(path: Path, metadata: Metadata) -> tuple[Optics, Float[np.ndarray, "n"]]:
    """Optics of a ``ctf.pkl``, and the pixel size after the images were resized since it was written."""
    table = read_arrays(path)
    if isinstance(table, tuple) or table.ndim != 2 or table.shape[1] != _CTF_COLUMNS:
        raise DataError(
            "PKL-003", f"{path} is no ctf.pkl: it should hold one array of {_CTF_COLUMNS} columns"
        )
    _same_length(path, len(table), metadata)
    box, pixel_size, u, v, angle, kv, cs, contrast, phase = table.astype(np.float64).T
    optics = as_optics(
        {
            "defocus_u": u,
            "defocus_v": v,
            "astigmatism": np.radians(angle),
            "voltage_kv": kv,
            "cs_mm": cs,
            "amplitude_contrast": contrast,
            "phase_shift": np.radians(phase),
            "b_factor": np.zeros(len(table)),
            "scale": np.ones(len(table)),
        }
    )
    return optics, pixel_size * np.where(metadata.box > 0, box / np.maximum(metadata.box, 1), 1)


def read_poses(path: Path, metadata: Metadata) -> tuple[Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 2"]]:
    """Rotations and displacements (Å) of a ``poses.pkl``, whose translations are fractions of the box."""
    content = read_arrays(path)
    rotation, fraction = content if isinstance(content, tuple) else (content, np.zeros((len(content), 2)))
    if rotation.ndim != 3 or rotation.shape[1:] != (3, 3) or fraction.shape != (len(rotation), 2):
        raise DataError(
            "PKL-003", f"{path} is no poses.pkl: it should hold n × 3 × 3 rotations, n × 2 shifts"
        )
    _same_length(path, len(rotation), metadata)
    if np.any(metadata.box == 0):
        message = f"{metadata.source.path} does not say how large its boxes are"
        raise DataError(
            "BOX-002", f"{message}, so the fractions in {path} have no unit; open the stack itself"
        )
    extent = metadata.box * metadata.pixel_size
    return rotation.astype(np.float64), -fraction.astype(np.float64) * extent[:, None]


def read_indices(path: Path, n: int) -> Int[np.ndarray, "b"]:
    """The images that an ``ind.pkl`` keeps."""
    rows = read_arrays(path)
    if isinstance(rows, tuple) or rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError("PKL-003", f"{path} is no ind.pkl: it should hold one list of integers")
    if len(rows) and not 0 <= rows.min() <= rows.max() < n:
        raise DataError(
            "COUNT-001", f"{path} names image {rows.max()} of {n}; is it of another particle file?"
        )
    return rows.astype(np.int64)


@dataclass(frozen=True)
class BareSource(AbstractSource):
    """A stack without metadata: there is no file to write rows of."""

    path: Path

    def write(
        self, path: Path, rows: np.ndarray, columns: Mapping[str, np.ndarray], poses: Poses | None
    ) -> None:
        """Refuse: a bare stack has no table."""
        message = f"{self.path} has no metadata file whose rows could be written to {path}"
        raise DataError("PATH-003", f"{message}; reconstruct from a star or cs file instead")


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays, their scalars, and plain containers of them; any other name is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The few constructors that arrays need."""
        module_name = module_name.replace("numpy.core.", "numpy._core.")
        if (module_name, global_name) not in _ADMITTED:
            message = f"the pickle asks for {module_name}.{global_name}, which is code and is never run"
            raise DataError("PKL-001", f"{message}; a pickle of NumPy arrays needs no such thing")
        return _ADMITTED[module_name, global_name]


def _latin1(text: str, encoding: str) -> bytes:
    """What old protocols call to store bytes; no other encoding is needed."""
    if encoding != "latin1":
        raise DataError("PKL-001", f"the pickle asks for the encoding {encoding}, which arrays do not need")
    return text.encode(encoding)


# asked of NumPy through what its own objects pickle to, so that no private name is imported
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(1).__reduce__()[0],
    ("numpy._core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numpy._core.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
    ("_codecs", "encode"): _latin1,
}


def _as_array(path: Path, content: object) -> np.ndarray:
    array = np.asarray(content)
    if array.dtype.kind not in "fiub":
        raise DataError("PKL-003", f"{path} holds {type(content).__name__}, not an array of numbers")
    return array


def _same_length(path: Path, n: int, metadata: Metadata) -> None:
    if n != len(metadata):
        message = f"{path} has {n} rows, but {metadata.source.path} has {len(metadata)} images"
        raise DataError("COUNT-001", f"{message}; are they of the same set?")

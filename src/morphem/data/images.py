"""Images by row: in memory, or on disk in any number of stacks."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.errors import DataError
from morphem.data.mrc import MrcHeader
from morphem.data.resample import resample

_OPEN_STACKS = 64


class AbstractImages(ABC):
    """Images of one box, read by row."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows``, float32."""

    @abstractmethod
    def select(self, rows: Int[Tensor, "b"]) -> AbstractImages:
        """Only these images, in this order."""

    @abstractmethod
    def name(self, row: int) -> str:
        """What to call an image in a message."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that changes when the images do; cheap for files (path, size, time of change)."""

    def sequence(self) -> Int[Tensor, "n"] | None:
        """Rows in the order they lie on disk, where that order is random; None where any order will do."""
        return None


class MemoryImages(AbstractImages):
    """Images held as one tensor (float32, or float16 at half the memory)."""

    def __init__(self, images: Float[Tensor, "n d d"]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows``, float32."""
        return self.images[rows].float()

    def select(self, rows: Int[Tensor, "b"]) -> MemoryImages:
        """Only these images, copied."""
        return MemoryImages(self.images[rows])

    def name(self, row: int) -> str:
        """``image 3 in memory``, counted from 1."""
        return f"image {row + 1} in memory"

    def fingerprint(self) -> str:
        """Hash of the grey values."""
        return hashlib.sha256(self.images.contiguous().numpy().tobytes()).hexdigest()


class RowFile:
    """Arrays of one shape, one after the other in a file, read as they are asked for.

    Read by position instead of through a memory map: a page fault maps all its neighbourhood, so that
    random rows of a large file pile up in memory, and a file that shrinks kills the process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> None:
        self.path, self.shape, self.dtype, self.offset = path, shape, dtype, offset
        self._file = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._file)

    def take(self, rows: Int[np.ndarray, "b"]) -> np.ndarray:
        """Copies of ``rows``, float32; neighbours on disk are read in one go."""
        rising = np.argsort(rows)
        sorted_rows = rows[rising]
        taken = np.empty((len(rows), *self.shape), self.dtype)
        size, room = taken[:1].nbytes, taken.reshape(-1).view(np.uint8).data
        starts = np.flatnonzero(np.diff(sorted_rows, prepend=-2) != 1)
        stops = np.append(starts[1:], len(rows))
        places = self.offset + sorted_rows[starts] * size
        for start, stop, place in zip(starts.tolist(), stops.tolist(), places.tolist(), strict=True):
            if os.preadv(self._file, [room[start * size : stop * size]], place) != (stop - start) * size:
                raise DataError("MRC-002", f"{self.path} ends before image {sorted_rows[stop - 1] + 1}")
        images = np.empty(taken.shape, np.float32)
        images[rising] = taken
        return images


@dataclass(frozen=True)
class Whereabouts:
    """Where each image lies and how to bring it to the common grid.

    Attributes:
        file: Which stack.
        image: Which image of it, from 0.
        pixel_size: Å, as the particle file says.
        sign: Factor on the grey values.
    """

    file: Int[np.ndarray, "n"]
    image: Int[np.ndarray, "n"]
    pixel_size: Float[np.ndarray, "n"]
    sign: Float[np.ndarray, "n"]

    def select(self, rows: Int[np.ndarray, "b"]) -> Whereabouts:
        """Those of ``rows``."""
        return Whereabouts(self.file[rows], self.image[rows], self.pixel_size[rows], self.sign[rows])


class DiskImages(AbstractImages):
    """Images in stacks on disk, read when asked for; at most a few stacks are open at a time."""

    def __init__(self, stacks: Sequence[MrcHeader], where: Whereabouts, grid: Grid) -> None:
        self.stacks, self.where, self.grid = stacks, where, grid
        self._open: OrderedDict[int, RowFile] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.where.file)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows`` on the common grid, float32."""
        where = self.where.select(rows.numpy())
        out = torch.empty(len(rows), self.grid.box, self.grid.box)
        with self._lock:
            for file in np.unique(where.file):
                for size in np.unique(where.pixel_size[where.file == file]):
                    chosen = np.flatnonzero((where.file == file) & (where.pixel_size == size))
                    images = torch.from_numpy(self._take(int(file), where.image[chosen]))
                    out[torch.from_numpy(chosen)] = resample(images, float(size), self.grid)
        return out * torch.from_numpy(where.sign).float()[:, None, None]

    def select(self, rows: Int[Tensor, "b"]) -> DiskImages:
        """Only these images; nothing is read."""
        return DiskImages(self.stacks, self.where.select(rows.numpy()), self.grid)

    def name(self, row: int) -> str:
        """``image 3 of stack.mrcs``, counted from 1."""
        return f"image {self.where.image[row] + 1} of {self.stacks[self.where.file[row]].path}"

    def fingerprint(self) -> str:
        """Hash of paths, sizes and times of change of the stacks, and of which images are taken."""
        digest = hashlib.sha256(repr(self.grid).encode())
        for file in np.unique(self.where.file):
            path = self.stacks[file].path.resolve()
            status = path.stat()
            digest.update(f"{file} {path} {status.st_size} {status.st_mtime_ns}\n".encode())
        for column in (self.where.file, self.where.image, self.where.pixel_size, self.where.sign):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def _take(self, file: int, images: Int[np.ndarray, "b"]) -> Float[np.ndarray, "b c c"]:
        if file not in self._open:
            header = self.stacks[file]
            self._open[file] = RowFile(header.path, header.shape[1:], header.dtype, header.offset)
            if len(self._open) > _OPEN_STACKS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(file)
        return self._open[file].take(images)


class ShuffledImages(AbstractImages):
    """Prepared images in one ``.npy`` file, where they lie in random order."""

    def __init__(self, path: Path, place: Int[Tensor, "n"]) -> None:
        """Open the file; image ``i`` is its entry ``place[i]``."""
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            self._rows = RowFile(path, shape[1:], dtype, file.tell())
        self.path, self.place = path, place

    def __len__(self) -> int:
        return len(self.place)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows``, float32."""
        return torch.from_numpy(self._rows.take(self.place[rows].numpy()))

    def select(self, rows: Int[Tensor, "b"]) -> ShuffledImages:
        """Only these images; nothing is read."""
        return ShuffledImages(self.path, self.place[rows])

    def name(self, row: int) -> str:
        """``entry 3 of file.npy``, counted from 1."""
        return f"entry {int(self.place[row]) + 1} of {self.path}"

    def fingerprint(self) -> str:
        """Hash of the file's name, which tells its content, and of which entries are taken."""
        return hashlib.sha256(self.path.name.encode() + self.place.numpy().tobytes()).hexdigest()

    def sequence(self) -> Int[Tensor, "n"]:
        """Rows as they lie in the file."""
        return self.place.argsort()

"""What is known of each image before any is read: pose, optics, whereabouts, identity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt64

from morphem.core.types import Optics, Poses


class AbstractSource(ABC):
    """The file that metadata came from, able to write chosen rows of itself."""

    path: Path
    defocus_columns: ClassVar[tuple[str, str] | None] = None
    """Columns of both defoci (Å) in rows of images; None where rows are of something else."""

    @abstractmethod
    def write(
        self, path: Path, rows: np.ndarray, columns: Mapping[str, np.ndarray], poses: Poses | None
    ) -> None:
        """Write ``rows`` of the source table in its own format, atomically.

        Args:
            path: Where to.
            rows: Rows of the source table, in the order wanted.
            columns: Values to add (or replace), one per row; two-dimensional ones are numbered.
            poses: Refined poses, one per row, to replace those of the file.
        """


@dataclass(frozen=True)
class Metadata:
    """One row per image; units and signs are those of ``morphem.core``.

    Attributes:
        source: Where the rows came from.
        row: Row of each image in the source table; the tilts of one particle share one.
        uid: cryoSPARC's identifier.
        files: Image stacks, as the source names them.
        file_index: Which of ``files``.
        image_index: Which image of it, from 0.
        rotation: Molecule to view frame; None where the file has no poses.
        shift: Displacement of the particle in its image, (x, y), Å.
        optics: Float64 columns of the contrast transfer.
        pixel_size: Å.
        box: Pixels along a side, 0 where the file does not say.
        group: Optics group, 0 … groups − 1.
        group_names: Their names.
        particle: Whose image it is, 0 … particles − 1.
        half: Half set 1 or 2, 0 where the file does not say.
        sign: Factor on the grey values that the file asks for (cryoSPARC's ``blob/sign``).
        premultiplied: Whether the images were already multiplied by their contrast transfer.
        unmodelled: What the file says that the model leaves out.
        assumed: What the file does not say and had to be assumed.
    """

    source: AbstractSource
    row: Int[np.ndarray, "n"]
    uid: UInt64[np.ndarray, "n"] | None
    files: tuple[str, ...]
    file_index: Int[np.ndarray, "n"]
    image_index: Int[np.ndarray, "n"]
    rotation: Float[np.ndarray, "n 3 3"] | None
    shift: Float[np.ndarray, "n 2"] | None
    optics: Optics
    pixel_size: Float[np.ndarray, "n"]
    box: Int[np.ndarray, "n"]
    group: Int[np.ndarray, "n"]
    group_names: tuple[str, ...]
    particle: Int[np.ndarray, "n"]
    half: Int[np.ndarray, "n"]
    sign: Float[np.ndarray, "n"]
    premultiplied: Bool[np.ndarray, "n"]
    unmodelled: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def has_poses(self) -> bool:
        """Whether the file says how each particle lies."""
        return self.rotation is not None

    @property
    def poses(self) -> Poses:
        """Poses as float32; identity and zero where the file has none."""
        n = len(self)
        if self.rotation is None or self.shift is None:
            return Poses(torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 2))
        return Poses(torch.from_numpy(self.rotation).float(), torch.from_numpy(self.shift).float())

    def select(self, rows: Int[np.ndarray, "b"] | Bool[np.ndarray, "n"]) -> Metadata:
        """The same record with only some images; particles are renumbered without gaps."""
        chosen = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        chosen["particle"] = dense(chosen["particle"])
        return replace(self, optics=self.optics[torch.from_numpy(rows)], **chosen)


def write_metadata(
    metadata: Metadata,
    path: Path,
    rows: Int[np.ndarray, "b"] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    poses: Poses | None = None,
) -> None:
    """Write images of ``metadata`` in the format of their source, untouched columns bit for bit.

    Args:
        metadata: As it was read, or a selection of it.
        path: Where to; the file appears whole or not at all.
        rows: Images to write; all by default.
        extra: Columns to add, by name (``morphemLatent``); one entry per written image.
        poses: Refined poses, one per written image; the file's own are kept by default.
    """
    source_rows = metadata.row if rows is None else metadata.row[rows]
    metadata.source.write(Path(path), source_rows, extra or {}, poses)


def dense(labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Labels renumbered 0, 1, … in order of first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def numbered(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One-dimensional columns; a two-dimensional one becomes name1, name2 and so on."""
    flat: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        values = np.asarray(values)
        parts = {name: values} if values.ndim == 1 else {f"{name}{k}": v for k, v in enumerate(values.T, 1)}
        flat |= parts
    return flat

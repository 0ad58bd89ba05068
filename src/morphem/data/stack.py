"""Particle sets: what is known of every image in memory, the images themselves on disk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Optics, Particles, Poses
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.images import AbstractImages, DiskImages, MemoryImages, Whereabouts
from morphem.data.metadata import Metadata, MetadataOptions, read_metadata
from morphem.data.mrc import MrcHeader
from morphem.data.record import dense
from morphem.data.resolve import resolve_stacks

_BLOCK = 4096  # images read in one stretch of disk


@dataclass(frozen=True)
class Opened:
    """How a particle set was opened: what is needed to open it again."""

    path: Path
    options: MetadataOptions
    crop: int | None = None


@dataclass(frozen=True)
class ParticleStack:
    """A particle set.

    Attributes:
        images: Grey values by row.
        grid: Their common sampling.
        poses: Identity where unknown (then ``has_poses`` is False).
        optics: One row per image.
        particle: Whose image it is, 0 … particles − 1.
        group: Optics group, 0 … groups − 1.
        half: Half set 1 or 2, 0 where it was not given.
        premultiplied: Whether an image was already multiplied by its contrast transfer.
        has_poses: Whether ``poses`` was given.
        poses_found: Whether they were found from these images: then they may follow the molecule's motion.
        metadata: What the particle file says of the same rows, for writing it back.
        opened: How to open it again; None for images that never were a file.
    """

    images: AbstractImages
    grid: Grid
    poses: Poses
    optics: Optics
    particle: Int[Tensor, "n"]
    group: Int[Tensor, "n"]
    half: Int[Tensor, "n"]
    premultiplied: Bool[Tensor, "n"]
    has_poses: bool = True
    poses_found: bool = False
    metadata: Metadata | None = None
    opened: Opened | None = None

    def __post_init__(self) -> None:
        columns = (self.images, self.poses, self.optics, self.group, self.half, self.premultiplied)
        if any(len(column) != len(self.particle) for column in columns):
            lengths = ", ".join(str(len(column)) for column in columns)
            raise ValueError(
                f"columns of {lengths} rows do not belong to {len(self.particle)} particles' images"
            )
        if len(self) == 0:
            raise DataError("COUNT-002", "the particle set is empty; was everything deselected?")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def n_particles(self) -> int:
        """How many particles the images show; fewer than images in tomography."""
        return int(self.particle.max()) + 1

    @property
    def n_groups(self) -> int:
        """How many optics groups there are."""
        return int(self.group.max()) + 1

    def read(self, rows: Int[Tensor, "b"]) -> Particles:
        """A batch, in the order of ``rows``; an image with a value that is not a number is an error."""
        batch, finite = self.read_unchecked(rows)
        self.refuse_rows(rows[~finite])
        return batch

    def read_unchecked(self, rows: Int[Tensor, "b"]) -> tuple[Particles, Bool[Tensor, "b"]]:
        """A batch, and which of its images are numbers throughout."""
        images = self.images.read(rows)
        batch = Particles(
            images=images,
            poses=self.poses[rows],
            optics=self.optics[rows],
            index=rows,
            particle=self.particle[rows],
            group=self.group[rows],
            grid=self.grid,
            has_poses=self.has_poses,
        )
        # a sum keeps what is not a number, and is quicker to look at than every pixel
        return batch, images.sum((-2, -1)).isfinite()

    def read_sound(self, rows: Int[Tensor, "b"]) -> Particles:
        """A batch of those of ``rows`` whose images are numbers throughout; an error where there are none."""
        batch, finite = self.read_unchecked(rows)
        if not finite.any():
            self.refuse_rows(rows)
        return batch if finite.all() else batch[finite]

    def refuse_rows(self, rows: Int[Tensor, "b"]) -> None:
        """Raise an error that names ``rows`` as no numbers, if there are any."""
        if not len(rows):
            return
        names = "; ".join(f"row {row + 1}, {self.images.name(row)}" for row in rows[:3].tolist())
        more = " and more" if len(rows) > 3 else ""
        met = f"{len(rows)} of {len(self)} images hold values that are not a number"
        raise DataError("NAN-001", f"{met} ({names}{more}); leave these rows out")

    def select(self, rows: Int[Tensor, "b"]) -> ParticleStack:
        """Only these images, in this order; particles and nothing else are renumbered without gaps."""
        return replace(
            self,
            images=self.images.select(rows),
            poses=self.poses[rows],
            optics=self.optics[rows],
            particle=torch.from_numpy(dense(self.particle[rows].numpy())),
            group=self.group[rows],
            half=self.half[rows],
            premultiplied=self.premultiplied[rows],
            metadata=None if self.metadata is None else self.metadata.select(rows.numpy()),
        )

    def halves(self, seed: int = 0) -> tuple[Int[Tensor, "m1"], Int[Tensor, "m2"]]:
        """Rows of the two half sets, each in rising order; the images of a particle stay together.

        The halves of the particle file where it names them, else drawn by ``seed``.
        """
        drawn = torch.randperm(self.n_particles, generator=_generator(seed, 0)) % 2 + 1
        given = torch.zeros_like(drawn).scatter_reduce(0, self.particle, self.half, "amax")
        half = torch.where(given > 0, given, drawn)[self.particle]
        return (half == 1).nonzero().flatten(), (half == 2).nonzero().flatten()

    def order(self, seed: int, epoch: int) -> Int[Tensor, "n"]:
        """All rows in a random order; the same for the same seed and epoch.

        Images that already lie on disk in random order are taken in long stretches of it.
        """
        sequence = self.images.sequence()
        if sequence is None:
            return order(len(self), seed, epoch)
        stretches = list(sequence.split(_BLOCK))
        chosen = [stretches[k] for k in order(len(stretches), seed, epoch)]
        return torch.cat([part[order(len(part), seed + k + 1, epoch)] for k, part in enumerate(chosen)])


def order(n: int, seed: int, epoch: int) -> Int[Tensor, "n"]:
    """A random order of ``n`` rows; the same for the same seed and epoch, on every machine."""
    return torch.randperm(n, generator=_generator(seed, epoch))


def stack_in_memory(
    images: Float[Tensor, "n d d"],
    grid: Grid,
    optics: Optics,
    poses: Poses | None = None,
    particle: Int[Tensor, "n"] | None = None,
) -> ParticleStack:
    """A particle set of images that are already here; each its own particle unless said."""
    n = len(images)
    nothing = torch.zeros(n, dtype=torch.long)
    return ParticleStack(
        images=MemoryImages(images),
        grid=grid,
        poses=Poses(torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 2)) if poses is None else poses,
        optics=optics,
        particle=torch.arange(n) if particle is None else particle,
        group=nothing,
        half=nothing,
        premultiplied=torch.zeros(n, dtype=torch.bool),
        has_poses=poses is not None,
    )


def open_stack(
    path: Path | str,
    options: MetadataOptions | None = None,
    crop: int | None = None,
) -> ParticleStack:
    """The particle set that a ``.star``, ``.cs`` or ``.pkl`` file describes; no image is read yet.

    Where optics groups differ in box or pixel size, all images are resampled to the coarsest pixel and the
    smallest extent as they are read.

    Args:
        path: The particle file.
        options: Where its stacks and companion files are, and values that win over the file.
        crop: Pixels to keep around the origin of the common grid; needed where its box is odd.
    """
    options = options or MetadataOptions()
    metadata = read_metadata(path, options)
    counts = np.zeros(len(metadata.files), np.int64)
    np.maximum.at(counts, metadata.file_index, metadata.image_index + 1)
    stacks = resolve_stacks(metadata.files, counts.tolist(), metadata.source.path, options.datadir)
    _check_counts(metadata, stacks)
    if options.pixel_size is None:
        _check_boxes(metadata, stacks)
    grid = _common_grid(metadata, stacks, crop)
    where = Whereabouts(metadata.file_index, metadata.image_index, metadata.pixel_size, metadata.sign)
    return ParticleStack(
        images=DiskImages(stacks, where, grid),
        grid=grid,
        poses=metadata.poses,
        optics=Optics(**{name: column.float() for name, column in vars(metadata.optics).items()}),
        particle=torch.from_numpy(metadata.particle),
        group=torch.from_numpy(metadata.group),
        half=torch.from_numpy(metadata.half),
        premultiplied=torch.from_numpy(metadata.premultiplied),
        has_poses=metadata.has_poses,
        metadata=metadata,
        opened=Opened(Path(path), options, crop),
    )


def _check_counts(metadata: Metadata, stacks: tuple[MrcHeader, ...]) -> None:
    """Refuse rows that ask for images which are not there."""
    there = np.array([stack.shape[0] for stack in stacks])
    outside = np.flatnonzero(metadata.image_index >= there[metadata.file_index])
    if not len(outside):
        return
    row = outside[0]
    stack = stacks[metadata.file_index[row]]
    held, wanted = stack.shape[0], metadata.image_index[row] + 1
    if wanted <= stack.claimed:
        message = f"its header promises {stack.claimed} images, {held} follow; copy the file again"
        raise DataError("MRC-002", f"{stack.path} ends early: {message}")
    raise DataError(
        "COUNT-001",
        f"{metadata.source.path}: {len(outside)} of {len(metadata)} rows ask for images beyond the end "
        f"of their stack (first: row {row + 1}, image {wanted} of the {held} of {stack.path}); "
        "is this the particle file of another job?",
    )


def _check_boxes(metadata: Metadata, stacks: tuple[MrcHeader, ...]) -> None:
    """Refuse images of another size than the particle file says: their pixel size would be wrong too."""
    boxes = np.array([stack.shape[1] for stack in stacks])[metadata.file_index]
    differs = np.flatnonzero((metadata.box > 0) & (metadata.box != boxes))
    if len(differs):
        row = differs[0]
        whole = metadata.pixel_size[row] * metadata.box[row] / boxes[row]
        raise DataError(
            "BOX-002",
            f"{metadata.source.path}: row {row + 1} speaks of {metadata.box[row]} pixels, its image in "
            f"{stacks[metadata.file_index[row]].path} has {boxes[row]}; if the stack was downsampled, state "
            f"pixel_size ({whole:.6g} Å if nothing was cut)",
        )


def _common_grid(metadata: Metadata, stacks: tuple[MrcHeader, ...], crop: int | None) -> Grid:
    shapes = {stack.shape[1:] for stack in stacks}
    for rows, columns in shapes:
        if rows != columns:
            raise DataError(
                "BOX-001", f"{metadata.source.path}: images of {columns} × {rows} pixels; square ones wanted"
            )
    boxes = np.array([stack.shape[1] for stack in stacks])[metadata.file_index]
    pairs = np.unique(np.stack([boxes, metadata.pixel_size.round(5)], -1), axis=0)
    pixel_size = float(pairs[:, 1].max())
    # 1e-4: pixel sizes such as 1.0600001 must not cost a pixel
    box = int((pairs[:, 0] * pairs[:, 1]).min() / pixel_size + 1e-4)
    if crop is not None and crop > box:
        raise DataError("BOX-001", f"{metadata.source.path}: {crop} pixels asked for, the images have {box}")
    box = box if crop is None else crop
    if len(pairs) == 1 and box % 2:
        fix = f"state crop={box - 1} to leave out the first or last row and column"
        raise DataError("BOX-001", f"{metadata.source.path}: box {box} is odd; {fix}")
    if len(pairs) == 1:
        return Grid(box, pixel_size)
    grid = Grid(box - box % 2, pixel_size)
    met = ", ".join(f"{int(d)} px at {size:g} Å" for d, size in pairs)
    plan = f"all are resampled to {grid.box} px at {grid.pixel_size:g} Å"
    warnings.warn(f"{metadata.source.path}: mixed images ({met}); {plan}", MetadataWarning, stacklevel=3)
    return grid


def _generator(seed: int, epoch: int) -> torch.Generator:
    # a large odd factor keeps (seed, epoch + 1) apart from (seed + 1, epoch)
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + epoch) % 2**63)

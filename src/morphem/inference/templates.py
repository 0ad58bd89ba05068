"""Maps as transforms that are sliced at the stored frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.inference.store import Disc
from morphem.physics.pose_gram import PoseTables, pose_tables
from morphem.physics.sampled_slices import interleave, sample_cells
from morphem.physics.slices import prepare_transform

PADDING = 2
_MARGIN = 2  # frequency pixels beyond the limit, so that its neighbours in the transform are there


@dataclass(frozen=True)
class Templates:
    """Maps whose slices are in the units of :class:`morphem.inference.store.Coefficients`.

    Attributes:
        cells: Padded transforms of the maps, side by side.
        count: How many maps.
        plane: Frequencies ``(x, y)`` of the disc within ``limit`` as fractions of the maps' Nyquist.
        limit: Frequency pixels.
        grid: Of the images.
    """

    cells: Float[Tensor, "e e q f"]
    count: int
    plane: Float[Tensor, "m 2"]
    limit: int
    grid: Grid

    def slices(self, rotation: Float[Tensor, "b 3 3"]) -> Complex[Tensor, "c b m"]:
        """Every map's slice at each rotation."""
        return sample_cells(self.cells, self.count, rotation, self.plane)


def working_grid(grid: Grid, limit: int) -> Grid:
    """Coarsest grid of the same extent that holds ``limit`` frequency pixels."""
    return grid.resized(min(grid.box, 2 * (limit + _MARGIN)))


def template(volume: Volume, places: Disc, limit: int) -> Templates:
    """One map of the images' extent, ready to be sliced within ``limit``."""
    return templates([volume], places, limit)


def templates(volumes: list[Volume], places: Disc, limit: int) -> Templates:
    """Several maps of the images' extent, ready to be sliced within ``limit``."""
    grid = working_grid(places.grid, limit)
    transforms = torch.stack([_transform(volume, grid, places.grid) for volume in volumes])
    plane = plane_of(places, limit).to(transforms.device)
    return Templates(interleave(transforms), len(volumes), plane, limit, places.grid)


def with_gradients(volume: Volume, places: Disc, limit: int) -> PoseTables:
    """A map and its derivatives to the frequency along x, y and z."""
    return tables_of([volume], places, limit)


def tables_of(volumes: list[Volume], places: Disc, limit: int) -> PoseTables:
    """Several maps and their derivatives, which are the transforms of ``−2πi x`` times each map."""
    grid = working_grid(places.grid, limit)
    coarse = [resize_map(volume.voxels, grid.box) for volume in volumes]
    line = grid.axis() * (2 * math.pi / grid.extent)
    factors = [torch.ones(()), line, line[:, None], line[:, None, None]]
    transforms = [
        _transform(Volume(each * factor, grid), grid, places.grid) for factor in factors for each in coarse
    ]
    return pose_tables(torch.stack(transforms), plane_of(places, limit), grid)


def plane_of(places: Disc, limit: int) -> Float[Tensor, "m 2"]:
    """Frequencies within ``limit`` as fractions of the working grid's Nyquist."""
    half = working_grid(places.grid, limit).box // 2
    return places.places[: places.count(limit)].float() / half


def _transform(volume: Volume, working: Grid, images: Grid) -> Complex[Tensor, "e e q"]:
    coarse = resize_map(volume.voxels, working.box)
    # sums over fewer, larger pixels, of images whose transforms are divided by their box
    unit = images.box / working.box**2
    return prepare_transform(Volume(coarse * unit, working), PADDING)

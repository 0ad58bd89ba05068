"""Maps of the low frequencies from stored images at known poses, half sets apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Poses, Volume
from morphem.engine import ranks
from morphem.engine.half_maps import mean_weight, molecule_mask
from morphem.engine.run import Run
from morphem.inference.passes import blocks
from morphem.inference.search import ramps
from morphem.inference.store import Store
from morphem.inference.templates import PADDING, plane_of, working_grid
from morphem.metrics.fsc import shell_correlation
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.slices import padded_radius, solve_insertion

_BLOCK = 256  # images inserted at a time
_LEAST, _MOST = 1e-3, 0.9999  # signal's share of a half map that the filter reckons with


@dataclass(frozen=True)
class Tables:
    """Inserted slices, ready to be divided.

    Attributes:
        numerator: ``Σ c C y`` around each frequency.
        weight: ``Σ c² C²``.
    """

    numerator: Complex[Tensor, "e e q"]
    weight: Float[Tensor, "e e q"]

    def plus(self, other: Tables, factor: float = 1.0) -> Tables:
        """This table times ``factor``, and another."""
        return Tables(self.numerator * factor + other.numerator, self.weight * factor + other.weight)


@dataclass(frozen=True)
class Halves:
    """Filtered maps of two half sets on a working grid, in grey values of the images.

    Attributes:
        volumes: Within the mask; what both know alike, up to a shell, is their mean.
        fsc: Correlation of the unfiltered halves within the mask by shell, 0 beyond the limit.
        mask: Around the molecule.
    """

    volumes: tuple[Volume, Volume]
    fsc: Float[Tensor, "s"]
    mask: Float[Tensor, "d d d"]

    def mean(self) -> Volume:
        """Mean of both, filtered as they are."""
        one, two = self.volumes
        return Volume((one.voxels + two.voxels) / 2, one.grid)


def empty_sums(grid: Grid, limit: int) -> InsertedSlices:
    """Sums without a slice."""
    return InsertedSlices(PADDING * working_grid(grid, limit).box)


def insert_images(
    sums: InsertedSlices,
    store: Store,
    rows: Int[Tensor, "b"],
    poses: Poses,
    factors: Float[Tensor, "2 b"],
    limit: int,
) -> None:
    """Add images ``rows`` within ``limit`` to the sums.

    Args:
        sums: What is added to.
        store: The images.
        rows: Which.
        poses: Theirs, row by row.
        factors: On the numerator and the weight: c and c² of a contrast, or a posterior weight twice.
        limit: Frequency pixels.
    """
    images = store.read(rows, limit)
    centred = images.values * images.transfer * ramps(store.disc, limit, -poses.shift)
    weight = images.transfer.square() * factors[1, :, None]
    plane = plane_of(store.disc, limit)
    sums.add((centred * factors[0, :, None])[None], weight[None], poses.rotation, plane)


def summed(sums: InsertedSlices) -> Tables:
    """The sums of all processes."""
    ranks.sum_tensors([sums.cells])
    return Tables(sums.numerators()[0], sums.densities()[0])


def assemble(
    store: Store,
    rows: Int[Tensor, "m"],
    fit: tuple[Poses, Float[Tensor, "n"]],
    limit: int,
    run: Run | None = None,
) -> Tables:
    """Tables of all images ``rows`` at the poses and contrasts of the whole store."""
    poses, contrast = fit
    total = empty_sums(store.disc.grid, limit)
    for block in blocks(rows, _BLOCK, run, "maps"):
        factors = torch.stack([contrast[block], contrast[block].square()])
        insert_images(total, store, block, poses[block], factors, limit)
    return summed(total)


def solved(tables: Tables, grid: Grid, limit: int, share: Float[Tensor, "s"] | float) -> Volume:
    """Wiener-filtered map in grey values; ``share`` is the signal's share of the unfiltered one by shell."""
    working = working_grid(grid, limit)
    kept = torch.as_tensor(share).expand(working.half).clamp(_LEAST, _MOST)
    density = mean_weight(tables.weight, working)
    regulariser = density.clamp(min=1e-6 * float(density.max())) * (1 - kept) / kept
    volume = solve_insertion(tables.numerator, tables.weight, working, regulariser)
    return Volume(volume.voxels * (working.box**2 / grid.box), working)


def agreement(
    tables: tuple[Tables, Tables], grid: Grid, limit: int
) -> tuple[Float[Tensor, "s"], Float[Tensor, "d d d"]]:
    """Correlation of two unfiltered half maps within a mask by shell, 0 beyond the limit, and the mask."""
    working = working_grid(grid, limit)
    one, two = (solve_insertion(table.numerator, table.weight, working) for table in tables)
    mask = molecule_mask(one, two, shell_correlation(one, two))
    fsc = shell_correlation(one, two, mask)
    fsc[limit + 1 :] = 0
    fsc[0] = fsc[1]
    return fsc, mask


def filtered_halves(
    tables: tuple[Tables, Tables],
    grid: Grid,
    limit: int,
    known: tuple[Float[Tensor, "s"], Float[Tensor, "d d d"]],
    common: int,
) -> Halves:
    """Half maps, filtered by what they have in common; below shell ``common`` both are the mean.

    So the halves stay in one frame, and what is reported beyond that shell is told by one half alone.

    Args:
        tables: Of each half set.
        grid: Of the images.
        limit: Frequency pixels.
        known: Their :func:`agreement`.
        common: The shell.
    """
    fsc, mask = known
    joined = tables[0].plus(tables[1])
    low = padded_radius(PADDING * mask.shape[-1], mask.device) <= PADDING * common
    one, two = (_within(_low_from(joined, table, low), grid, limit, fsc, mask) for table in tables)
    return Halves((one, two), fsc, mask)


def _within(tables: Tables, grid: Grid, limit: int, fsc: Tensor, mask: Tensor) -> Volume:
    volume = solved(tables, grid, limit, fsc)
    return Volume(volume.voxels * mask, volume.grid)


def _low_from(low: Tables, high: Tables, where: Tensor) -> Tables:
    numerator = torch.where(where, low.numerator / 2, high.numerator)
    return Tables(numerator, torch.where(where, low.weight / 2, high.weight))

"""Values of many slices shared among the frequencies around their places, added to one table.

A cell's neighbour along x follows it in memory, so the eight shares of a point are four runs of two cells.
Each row of cells belongs to one thread, which goes through all images in their order: sums do not depend on
the number of threads, and no thread needs a table of its own.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int

from morphem.physics.kernels.lanes import LANES, load, single, spread, store, times_plus
from morphem.physics.kernels.lattice import BLOCK, Lattice, in_blocks, locate
from morphem.physics.kernels.running import compiled, share

Array = np.ndarray
# Real and imaginary parts in turn, numerators before images; densities likewise.
Slices = tuple[Float[Array, "c b w"], Float[Array, "v b m"]]


def insert(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "2 m"],
    rotation: Float[Array, "b 3 3"],
    slices: Slices,
    threads: int,
) -> None:
    """Add all slices to the cells: numerators, then densities, then zeros up to a multiple of 4 numbers."""
    blocks = in_blocks(plane)
    owner = _owners(lattice[0], threads)

    def add(start: int, stop: int) -> None:
        for thread in range(start, stop):
            _insert(cells, lattice, blocks, rotation, slices, owner == thread)

    share(add, threads, threads)


def _owners(edge: int, threads: int) -> Int[Array, "_"]:
    """Thread that each row of cells belongs to: slabs along z that hold about as many points each."""
    # of points on discs in all directions, a share 1 − |z| lies at each z from −1 to 1
    above = 2 * np.arange(1, threads) / threads - 1
    z = np.sign(above) * (1 - np.sqrt(1 - np.abs(above)))
    return np.searchsorted((z + 1) / 2 * edge**2, np.arange(edge**2), side="right")


@compiled
@no_type_check
def _insert(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "_ 2 n"],
    rotation: Float[Array, "b 3 3"],
    slices: Slices,
    mine: Bool[Array, "_"],
) -> None:
    values, densities = slices
    count = densities.shape[2]
    size = lattice[2]
    points = np.empty((6, BLOCK), np.float32)
    pairs = np.zeros((BLOCK, 2, size), np.float32)
    for b in range(len(rotation)):
        for n in range(len(plane)):
            first, full = n * BLOCK, min(count - n * BLOCK, BLOCK)
            locate(plane[n], rotation[b], lattice, points, full)
            for i in range(len(values)):
                part = values[i, b, 2 * first : 2 * (first + full)]
                _divide(part[::2], points[2], pairs[:, :, 2 * i])
                _divide(part[1::2] * points[5, :full], points[2], pairs[:, :, 2 * i + 1])
            for i in range(len(densities)):
                part = densities[i, b, first : first + full]
                _divide(part, points[2], pairs[:, :, 2 * len(values) + i])
            _add(cells, (lattice[0], lattice[1]), points, pairs, mine, full)


@compiled
@no_type_check
def _divide(values: Float[Array, "m"], x: Float[Array, "n"], pairs: Float[Array, "n 2"]) -> None:
    """Shares of the cell and of its neighbour along x."""
    for p in range(len(values)):
        above = values[p] * x[p]
        pairs[p, 0] = values[p] - above
        pairs[p, 1] = above


@compiled
@no_type_check
def _add(
    cells: Float[Array, "_"],
    edges: tuple[int, int],
    points: Float[Array, "6 n"],
    pairs: Float[Array, "n 2 f"],
    mine: Bool[Array, "_"],
    count: int,
) -> None:
    """Add pairs of cells to the four rows around each point."""
    e, q = edges
    size = pairs.shape[2]
    for p in range(count):
        row, x = np.intp(single(points, p + BLOCK)), np.intp(single(points, p))
        y, z = single(points, p + 3 * BLOCK), single(points, p + 4 * BLOCK)
        for corner in range(4):
            across, up = corner % 2, corner // 2
            own = row + across + up * e
            if mine[own]:
                weight = (y if across else np.float32(1) - y) * (z if up else np.float32(1) - z)
                at = (own * q + x) * size
                for run in range(0, 2 * size, LANES):
                    given = load(pairs, p * 2 * size + run)
                    store(cells, at + run, times_plus(given, spread(pairs, weight), load(cells, at + run)))

"""Where the points of a slice lie in a padded transform of which one half is stored."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float

from morphem.physics.kernels.lanes import (
    LANES,
    between,
    floor,
    greater,
    lesser,
    load,
    sign,
    single,
    spread,
    store,
    times,
    times_plus,
    transpose,
)
from morphem.physics.kernels.running import compiled

Array = np.ndarray
BLOCK = 128  # frequencies handled at a time
# Edges e and q of a table, how many numbers a cell of it holds, and its cells per frequency of the plane.
Lattice = tuple[int, int, int, float]


def in_blocks(plane: Float[Array, "2 m"]) -> Float[Array, "_ 2 n"]:
    """The plane's frequencies, :data:`BLOCK` at a time, with zeros after the last."""
    blocks = [plane[:, first : first + BLOCK] for first in range(0, plane.shape[1], BLOCK)]
    padded = np.zeros((len(blocks), 2, BLOCK), np.float32)
    for row, block in zip(padded, blocks, strict=True):
        row[:, : block.shape[1]] = block
    return padded


@compiled
@no_type_check
def locate(
    plane: Float[Array, "2 n"],
    rotation: Float[Array, "3 3"],
    lattice: Lattice,
    points: Float[Array, "6 n"],
    count: int,
) -> None:
    """Points of the slice, those with x < 0 mirrored: cell along x, row of cells, place within it, sign."""
    e, q, _, fine = lattice
    middle, width = spread(plane, e // 2), spread(plane, e)
    for p in range(0, count, LANES):
        u = times(load(plane, p), spread(plane, fine))
        v = times(load(plane, BLOCK + p), spread(plane, fine))
        x = _turned(plane, u, v, rotation, 0)
        side = sign(x)
        y = times_plus(_turned(plane, u, v, rotation, 1), side, middle)
        z = times_plus(_turned(plane, u, v, rotation, 2), side, middle)
        store(points, p, _split(points, 2 * BLOCK + p, times(x, side), q - 2))
        y = _split(points, 3 * BLOCK + p, y, e - 2)
        z = _split(points, 4 * BLOCK + p, z, e - 2)
        # whole numbers stay exact up to a table's 4096² rows
        store(points, BLOCK + p, times_plus(z, width, y))
        store(points, 5 * BLOCK + p, side)


@compiled
@no_type_check
def _turned(plane: Float[Array, "2 n"], u: Any, v: Any, rotation: Float[Array, "3 3"], axis: int) -> Any:
    """One coordinate in the map's frame of points (u, v) of the view's plane."""
    along_v = times(v, spread(plane, rotation[1, axis]))
    return times_plus(u, spread(plane, rotation[0, axis]), along_v)


@compiled
@no_type_check
def _split(points: Float[Array, "6 n"], place: int, position: Any, last: int) -> Any:
    """Cell below a position; what is left above it is written."""
    low = lesser(greater(floor(position), spread(points, 0.0)), spread(points, last))
    store(points, place, times_plus(low, spread(points, -1.0), position))
    return low


@compiled
@no_type_check
def interpolate(
    cells: Float[Array, "_"],
    lattice: Lattice,
    points: Float[Array, "6 n"],
    channels: Float[Array, "f n"],
    count: int,
) -> None:
    """Trilinear values of the first numbers of a cell, a group of eight at a time."""
    e, q, size, _ = lattice
    steps = size, size * q
    tile = np.zeros(LANES * LANES, np.float32)
    for first in range(0, count, LANES):
        for group in range(0, channels.shape[0], LANES):
            for lane in range(LANES):
                p = first + lane
                row = np.intp(single(points, p + BLOCK))
                at = (row * q + np.intp(single(points, p))) * size + group
                x = spread(cells, single(points, p + 2 * BLOCK))
                y = spread(cells, single(points, p + 3 * BLOCK))
                z = spread(cells, single(points, p + 4 * BLOCK))
                below = _bilinear(cells, at, steps, x, y)
                above = _bilinear(cells, at + steps[1] * e, steps, x, y)
                store(tile, lane * LANES, between(below, above, z))
            transpose(tile, 0, channels, group * BLOCK + first)


@compiled
@no_type_check
def _bilinear(cells: Float[Array, "_"], at: int, steps: tuple[int, int], x: Any, y: Any) -> Any:
    """Values between four neighbours, of one group of channels."""
    across, up = steps
    low = between(load(cells, at), load(cells, at + across), x)
    high = between(load(cells, at + up), load(cells, at + up + across), x)
    return between(low, high, y)

"""Products of a model, its derivatives to a pose and an image, summed over an image's frequencies.

Images outside, blocks of frequencies inside: what is made of a block stays in the nearest cache until its
sums are taken. Each image belongs to one thread and its sums run in a fixed order, so results do not depend
on the number of threads. Lengths are frequency pixels; angles of phases are turns.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float

from morphem.physics.kernels.lanes import (
    LANES,
    floor,
    load,
    spread,
    store,
    times,
    times_plus,
    total,
)
from morphem.physics.kernels.lattice import BLOCK, Lattice, in_blocks, interpolate, locate
from morphem.physics.kernels.running import compiled, share

Array = np.ndarray
SLOPES = 5
_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in reversed(range(6)))
_COSINE = tuple((-1.0) ** k / math.factorial(2 * k) for k in reversed(range(7)))
_TILE = 4  # columns whose products with one other are summed at once

# Rotation, shift as turns per frequency pixel, factor on each map.
Poses = tuple[Float[Array, "b 3 3"], Float[Array, "b 2"], Float[Array, "b c"]]
# Transfer; real and imaginary parts in turn.
Images = tuple[Float[Array, "b m"], Float[Array, "b w"]]


def gram(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "2 m"],
    poses: Poses,
    images: Images,
    threads: int,
) -> Float[Array, "b k k"]:
    """Sums ``Re Σ a* b`` for all pairs of columns: 5 slopes, c maps, the image."""
    rotation, shift, weights = poses
    transfer, values = images
    size = SLOPES + weights.shape[1] + 1
    products = np.empty((len(rotation), size, size), np.float32)
    blocks = in_blocks(plane)

    def sum_up(start: int, stop: int) -> None:
        rows = slice(start, stop)
        part = rotation[rows], shift[rows], weights[rows]
        _gram(cells, lattice, blocks, part, (transfer[rows], values[rows]), products[rows])

    share(sum_up, len(rotation), threads)
    return products


@compiled
@no_type_check
def _gram(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "_ 2 n"],
    poses: Poses,
    images: Images,
    products: Float[Array, "b k k"],
) -> None:
    rotation, shift, weights = poses
    transfer, values = images
    size, count = products.shape[1], transfer.shape[1]
    points = np.empty((6, BLOCK), np.float32)
    channels = np.empty((8 * weights.shape[1], BLOCK), np.float32)
    mixture = np.empty((8, BLOCK), np.float32)
    columns = np.zeros((size + _TILE - 1, 2 * BLOCK), np.float32)
    seen = np.empty((3, BLOCK), np.float32)
    sums = np.empty((size, size + _TILE - 1), np.float64)
    for b in range(len(products)):
        sums[:] = 0
        for n in range(len(plane)):
            first, full = n * BLOCK, min(count - n * BLOCK, BLOCK)
            _read(transfer[b, first : first + full], values[b, 2 * first : 2 * (first + full)], seen)
            locate(plane[n], rotation[b], lattice, points, full)
            interpolate(cells, lattice, points, channels, full)
            _filter(points, seen, channels, columns, full)
            _mix(channels, weights[b], mixture, full)
            _derive(plane[n], rotation[b], mixture, columns, full)
            _centre(plane[n], shift[b], seen, columns[size - 1], full)
            _add_products(columns, full, sums)
        for i in range(size):
            for j in range(i, size):
                products[b, i, j] = products[b, j, i] = sums[i, j]


@compiled
@no_type_check
def _read(transfer: Float[Array, "m"], values: Float[Array, "w"], seen: Float[Array, "3 n"]) -> None:
    """Transfer and both parts of the values of one block, zero beyond the last."""
    for p in range(len(transfer)):
        seen[0, p] = transfer[p]
    for p in range(len(transfer)):
        seen[1, p] = values[2 * p]
        seen[2, p] = values[2 * p + 1]
    seen[:, len(transfer) :] = 0


@compiled
@no_type_check
def _filter(
    points: Float[Array, "6 n"],
    seen: Float[Array, "3 n"],
    channels: Float[Array, "f n"],
    columns: Float[Array, "k w"],
    count: int,
) -> None:
    """Multiply all channels by the transfer and conjugate those of mirrored points; copy those of maps."""
    rows = channels.shape[0]
    for p in range(0, count, LANES):
        real = load(seen, p)
        imaginary = times(real, load(points, 5 * BLOCK + p))
        for row in range(0, rows, 2):
            at = row * BLOCK + p
            a, b = times(load(channels, at), real), times(load(channels, at + BLOCK), imaginary)
            store(channels, at, a)
            store(channels, at + BLOCK, b)
            if row < rows // 4:
                store(columns, 2 * SLOPES * BLOCK + at, a)
                store(columns, 2 * SLOPES * BLOCK + at + BLOCK, b)


@compiled
@no_type_check
def _mix(
    channels: Float[Array, "f n"], weights: Float[Array, "c"], mixture: Float[Array, "8 n"], count: int
) -> None:
    """Sums of the maps' channels, each times its factor."""
    maps = len(weights)
    for row in range(8):
        start = (row // 2 * 2 * maps + row % 2) * BLOCK
        for p in range(0, count, LANES):
            whole = times(load(channels, start + p), spread(channels, weights[0]))
            for j in range(1, maps):
                each = load(channels, start + 2 * j * BLOCK + p)
                whole = times_plus(each, spread(channels, weights[j]), whole)
            store(mixture, row * BLOCK + p, whole)


@compiled
@no_type_check
def _derive(
    plane: Float[Array, "2 n"],
    rotation: Float[Array, "3 3"],
    mixture: Float[Array, "8 n"],
    columns: Float[Array, "k w"],
    count: int,
) -> None:
    """Slopes: ``−i (R ∇V) × k`` and ``−2πi k V``."""
    turn = spread(plane, 2 * math.pi)
    minus = spread(plane, -1.0)
    for half in range(2):
        # −i (a + i b) = b − i a
        other, unit = (1 - half) * BLOCK, spread(plane, 1 - 2 * half)
        for p in range(0, count, LANES):
            x, y = times(load(plane, p), unit), times(load(plane, BLOCK + p), unit)
            at, model = half * BLOCK + p, times(load(mixture, other + p), turn)
            along_x = _along(mixture, other + p, rotation, 0)
            along_y = _along(mixture, other + p, rotation, 1)
            along_z = _along(mixture, other + p, rotation, 2)
            store(columns, at, times(times(y, minus), along_z))
            store(columns, 2 * BLOCK + at, times(x, along_z))
            store(columns, 4 * BLOCK + at, times_plus(y, along_x, times(times(x, minus), along_y)))
            store(columns, 6 * BLOCK + at, times(x, model))
            store(columns, 8 * BLOCK + at, times(y, model))


@compiled
@no_type_check
def _along(mixture: Float[Array, "8 n"], at: int, rotation: Float[Array, "3 3"], axis: int) -> Any:
    """Derivative along an axis of the view."""
    x, y, z = load(mixture, at + 2 * BLOCK), load(mixture, at + 4 * BLOCK), load(mixture, at + 6 * BLOCK)
    along = times(z, spread(mixture, rotation[axis, 2]))
    along = times_plus(y, spread(mixture, rotation[axis, 1]), along)
    return times_plus(x, spread(mixture, rotation[axis, 0]), along)


@compiled
@no_type_check
def _centre(
    plane: Float[Array, "2 n"],
    shift: Float[Array, "2"],
    seen: Float[Array, "3 n"],
    column: Float[Array, "w"],
    count: int,
) -> None:
    """The image moved back by the shift, in place of all models moved forth by it."""
    minus = spread(plane, -1.0)
    for p in range(0, count, LANES):
        turns = times(load(plane, BLOCK + p), spread(plane, shift[1]))
        turns = times_plus(load(plane, p), spread(plane, shift[0]), turns)
        nearest = floor(times_plus(turns, spread(plane, 1.0), spread(plane, 0.5)))
        # half the angle, within ± π/2, where the series are good
        angle = times(times_plus(nearest, minus, turns), spread(plane, math.pi))
        square = times(angle, angle)
        sine = times(_series(plane, square, _SINE), angle)
        cosine = _series(plane, square, _COSINE)
        double = times(sine, spread(plane, 2.0))
        cosine, sine = times_plus(times(double, sine), minus, spread(plane, 1.0)), times(double, cosine)
        real, imaginary = load(seen, BLOCK + p), load(seen, 2 * BLOCK + p)
        store(column, p, times_plus(real, cosine, times(times(imaginary, sine), minus)))
        store(column, BLOCK + p, times_plus(real, sine, times(imaginary, cosine)))


@compiled
@no_type_check
def _series(plane: Float[Array, "2 n"], square: Any, terms: tuple[float, ...]) -> Any:
    """Polynomial with these coefficients, the highest first."""
    value = spread(plane, terms[0])
    for term in terms[1:]:
        value = times_plus(value, square, spread(plane, term))
    return value


@compiled
@no_type_check
def _add_products(columns: Float[Array, "k n"], count: int, sums: Float[Array, "j k"]) -> None:
    """Add the products of each column with those after it, four at a time."""
    size, width = len(sums), 2 * BLOCK
    zero = spread(columns, 0.0)
    for i in range(size):
        for j in range(i, size, _TILE):
            one, two, three, four = zero, zero, zero, zero
            for half in range(0, width, BLOCK):
                for p in range(half, half + count, LANES):
                    own, at = load(columns, i * width + p), j * width + p
                    one = times_plus(own, load(columns, at), one)
                    two = times_plus(own, load(columns, at + width), two)
                    three = times_plus(own, load(columns, at + 2 * width), three)
                    four = times_plus(own, load(columns, at + 3 * width), four)
            sums[i, j] += total(one)
            sums[i, j + 1] += total(two)
            sums[i, j + 2] += total(three)
            sums[i, j + 3] += total(four)

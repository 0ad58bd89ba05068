"""Products of a model, its derivatives to a pose and an image, summed over an image's frequencies.

Images outside, blocks of frequencies inside: what is made of a block stays in the nearest cache until its
sums are taken. Each image belongs to one thread and its sums run in a fixed order, so results do not depend
on the number of threads. Lengths are frequency pixels; angles of phases are turns.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Complex, Float, Int

from morphem.physics.kernels.lanes import LANES, between, load, spread, store, times_plus, total, transpose
from morphem.physics.kernels.running import compiled, share

Array = np.ndarray
BLOCK = 128  # frequencies handled at a time
SLOPES = 5
_HALF_TURN, _TURN = np.float32(math.pi), np.float32(2 * math.pi)
_TILE = 4  # columns whose products with one other are summed at once

# Edges e and q of a table whose cells hold the numbers of one frequency, and its frequencies per pixel.
Lattice = tuple[int, int, float]
# Rotation, shift as turns per frequency pixel, factor on each map.
Poses = tuple[Float[Array, "b 3 3"], Float[Array, "b 2"], Float[Array, "b c"]]
Images = tuple[Float[Array, "b m"], Complex[Array, "b m"]]
# Cell below each point, its place within (x, y, z) and the sign of its imaginary part.
Points = tuple[Int[Array, "n"], Float[Array, "4 n"]]


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

    def sum_up(start: int, stop: int) -> None:
        rows = slice(start, stop)
        part = rotation[rows], shift[rows], weights[rows]
        _gram(cells, lattice, plane, part, (transfer[rows], values[rows]), products[rows])

    share(sum_up, len(rotation), threads)
    return products


@compiled
@no_type_check
def _gram(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "2 m"],
    poses: Poses,
    images: Images,
    products: Float[Array, "b k k"],
) -> None:
    rotation, shift, weights = poses
    transfer, values = images
    maps, size = weights.shape[1], products.shape[1]
    points = np.empty(BLOCK, np.int32), np.empty((4, BLOCK), np.float32)
    channels = np.empty((8 * maps, BLOCK), np.float32)
    columns = np.zeros((size + _TILE - 1, 2 * BLOCK), np.float32)
    sums = np.empty((size, size + _TILE - 1), np.float64)
    for b in range(len(products)):
        sums[:] = 0
        for first in range(0, plane.shape[1], BLOCK):
            part = plane[:, first : first + BLOCK]
            stop = first + part.shape[1]
            _locate(part, rotation[b], lattice, points)
            _interpolate(cells, lattice, points, part.shape[1], channels)
            if stop - first < BLOCK:
                columns[:] = 0
            _filter(transfer[b, first:stop], points[1][3], channels)
            _model(weights[b], stop - first, channels, columns)
            _derive(part, rotation[b], channels, columns)
            _centre(part, shift[b], values[b, first:stop], columns[size - 1])
            _add_products(columns, part.shape[1], sums)
        for i in range(size):
            for j in range(i, size):
                products[b, i, j] = products[b, j, i] = sums[i, j]


@compiled
@no_type_check
def _locate(
    plane: Float[Array, "2 n"], rotation: Float[Array, "3 3"], lattice: Lattice, points: Points
) -> None:
    """Cells of the slice's points after mirroring those with x < 0."""
    e, q, fine = lattice[0], lattice[1], np.float32(lattice[2])
    cell, inside = points
    middle = np.float32(e // 2)
    for p in range(plane.shape[1]):
        u, v = plane[0, p] * fine, plane[1, p] * fine
        x = u * rotation[0, 0] + v * rotation[1, 0]
        sign = np.float32(-1) if x < 0 else np.float32(1)
        x = x * sign
        y = (u * rotation[0, 1] + v * rotation[1, 1]) * sign + middle
        z = (u * rotation[0, 2] + v * rotation[1, 2]) * sign + middle
        i = min(max(np.int32(x), np.int32(0)), np.int32(q - 2))
        j = min(max(np.int32(y), np.int32(0)), np.int32(e - 2))
        k = min(max(np.int32(z), np.int32(0)), np.int32(e - 2))
        cell[p] = np.int32(np.int32(np.int32(k * np.int32(e)) + j) * np.int32(q)) + i
        inside[0, p] = x - np.float32(i)
        inside[1, p] = y - np.float32(j)
        inside[2, p] = z - np.float32(k)
        inside[3, p] = sign


@compiled
@no_type_check
def _interpolate(
    cells: Float[Array, "_"], lattice: Lattice, points: Points, count: int, channels: Float[Array, "f n"]
) -> None:
    """Trilinear values of every channel, a group of eight at a time."""
    e, q, _ = lattice
    cell, inside = points
    stride = channels.shape[0]
    tile = np.empty(LANES * LANES, np.float32)
    for group in range(0, stride, LANES):
        for first in range(0, count, LANES):
            for p in range(first, min(first + LANES, count)):
                at = np.intp(cell[p]) * stride + group
                x, y = spread(cells, inside[0, p]), spread(cells, inside[1, p])
                below = _bilinear(cells, at, (stride, stride * q), x, y)
                above = _bilinear(cells, at + stride * q * e, (stride, stride * q), x, y)
                store(tile, (p - first) * LANES, between(below, above, spread(cells, inside[2, p])))
            transpose(tile, 0, channels[group:], first)


@compiled
@no_type_check
def _bilinear(cells: Float[Array, "_"], at: int, steps: tuple[int, int], x: float, y: float) -> float:
    """Values between four neighbours, of one group of channels."""
    across, up = steps
    low = between(load(cells, at), load(cells, at + across), x)
    high = between(load(cells, at + up), load(cells, at + up + across), x)
    return between(low, high, y)


@compiled
@no_type_check
def _filter(transfer: Float[Array, "n"], sign: Float[Array, "_"], channels: Float[Array, "f n"]) -> None:
    """Multiply all channels by the transfer, and conjugate those of mirrored points."""
    for row in range(0, channels.shape[0], 2):
        real, imaginary = channels[row], channels[row + 1]
        for p in range(len(transfer)):
            real[p] *= transfer[p]
            imaginary[p] *= transfer[p] * sign[p]


@compiled
@no_type_check
def _model(
    weights: Float[Array, "c"], count: int, channels: Float[Array, "f n"], columns: Float[Array, "k n"]
) -> None:
    """Columns of the maps; what the slopes need of all of them together is left at each one's first row."""
    maps = len(weights)
    for row in range(2 * maps):
        half = (row % 2) * BLOCK
        columns[SLOPES + row // 2, half : half + count] = channels[row, :count]
    for row in range(0, 8 * maps, 2 * maps):
        for part in range(2):
            whole = channels[row + part]
            for p in range(count):
                whole[p] *= weights[0]
            for j in range(1, maps):
                each = channels[row + part + 2 * j]
                for p in range(count):
                    whole[p] += weights[j] * each[p]


@compiled
@no_type_check
def _derive(
    plane: Float[Array, "2 n"],
    rotation: Float[Array, "3 3"],
    channels: Float[Array, "f n"],
    columns: Float[Array, "k n"],
) -> None:
    """Slopes: ``−i (R ∇V) × k`` and ``−2πi k V``."""
    step = channels.shape[0] // 4
    for part in range(2):
        # −i (a + i b) = b − i a
        sign, half = np.float32(1 - 2 * part), part * BLOCK
        s, gx = channels[1 - part], channels[step + 1 - part]
        gy, gz = channels[2 * step + 1 - part], channels[3 * step + 1 - part]
        for p in range(plane.shape[1]):
            x, y = sign * plane[0, p], sign * plane[1, p]
            along_x = rotation[0, 0] * gx[p] + rotation[0, 1] * gy[p] + rotation[0, 2] * gz[p]
            along_y = rotation[1, 0] * gx[p] + rotation[1, 1] * gy[p] + rotation[1, 2] * gz[p]
            along_z = rotation[2, 0] * gx[p] + rotation[2, 1] * gy[p] + rotation[2, 2] * gz[p]
            columns[0, half + p] = -y * along_z
            columns[1, half + p] = x * along_z
            columns[2, half + p] = y * along_x - x * along_y
            columns[3, half + p] = _TURN * x * s[p]
            columns[4, half + p] = _TURN * y * s[p]


@compiled
@no_type_check
def _centre(
    plane: Float[Array, "2 n"],
    shift: Float[Array, "2"],
    values: Complex[Array, "n"],
    column: Float[Array, "n"],
) -> None:
    """The image moved back by the shift, in place of all models moved forth by it."""
    real, imaginary = column[:BLOCK], column[BLOCK:]
    for p in range(len(values)):
        turns = plane[0, p] * shift[0] + plane[1, p] * shift[1]
        half = (turns - np.floor(turns + np.float32(0.5))) * _HALF_TURN
        s, c = _sine(half), _cosine(half)
        sine, cosine = np.float32(2) * s * c, np.float32(1) - np.float32(2) * s * s
        a, b = values[p].real, values[p].imag
        real[p] = a * cosine - b * sine
        imaginary[p] = a * sine + b * cosine


@compiled
@no_type_check
def _sine(x: float) -> float:
    """Series that is exact to float32 within ± π/2."""
    square = x * x
    value = np.float32(-1 / 39916800)
    for term in (1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1.0):
        value = value * square + np.float32(term)
    return value * x


@compiled
@no_type_check
def _cosine(x: float) -> float:
    """Series that is exact to float32 within ± π/2."""
    square = x * x
    value = np.float32(1 / 479001600)
    for term in (-1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -1 / 2, 1.0):
        value = value * square + np.float32(term)
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

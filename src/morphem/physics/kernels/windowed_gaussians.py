"""Projected Gaussians drawn, and differentiated, only where they are not negligible.

Images outside, Gaussians inside: each image belongs to one thread and its sums run in a fixed order, so
results do not depend on the number of threads. Lengths are pixels; a position is an array index.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float

from morphem.physics.kernels.lanes import (
    LANES,
    count_from,
    load,
    power_of_two,
    spread,
    store,
    times,
    times_plus,
    total,
)
from morphem.physics.kernels.running import compiled, share

Array = np.ndarray
# Positions (x, y) in each image, peak amplitudes there, scales common to all images.
Mixture = tuple[Float[Array, "b g 2"], Float[Array, "b g"], Float[Array, "g"]]
Gradients = tuple[Float[Array, "b g 2"], Float[Array, "b g"], Float[Array, "b g"]]
Profiles = tuple[Float[Array, "3 w"], Float[Array, "3 w"]]
Window = tuple[int, int, int, int]


def splat(mixture: Mixture, box: int, reach: float, threads: int) -> Float[Array, "b d d"]:
    """Images of Gaussians, each drawn to at least ``reach`` standard deviations."""
    view, amplitudes, scales = mixture
    images = np.empty((len(view), box, box), view.dtype)
    margin = margin_for(scales, box, reach)

    def draw(start: int, stop: int) -> None:
        rows = slice(start, stop)
        _splat((view[rows], amplitudes[rows], scales), reach, margin, images[rows])

    share(draw, len(view), threads)
    return images


def splat_gradient(
    mixture: Mixture, upstream: Float[Array, "b d d"], reach: float, threads: int
) -> Gradients:
    """Gradients to positions, amplitudes and, image by image, scales."""
    view, amplitudes, scales = mixture
    to_view, to_amplitudes = np.empty_like(view), np.empty_like(amplitudes)
    to_scales = np.empty_like(amplitudes)
    margin = margin_for(scales, upstream.shape[-1], reach)

    def differentiate(start: int, stop: int) -> None:
        rows = slice(start, stop)
        results = to_view[rows], to_amplitudes[rows], to_scales[rows]
        _splat_gradient((view[rows], amplitudes[rows], scales), reach, margin, upstream[rows], results)

    share(differentiate, len(view), threads)
    return to_view, to_amplitudes, to_scales


def margin_for(scales: Float[Array, "g"], box: int, reach: float) -> int:
    """Columns on either side of an image that a window which touches the image can enter."""
    widest = float(np.nanmax(scales, initial=0)) * 2 * reach + 1
    return int(min(widest, box)) + 2 * LANES


@compiled
@no_type_check
def _splat(mixture: Mixture, reach: float, margin: int, images: Float[Array, "b d d"]) -> None:
    """Draw each image on a canvas with a margin left and right, then copy what lies between."""
    view, amplitudes, scales = mixture
    box = images.shape[1]
    stride = box + 2 * margin
    canvas = np.empty(box * stride, images.dtype)
    profiles = room_for(canvas, box)
    for b in range(len(images)):
        canvas[:] = 0
        for g in range(view.shape[1]):
            x, y, half = view[b, g, 0], view[b, g, 1], reach * scales[g]
            if not (touches(x, half, box) and touches(y, half, box)):
                canvas[margin] += 0 * (x + y + half)  # NaN where a centre or width is not finite
            elif amplitudes[b, g] != 0:
                window = window_of(x, y, half, box)
                tabulate(profiles, window, x, y, scales[g])
                add(canvas, margin, stride, profiles, window, amplitudes[b, g])
        for i in range(box):
            images[b, i] = canvas[i * stride + margin : i * stride + margin + box]


@compiled
@no_type_check
def _splat_gradient(
    mixture: Mixture, reach: float, margin: int, upstream: Float[Array, "b d d"], gradients: Gradients
) -> None:
    """Moments of the upstream image under each Gaussian; all three gradients follow from them."""
    view, amplitudes, scales = mixture
    to_view, to_amplitudes, to_scales = gradients
    box = upstream.shape[1]
    stride = box + 2 * margin
    canvas = np.zeros(box * stride, upstream.dtype)
    profiles = room_for(canvas, box)
    for b in range(len(upstream)):
        for i in range(box):
            canvas[i * stride + margin : i * stride + margin + box] = upstream[b, i]
        for g in range(view.shape[1]):
            x, y, half = view[b, g, 0], view[b, g, 1], reach * scales[g]
            if not (touches(x, half, box) and touches(y, half, box)):
                to_view[b, g] = to_amplitudes[b, g] = to_scales[b, g] = 0
                continue
            window = window_of(x, y, half, box)
            tabulate(profiles, window, x, y, scales[g])
            mass, along_x, along_y, spread_out = _moments(canvas, margin, stride, profiles, window)
            per_square = amplitudes[b, g] / (scales[g] * scales[g])
            to_amplitudes[b, g] = mass
            to_view[b, g, 0] = along_x * per_square
            to_view[b, g, 1] = along_y * per_square
            to_scales[b, g] = spread_out * per_square / scales[g]


@compiled
@no_type_check
def room_for(canvas: Float[Array, "p"], box: int) -> tuple[Float[Array, "3 w"], Float[Array, "3 w"]]:
    """Space for the profiles along x and y: value, value · offset, value · offset²."""
    size = (box // LANES + 2) * LANES
    return np.empty((3, size), canvas.dtype), np.empty((3, size), canvas.dtype)


@compiled
@no_type_check
def touches(position: float, half: float, box: int) -> bool:
    """Whether a window reaches into the image along one axis; False for NaN."""
    return position + half >= 0 and position - half <= box - 1


@compiled
@no_type_check
def window_of(x: float, y: float, half: float, box: int) -> Window:
    """First column, blocks of columns, first row and rows of a Gaussian; rows are clipped to the image."""
    length = int(2 * half) + 1
    if length >= box:
        return 0, (box + LANES - 1) // LANES, 0, box
    blocks = (length + LANES - 1) // LANES
    left = math.ceil(x - half) - (blocks * LANES - length) // 2
    top = math.ceil(y - half)
    low = max(top, 0)
    return left, blocks, low, min(top + length, box) - low


@compiled
@no_type_check
def tabulate(profiles: Profiles, window: Window, x: float, y: float, scale: float) -> None:
    """Fill the profiles ``exp(−offset² / 2 scale²)`` along both axes, from the first pixel of the window."""
    across, down = profiles
    left, blocks, low, rows = window
    rate = spread(across, -0.5 / (math.log(2.0) * scale * scale))
    for block in range(blocks):
        _fill(across, block * LANES, left - x, rate)
    for first in range(0, rows, LANES):
        _fill(down, first, low - y, rate)


@compiled
@no_type_check
def _fill(table: Float[Array, "3 w"], first: int, offset: float, rate: Any) -> None:
    """Entries from ``first`` on of a profile ``2 ** (rate · offset²)``; ``offset`` is that of entry 0."""
    offsets = count_from(table, first + offset)
    squares = times(offsets, offsets)
    values = power_of_two(times(squares, rate))
    store(table, first, values)
    store(table, table.shape[1] + first, times(values, offsets))
    store(table, 2 * table.shape[1] + first, times(values, squares))


@compiled
@no_type_check
def add(
    canvas: Float[Array, "p"], margin: int, stride: int, profiles: Profiles, window: Window, amplitude: float
) -> None:
    """Add ``amplitude`` times the outer product of both profiles to the canvas."""
    across, down = profiles
    left, blocks, low, rows = window
    for block in range(blocks):
        profile = times(load(across, block * LANES), spread(across, amplitude))
        corner = low * stride + margin + left + block * LANES
        for i in range(rows):
            place = corner + i * stride
            store(canvas, place, times_plus(spread(down, down[0, i]), profile, load(canvas, place)))


@compiled
@no_type_check
def _moments(
    canvas: Float[Array, "p"], margin: int, stride: int, profiles: Profiles, window: Window
) -> tuple[float, float, float, float]:
    """Sums over the window of canvas times Gaussian times 1, x, y and x² + y²."""
    across, down = profiles
    left, blocks, low, rows = window
    size = across.shape[1]
    zero = spread(canvas, 0.0)
    mass, along_x, along_y, spread_out = zero, zero, zero, zero
    for block in range(blocks):
        column_0, column_1, column_2 = zero, zero, zero
        corner = low * stride + margin + left + block * LANES
        for i in range(rows):
            row = load(canvas, corner + i * stride)
            column_0 = times_plus(spread(down, down[0, i]), row, column_0)
            column_1 = times_plus(spread(down, down[1, i]), row, column_1)
            column_2 = times_plus(spread(down, down[2, i]), row, column_2)
        profile = load(across, block * LANES)
        mass = times_plus(profile, column_0, mass)
        along_x = times_plus(load(across, size + block * LANES), column_0, along_x)
        along_y = times_plus(profile, column_1, along_y)
        spread_out = times_plus(load(across, 2 * size + block * LANES), column_0, spread_out)
        spread_out = times_plus(profile, column_2, spread_out)
    return total(mass), total(along_x), total(along_y), total(spread_out)

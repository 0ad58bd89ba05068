"""Projected Gaussians and their derivatives along a few directions, drawn in one sweep.

A Gaussian ``a X(x) Y(y)`` that moves by ``v`` and gains ``m`` changes as
``(m + a vx dx / s²) X · Y + a vy / s² X · (dy Y)``: two outer products of profiles that the image needs
anyway. Order, threads and units are those of ``windowed_gaussians``.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float

from morphem.physics.kernels.lanes import LANES, load, spread, store, times, times_plus
from morphem.physics.kernels.running import compiled, share
from morphem.physics.kernels.windowed_gaussians import (
    Array,
    Mixture,
    Profiles,
    Window,
    add,
    margin_for,
    room_for,
    tabulate,
    touches,
    window_of,
)

# Pixels that each position, and what each amplitude, moves by along each direction.
Motion = tuple[Float[Array, "b q g 2"], Float[Array, "b q g"]]


def splat_slopes(
    mixture: Mixture,
    velocities: Float[Array, "b q g 2"],
    slopes: Float[Array, "b q g"],
    box: int,
    reach: float,
    threads: int,
) -> Float[Array, "b k d d"]:
    """Images of Gaussians, then their derivatives along each of ``q = k − 1`` directions.

    ``velocities`` are derivatives of positions (pixels), ``slopes`` those of amplitudes. The first image is
    that of ``splat``, bit for bit. A centre or width that is not finite turns every image of its row to NaN.
    """
    view, amplitudes, scales = mixture
    images = np.empty((len(view), 1 + slopes.shape[1], box, box), view.dtype)
    margin = margin_for(scales, box, reach)

    def draw(start: int, stop: int) -> None:
        rows = slice(start, stop)
        motion = velocities[rows], slopes[rows]
        _splat_slopes((view[rows], amplitudes[rows], scales), motion, reach, margin, images[rows])

    share(draw, len(view), threads)
    return images


@compiled
@no_type_check
def _splat_slopes(
    mixture: Mixture, motion: Motion, reach: float, margin: int, images: Float[Array, "b k d d"]
) -> None:
    """Draw an image and its derivatives on canvases one after another, then copy what lies between."""
    view, amplitudes, scales = mixture
    channels, box = images.shape[1:3]
    stride = box + 2 * margin
    canvas = np.empty(channels * box * stride, images.dtype)
    profiles, weights = room_for(canvas, box), np.empty((channels - 1, 3), canvas.dtype)
    for b in range(len(images)):
        canvas[:] = 0
        for g in range(view.shape[1]):
            x, y, half = view[b, g, 0], view[b, g, 1], reach * scales[g]
            if not (touches(x, half, box) and touches(y, half, box)):
                for c in range(channels):
                    canvas[c * box * stride + margin] += 0 * (x + y + half)  # NaN where one is not finite
            elif _weigh(weights, mixture, motion, b, g):
                window = window_of(x, y, half, box)
                tabulate(profiles, window, x, y, scales[g])
                add(canvas, margin, stride, profiles, window, amplitudes[b, g])
                _add_slopes(canvas, (margin, stride, box), profiles, window, weights)
        for c in range(channels):
            for i in range(box):
                start = (c * box + i) * stride + margin
                images[b, c, i] = canvas[start : start + box]


@compiled
@no_type_check
def _weigh(weights: Float[Array, "q 3"], mixture: Mixture, motion: Motion, b: int, g: int) -> bool:
    """Fill in the weights of ``X · Y``, ``dx X · Y`` and ``X · dy Y``; whether there is anything to draw."""
    _, amplitudes, scales = mixture
    velocities, slopes = motion
    per_square = amplitudes[b, g] / (scales[g] * scales[g])
    seen = amplitudes[b, g] != 0
    for j in range(len(weights)):
        weights[j, 0] = slopes[b, j, g]
        weights[j, 1] = per_square * velocities[b, j, g, 0]
        weights[j, 2] = per_square * velocities[b, j, g, 1]
        seen |= slopes[b, j, g] != 0
    return seen


@compiled
@no_type_check
def _add_slopes(
    canvas: Float[Array, "p"],
    layout: tuple[int, int, int],
    profiles: Profiles,
    window: Window,
    weights: Float[Array, "q 3"],
) -> None:
    """Add the derivatives of one Gaussian to the canvases after the first."""
    across, down = profiles
    left, blocks, low, rows = window
    margin, stride, box = layout
    size = across.shape[1]
    for block in range(blocks):
        profile, tilted = load(across, block * LANES), load(across, size + block * LANES)
        corner = low * stride + margin + left + block * LANES
        for j in range(len(weights)):
            corner += box * stride
            still = times(tilted, spread(across, weights[j, 1]))
            still = times_plus(profile, spread(across, weights[j, 0]), still)
            moved = times(profile, spread(across, weights[j, 2]))
            for i in range(rows):
                place = corner + i * stride
                row = times_plus(spread(down, down[0, i]), still, load(canvas, place))
                store(canvas, place, times_plus(spread(down, down[1, i]), moved, row))

"""Gaussians drawn into a map, part by part, only where they are not negligible.

Planes outside, Gaussians inside: each plane belongs to one thread and its sums run in a fixed order, so
results do not depend on the number of threads. Lengths are voxels; a position is an array index. The
readable twin is :func:`morphem.physics.gaussians.rasterise`.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Int, UInt8

from morphem.physics.kernels.running import compiled, share
from morphem.physics.kernels.windowed_gaussians import (
    Array,
    add,
    margin_for,
    room_for,
    tabulate,
    touches,
    window_of,
)

# Positions (x, y, z), heights and scales.
Cloud = tuple[Float[Array, "g 3"], Float[Array, "g"], Float[Array, "g"]]


def splat_map(
    cloud: Cloud, ends: Int[Array, "a"], shape: tuple[int, int], reach: float, threads: int
) -> tuple[Float[Array, "z d d"], UInt8[Array, "z d d"]]:
    """Density of Gaussians, each drawn to at least ``reach`` standard deviations, and whose most of it is.

    Args:
        cloud: Gaussians sorted by part.
        ends: Of each part's rows.
        shape: Planes, and the side of each.
        reach: Standard deviations.
        threads: That share the planes.

    Returns:
        The density, and in each voxel the part, from 1, that gives most to it; 0 where there is nothing.
    """
    planes, box = shape
    total, labels = np.zeros((planes, box, box), np.float32), np.zeros((planes, box, box), np.uint8)
    margin = margin_for(cloud[2], box, reach)

    def draw(start: int, stop: int) -> None:
        _splat_map(cloud, ends, reach, (start, margin), (total[start:stop], labels[start:stop]))

    share(draw, planes, threads)
    return total, labels


@compiled
@no_type_check
def _splat_map(
    cloud: Cloud,
    ends: Int[Array, "a"],
    reach: float,
    place: tuple[int, int],
    results: tuple[Float[Array, "z d d"], UInt8[Array, "z d d"]],
) -> None:
    """Draw each part on a canvas of all planes, with a margin left and right; add it to what there is."""
    centres, heights, scales = cloud
    first, margin = place
    planes, box = results[0].shape[:2]
    stride = box + 2 * margin
    canvas = np.empty(planes * box * stride, np.float32)
    most = np.zeros((planes, box, box), np.float32)
    profiles = room_for(canvas, box)
    begin = 0
    for part in range(len(ends)):
        canvas[:] = 0
        for g in range(begin, ends[part]):
            x, y, z, half = centres[g, 0], centres[g, 1], centres[g, 2] - first, reach * scales[g]
            if touches(x, half, box) and touches(y, half, box) and touches(z, half, planes):
                window = window_of(x, y, half, box)
                tabulate(profiles, window, x, y, scales[g])
                for p in range(max(0, math.ceil(z - half)), min(planes, math.floor(z + half) + 1)):
                    height = heights[g] * math.exp(-0.5 * ((p - z) / scales[g]) ** 2)
                    add(canvas, margin + p * box * stride, stride, profiles, window, height)
        begin = ends[part]
        _join(canvas, (margin, stride), part + 1, most, results)


@compiled
@no_type_check
def _join(
    canvas: Float[Array, "p"],
    steps: tuple[int, int],
    label: int,
    most: Float[Array, "z d d"],
    results: tuple[Float[Array, "z d d"], UInt8[Array, "z d d"]],
) -> None:
    """Add a part to the density, and label the voxels that it gives more to than any before."""
    margin, stride = steps
    total, labels = results
    planes, box = total.shape[:2]
    for p in range(planes):
        for i in range(box):
            row = (p * box + i) * stride + margin
            for j in range(box):
                value = canvas[row + j]
                total[p, i, j] += value
                if value > most[p, i, j]:
                    most[p, i, j] = value
                    labels[p, i, j] = label

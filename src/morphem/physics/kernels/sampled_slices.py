"""Slices of several transforms whose numbers at one frequency lie side by side."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float

from morphem.physics.kernels.lanes import LANES
from morphem.physics.kernels.lattice import BLOCK, Lattice, in_blocks, interpolate, locate
from morphem.physics.kernels.running import compiled, share

Array = np.ndarray


def sample(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "2 m"],
    rotation: Float[Array, "b 3 3"],
    maps: int,
    threads: int,
) -> Float[Array, "c b m 2"]:
    """Real and imaginary parts of the slices of the first ``maps`` transforms."""
    slices = np.empty((maps, len(rotation), plane.shape[1], 2), np.float32)
    blocks = in_blocks(plane)

    def fill(start: int, stop: int) -> None:
        _sample(cells, lattice, blocks, rotation[start:stop], slices[:, start:stop])

    share(fill, len(rotation), threads)
    return slices


@compiled
@no_type_check
def _sample(
    cells: Float[Array, "_"],
    lattice: Lattice,
    plane: Float[Array, "_ 2 n"],
    rotation: Float[Array, "b 3 3"],
    slices: Float[Array, "c b m 2"],
) -> None:
    maps, count = len(slices), slices.shape[2]
    points = np.empty((6, BLOCK), np.float32)
    channels = np.empty(((2 * maps + LANES - 1) // LANES * LANES, BLOCK), np.float32)
    for b in range(len(rotation)):
        for n in range(len(plane)):
            first, full = n * BLOCK, min(count - n * BLOCK, BLOCK)
            locate(plane[n], rotation[b], lattice, points, full)
            interpolate(cells, lattice, points, channels, full)
            for i in range(maps):
                part = slices[i, b, first : first + full]
                real, imaginary = channels[2 * i], channels[2 * i + 1]
                for p in range(len(part)):
                    part[p, 0] = real[p]
                    part[p, 1] = imaginary[p] * points[5, p]

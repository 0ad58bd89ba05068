"""Exact maps of states, and the mask around them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.physics.masks import mask_from_map
from morphem.simulate.particles import Truth

LANDMARKS = 13  # states along a continuous motion of which maps are made


def true_maps(truth: Truth, states: Float[Tensor, "k q"]) -> Float[Tensor, "k d d d"]:
    """Exact map of each state."""
    return torch.stack([truth.volume(state).voxels for state in states])


def common_mask(maps: Float[Tensor, "k d d d"], grid: Grid) -> Float[Tensor, "d d d"]:
    """CryoBench's mask: all states at 2 % of the maximum, 2 pixels wider, a cosine edge of 6 pixels."""
    union = Volume(maps.amax(0), grid)
    pixel = grid.pixel_size
    return mask_from_map(union, 0.02 * float(union.voxels.max()), 2 * pixel, 6 * pixel)

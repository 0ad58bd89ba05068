"""Soft masks: 1 inside, 0 outside, a cosine between."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Volume


def soft_disk(
    grid: Grid, radius: float, edge: float, device: torch.device | str | None = None
) -> Float[Tensor, "d d"]:
    """1 within ``radius`` of the centre, falling to 0 over the next ``edge`` (Å)."""
    squared = grid.axis(device).square()
    return cosine_edge((squared[:, None] + squared).sqrt() - radius, edge)


def soft_ball(
    grid: Grid, radius: float, edge: float, device: torch.device | str | None = None
) -> Float[Tensor, "d d d"]:
    """1 within ``radius`` of the centre, falling to 0 over the next ``edge`` (Å)."""
    squared = grid.axis(device).square()
    return cosine_edge((squared[:, None, None] + squared[:, None] + squared).sqrt() - radius, edge)


def mask_from_map(volume: Volume, threshold: float, dilation: float, edge: float) -> Float[Tensor, "d d d"]:
    """1 within ``dilation`` of a grey value above ``threshold``, falling to 0 over the next ``edge`` (Å)."""
    reach = dilation + edge
    distance = distance_to(volume.voxels > threshold, volume.grid, reach)
    return cosine_edge(distance - dilation, edge).to(volume.voxels.dtype)


def distance_to(region: Bool[Tensor, "d d d"], grid: Grid, reach: float) -> Float[Tensor, "d d d"]:
    """Distance of each voxel centre to the nearest in ``region``, Å; infinite where it exceeds ``reach``.

    Exact: the squared distance is a minimum over one axis at a time. Cost: 6 · reach / pixel passes.
    """
    squared = torch.where(region, 0.0, math.inf)
    steps = math.ceil(reach / grid.pixel_size)
    for axis in range(3):
        squared = _nearest_along(squared, axis, steps)
    distance = squared.sqrt() * grid.pixel_size
    return torch.where(distance > reach, math.inf, distance)


def cosine_edge(distance: Float[Tensor, "*b"], edge: float) -> Float[Tensor, "*b"]:
    """1 at negative distances, 0 beyond ``edge``, a raised cosine between."""
    if edge == 0:
        return (distance <= 0).to(distance.dtype)
    return 0.5 + 0.5 * torch.cos(math.pi * (distance / edge).clamp(0, 1))


def _nearest_along(squared: Float[Tensor, "d d d"], axis: int, steps: int) -> Float[Tensor, "d d d"]:
    """Least of ``squared + offset²`` over offsets up to ``steps`` voxels along one axis."""
    nearest, size = squared.clone(), squared.shape[axis]
    for step in range(1, min(steps, size - 1) + 1):
        ahead, behind = squared.narrow(axis, step, size - step), squared.narrow(axis, 0, size - step)
        low, high = nearest.narrow(axis, 0, size - step), nearest.narrow(axis, step, size - step)
        torch.minimum(low, ahead + step**2, out=low)
        torch.minimum(high, behind + step**2, out=high)
    return nearest

"""Where the Gaussians of a mixture start, and how bright."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import GaussianMixture, Volume
from morphem.physics.gaussians import rasterise


def draw_centres(
    density: Volume, count: int, threshold: float, generator: torch.Generator
) -> Float[Tensor, "g 3"]:
    """Points (Å) drawn with probability ∝ density from the voxels above a threshold, evenly within a voxel.

    Args:
        density: Map to draw from.
        count: Number of points.
        threshold: Fraction of the mean of the brightest 0.1 % of voxels (the maximum would hang on one).
        generator: Source of the draws.

    Raises:
        ValueError: If no voxel is positive.
    """
    values = density.voxels.flatten().double()
    chance = torch.where(values > threshold * bright_level(values), values, 0.0).clamp(min=0)
    if not chance.sum() > 0:
        raise ValueError("the start map has no positive density to draw Gaussians from; is its sign right?")
    cumulated = chance.cumsum(0)
    drawn = torch.rand(count, generator=generator, dtype=torch.float64) * cumulated[-1]
    voxel = torch.searchsorted(cumulated, drawn, right=True).clamp(max=len(values) - 1)
    zyx = torch.stack(torch.unravel_index(voxel, density.voxels.shape), -1)
    within = torch.rand(count, 3, generator=generator) - 0.5
    return (zyx.flip(-1) - density.grid.box // 2 + within) * density.grid.pixel_size


def bright_level(voxels: Float[Tensor, "*v"]) -> float:
    """Mean of the brightest 0.1 % of voxels, which hangs less on single ones than the maximum."""
    values = voxels.flatten()
    return float(values.topk(max(1, len(values) // 1000)).values.mean())


def fitting_factor(density: Volume, mixture: GaussianMixture) -> float:
    """Least-squares factor that brings a mixture to the grey values of a map."""
    drawn = rasterise(mixture, density.grid).voxels
    return float((drawn * density.voxels).sum() / drawn.square().sum())


def equal_gaussians(centres: Float[Tensor, "g 3"], scale: float, amplitude: float) -> GaussianMixture:
    """Gaussians of one width (Å) and one amplitude."""
    return GaussianMixture(
        centres, torch.full((len(centres),), scale), torch.full((len(centres),), amplitude)
    )

"""A few Gaussians that move with the latent."""

from __future__ import annotations

import math

import torch

from morphem.models.gaussian_density import PartMixture


def moving_gaussians(count: int, width: float, reach: tuple[float, float], extent: float) -> PartMixture:
    """So many, ``width`` Å wide; spread and farthest coordinate of their centres in units of the box."""
    torch.manual_seed(2)
    made = PartMixture(count, 4, 2, (16, 1), extent)
    spread, farthest = reach
    with torch.no_grad():
        made.centres.copy_((spread * torch.randn(count, 3)).clamp(-farthest, farthest))
        made.features.normal_()
        made.log_scales.fill_(math.log(width / extent))
        made.amplitudes.copy_(torch.rand(count) + 0.5)
        for parameter in made.displacement.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return made

"""Agreement of a series of maps with the true series: of what changes, and where it changes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import to_fourier_3d
from morphem.metrics.fsc import cross_power, normalised


def deviation_fsc(
    estimated: Float[Tensor, "k d d d"], true: Float[Tensor, "k d d d"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "s"]:
    """Correlation by shell of how states deviate from their mean, pooled over the population.

    ``Σ p_i Re⟨D_i, D_i'⟩ / sqrt(Σ p_i |D_i|² Σ p_i |D_i'|²)`` with ``D_i = V_i − Σ_j p_j V_j`` on both
    sides. Maps that do not change with the state score 0, whatever they look like.
    """
    share = weights / weights.sum()
    mean, true_mean = (torch.einsum("k,kzyx->zyx", share.to(maps), maps) for maps in (estimated, true))
    return _pooled(estimated, true, share, (mean, true_mean), None)


def moving_region_fsc(
    estimated: Float[Tensor, "k d d d"],
    true: Float[Tensor, "k d d d"],
    weights: Float[Tensor, "k"],
    mask: Float[Tensor, "d d d"],
) -> Float[Tensor, "s"]:
    """Correlation by shell within a soft mask of what moves, pooled over the population."""
    nil = torch.zeros_like(true[0])
    return _pooled(estimated, true, weights / weights.sum(), (nil, nil), mask)


def standard_deviation_map(
    maps: Float[Tensor, "k d d d"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "d d d"]:
    """How much each voxel changes over the population; what moves stands out."""
    share = weights / weights.sum()
    mean = torch.einsum("k,kzyx->zyx", share, maps)
    return torch.einsum("k,kzyx->zyx", share, (maps - mean).square()).sqrt()


def mean_to_shell(fsc: Float[Tensor, "s"], last: float) -> float:
    """Mean over shells 1 … ``last`` (rounded down, at least 1): one number for a curve."""
    return float(fsc[1 : max(int(last), 1) + 1].mean())


def _pooled(
    estimated: Float[Tensor, "k d d d"],
    true: Float[Tensor, "k d d d"],
    share: Float[Tensor, "k"],
    means: tuple[Float[Tensor, "d d d"], Float[Tensor, "d d d"]],
    mask: Float[Tensor, "d d d"] | None,
) -> Float[Tensor, "s"]:
    """Shell sums state by state, so that memory does not grow with their number."""
    shells = true.shape[-1] // 2 + 1
    cross, power, true_power = torch.zeros(3, shells, dtype=torch.float64)
    window = torch.ones_like(true[0]) if mask is None else mask
    for one, other, p in zip(estimated, true, share.tolist(), strict=True):
        a, b = to_fourier_3d((one - means[0]) * window), to_fourier_3d((other - means[1]) * window)
        cross += p * cross_power(a, b)
        power += p * cross_power(a, a)
        true_power += p * cross_power(b, b)
    return _without_rounding(normalised(cross, power, true_power), power, estimated)


def _without_rounding(
    fsc: Float[Tensor, "s"], power: Float[Tensor, "s"], maps: Float[Tensor, "k d d d"]
) -> Float[Tensor, "s"]:
    """Zero where the maps differ by no more than rounding, whose correlation means nothing."""
    rounding = torch.finfo(maps.dtype).eps ** 2 * maps.square().sum() * maps[0].numel() / len(maps)
    return torch.where(power.sum() > 100 * rounding, fsc, 0)

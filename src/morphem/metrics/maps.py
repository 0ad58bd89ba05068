"""Agreement of a series of maps with the true series: of what changes, and where it changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import to_fourier_3d
from morphem.metrics.fsc import cross_power, normalised


@dataclass(frozen=True)
class ShellSums:
    """``Re⟨A, B⟩``, ``|A|²`` and ``|B|²`` of each pair of maps on each shell, which any population pools.

    Attributes:
        cross: Of the estimated and the true map.
        power: Of the estimated one.
        true_power: Of the true one.
    """

    cross: Float[Tensor, "k s"]
    power: Float[Tensor, "k s"]
    true_power: Float[Tensor, "k s"]

    def pooled(self, weights: Float[Tensor, "k"]) -> Float[Tensor, "s"]:
        """Correlation of the whole series, each pair by its weight."""
        p = weights.double()
        return normalised(p @ self.cross, p @ self.power, p @ self.true_power)

    def each(self) -> Float[Tensor, "k s"]:
        """Correlation of each pair."""
        return torch.stack(
            [normalised(*row) for row in zip(self.cross, self.power, self.true_power, strict=True)]
        )


def state_sums(
    estimated: Iterable[Float[Tensor, "d d d"]],
    true: Iterable[Float[Tensor, "d d d"]],
    mask: Float[Tensor, "d d d"] | None = None,
) -> ShellSums:
    """Sums by shell of each pair of maps, within a soft mask if given; one pair in memory at a time."""
    window = 1.0 if mask is None else mask
    rows = []
    for one, other in zip(estimated, true, strict=True):
        a, b = to_fourier_3d(one * window), to_fourier_3d(other * window)
        rows.append(torch.stack([cross_power(a, b), cross_power(a, a), cross_power(b, b)]))
    return ShellSums(*torch.stack(rows, 1))


def deviation_sums(
    estimated: Float[Tensor, "k d d d"], true: Float[Tensor, "k d d d"], weights: Float[Tensor, "k"]
) -> ShellSums:
    """Sums of how states deviate from their mean over the population, on both sides.

    Estimated maps that differ by no more than rounding, whose correlation means nothing, count as equal.
    """
    share = weights / weights.sum()
    mean, true_mean = (torch.einsum("k,kzyx->zyx", share.to(maps), maps) for maps in (estimated, true))
    sums = state_sums((one - mean for one in estimated), (one - true_mean for one in true))
    rounding = torch.finfo(estimated.dtype).eps ** 2 * estimated.square().sum() * estimated[0].numel()
    if float(sums.power.sum()) > 100 * float(rounding):
        return sums
    return ShellSums(0 * sums.cross, 0 * sums.power, sums.true_power)


def deviation_fsc(
    estimated: Float[Tensor, "k d d d"], true: Float[Tensor, "k d d d"], weights: Float[Tensor, "k"]
) -> Float[Tensor, "s"]:
    """Correlation by shell of how states deviate from their mean, pooled over the population.

    ``Σ p_i Re⟨D_i, D_i'⟩ / sqrt(Σ p_i |D_i|² Σ p_i |D_i'|²)`` with ``D_i = V_i − Σ_j p_j V_j`` on both
    sides. Maps that do not change with the state score 0, whatever they look like.
    """
    return deviation_sums(estimated, true, weights).pooled(weights)


def moving_region_fsc(
    estimated: Float[Tensor, "k d d d"],
    true: Float[Tensor, "k d d d"],
    weights: Float[Tensor, "k"],
    mask: Float[Tensor, "d d d"],
) -> Float[Tensor, "s"]:
    """Correlation by shell within a soft mask of what moves, pooled over the population."""
    return state_sums(estimated, true, mask).pooled(weights)


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

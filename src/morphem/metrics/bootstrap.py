"""How sure a number is that was measured over states or particles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def interval(
    statistic: Callable[[Float[Tensor, "k"]], float],
    weights: Float[Tensor, "k"],
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of weighted items, as many of which are drawn again and again.

    Args:
        statistic: Takes weights of all states (or particles), 0 for those that are not drawn.
        weights: Of them as they are.
        draws: How often.
        seed: Of the draws.
    """
    generator, k = torch.Generator().manual_seed(seed), len(weights)
    drawn = (torch.randint(k, (k,), generator=generator) for _ in range(draws))
    values = torch.tensor([statistic(weights * torch.bincount(rows, minlength=k)) for rows in drawn])
    low, high = torch.quantile(values.double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high

"""Maps that were found beside the true ones, between a floor and a ceiling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.metrics.bootstrap import interval
from morphem.metrics.fsc import crossing, cryobench_auc
from morphem.metrics.maps import (
    ShellSums,
    deviation_sums,
    mean_to_shell,
    standard_deviation_map,
    state_sums,
)
from morphem.physics.masks import mask_from_map
from morphem.report.score import Score
from morphem.simulate.true_maps import common_mask

SCORES = ("deviation_fsc", "moving_region_fsc", "auc", "auc_unmasked")


@dataclass(frozen=True)
class Yardstick:
    """What maps of a data set are measured with, the same for every program.

    Attributes:
        grid: Of the set.
        mean: Exact mean of the true maps over the population: the floor.
        mask: CryoBench's, around all states.
        moving: A soft mask of where density varies.
        last: Shell to which correlations are averaged.
    """

    grid: Grid
    mean: Float[Tensor, "d d d"]
    mask: Float[Tensor, "d d d"]
    moving: Float[Tensor, "d d d"]
    last: float


@dataclass(frozen=True)
class Agreement:
    """How a series of maps agrees with the true one.

    Attributes:
        masked: Within the mask around all states.
        deviation: Of each map from the mean over the population.
        moving: Where density varies.
        auc: CryoBench's area of each pair, masked.
        auc_unmasked: Likewise, without a mask.
    """

    masked: ShellSums
    deviation: ShellSums
    moving: ShellSums
    auc: Float[Tensor, "k"]
    auc_unmasked: Float[Tensor, "k"]

    def value(self, name: str, last: float, shares: Float[Tensor, "k"]) -> float:
        """One of ``SCORES`` for a population."""
        if name.startswith("auc"):
            return float(getattr(self, name) @ shares / shares.sum())
        sums = self.deviation if name == "deviation_fsc" else self.moving
        return mean_to_shell(sums.pooled(shares), last)


@dataclass(frozen=True)
class Compared:
    """A series of maps with the ends of its scale.

    Attributes:
        states: State of each pair.
        shares: How much of the population each stands for; they sum to 1.
        found: Agreement of the maps found.
        floor: Of the exact mean.
        ceilings: Of what the best of methods could make, by kind.
        last: Shell to which correlations are averaged.
    """

    states: Float[Tensor, "k q"]
    shares: Float[Tensor, "k"]
    found: Agreement
    floor: Agreement
    ceilings: dict[str, Agreement]
    last: float

    @property
    def ceiling(self) -> Agreement:
        """Of the best that is known."""
        return self.ceilings["motion" if "motion" in self.ceilings else "states"]

    def scores(self) -> dict[str, Score]:
        """Each of ``SCORES`` with its interval over states."""
        return {name: self._score(name) for name in SCORES}

    def _score(self, name: str) -> Score:
        of_shares = partial(self.found.value, name, self.last)
        by_state = self.ceilings.get("states")
        return Score(
            value=of_shares(self.shares),
            interval=interval(of_shares, self.shares),
            floor=self.floor.value(name, self.last, self.shares),
            ceiling=self.ceiling.value(name, self.last, self.shares),
            ceiling_by_state=None if by_state is None else by_state.value(name, self.last, self.shares),
        )


def yardstick(
    true: Float[Tensor, "k d d d"], shares: Float[Tensor, "k"], grid: Grid, last: float
) -> Yardstick:
    """Masks and mean of the true maps that cover a population."""
    mean = torch.einsum("k,kzyx->zyx", shares / shares.sum(), true)
    moving = moving_mask(standard_deviation_map(true, shares), grid)
    return Yardstick(grid, mean, common_mask(true, grid), moving, last)


def moving_mask(spread: Float[Tensor, "d d d"], grid: Grid) -> Float[Tensor, "d d d"]:
    """Where the true density varies by a fifth of the most it does, a pixel wider, with an edge of three."""
    pixel = grid.pixel_size
    return mask_from_map(Volume(spread, grid), 0.2 * float(spread.max()), pixel, 3 * pixel)


def last_shell(
    ceiling: Float[Tensor, "k d d d"], true: Float[Tensor, "k d d d"], shares: Float[Tensor, "k"]
) -> float:
    """Where the ceiling's maps, pooled over the population, fall to a correlation of 0.5 with the truth."""
    return crossing(state_sums(ceiling, true).pooled(shares), 0.5)


def agreement(
    maps: Float[Tensor, "k d d d"], true: Float[Tensor, "k d d d"], shares: Float[Tensor, "k"], by: Yardstick
) -> Agreement:
    """How maps agree with true ones, as wholes, in their deviations, and where the molecule moves."""
    return Agreement(
        masked=state_sums(maps, true, by.mask),
        deviation=deviation_sums(maps, true, shares),
        moving=state_sums(maps, true, by.moving),
        auc=_areas(maps, true, by.grid, by.mask),
        auc_unmasked=_areas(maps, true, by.grid, None),
    )


def upright(maps: Float[Tensor, "k d d d"], true: Float[Tensor, "k d d d"]) -> int:
    """−1 for maps whose protein is dark, else 1."""
    mean, true_mean = (each.mean(0) - each.mean() for each in (maps, true))
    return -1 if float((mean * true_mean).sum()) < 0 else 1


def _areas(
    maps: Float[Tensor, "k d d d"],
    true: Float[Tensor, "k d d d"],
    grid: Grid,
    mask: Float[Tensor, "d d d"] | None,
) -> Float[Tensor, "k"]:
    pairs = zip(maps, true, strict=True)
    return torch.tensor([cryobench_auc(Volume(a, grid), Volume(b, grid), mask) for a, b in pairs])

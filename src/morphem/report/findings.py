"""All that an evaluation found, before it is written or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from morphem.report.evaluate_maps import Compared
from morphem.report.score import Score
from morphem.simulate.particles import Truth


@dataclass(frozen=True)
class Findings:
    """Scores, and what they were made from.

    Attributes:
        latents: One row per particle, junk included.
        truth: Of the same particles.
        series: Maps compared, by what they stand for.
        record: All scores.
    """

    latents: Float[Tensor, "p z"] | None
    truth: Truth
    series: Mapping[str, Compared]
    record: Mapping[str, Any]

    def written(self) -> dict[str, Any]:
        """Scores as JSON holds them."""
        return _plain(self.record)

    def curves(self) -> dict[str, Any]:
        """Correlations by shell and areas by state, from which figures can be drawn again."""
        return {name: _curves(each) for name, each in self.series.items()}


def _curves(series: Compared) -> dict[str, Any]:
    kept: dict[str, Any] = {"states": series.states.tolist(), "shares": series.shares.tolist()}
    sides = {"found": series.found, "floor": series.floor, "ceiling": series.ceiling}
    for side, each in sides.items():
        sums = {"deviation_fsc": each.deviation, "moving_region_fsc": each.moving, "masked_fsc": each.masked}
        curves = {name: of.pooled(series.shares).tolist() for name, of in sums.items()}
        kept[side] = {**curves, "auc": each.auc.tolist()}
    return kept


def _plain(record: Any) -> Any:
    """Nested scores as JSON holds them."""
    if isinstance(record, Score):
        return record.record()
    if isinstance(record, Mapping):
        return {name: _plain(value) for name, value in record.items()}
    return record

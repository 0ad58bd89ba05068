"""Intervals of means whose spread is known."""

from __future__ import annotations

import pytest
import torch

from morphem.metrics.bootstrap import interval


def test_the_interval_of_a_mean_is_four_standard_errors_wide():
    values = torch.randn(100, generator=torch.Generator().manual_seed(0))
    low, high = interval(lambda w: float((w * values).sum() / w.sum()), torch.ones(100), draws=2000)
    error = float(values.std()) / 10
    assert low < float(values.mean()) < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_a_number_that_no_state_changes_is_certain():
    assert interval(lambda w: 0.5, torch.ones(4)) == (0.5, 0.5)


def test_states_are_drawn_by_their_weight_and_not_more_often():
    """Each draw has as many states as there are; a state of weight 0 never counts."""
    values = torch.tensor([1.0, 1.0, 9.0])
    _, high = interval(lambda w: float((w * values).sum() / w.sum().clamp(min=1)), torch.tensor([1.0, 1, 0]))
    assert high == 1


def test_the_same_seed_gives_the_same_interval():
    values = torch.rand(9)
    draw = lambda seed: interval(lambda w: float(w @ values), torch.ones(9), seed=seed)  # noqa: E731
    assert draw(3) == draw(3) != draw(4)

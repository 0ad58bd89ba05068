"""Learning rates."""

from __future__ import annotations

import pytest

from morphem.engine.schedules import cosine


def test_the_cosine_falls_from_one_to_the_floor():
    values = [cosine(seen, 100, 0.05) for seen in range(101)]
    assert values[0] == 1
    assert values[50] == pytest.approx(0.525)
    assert values[-1] == pytest.approx(0.05)
    assert values == sorted(values, reverse=True)


def test_it_stays_at_the_floor_beyond_the_end():
    assert cosine(300, 100, 0.05) == pytest.approx(0.05)


def test_warm_up_rises_in_a_line_and_is_never_zero():
    values = [cosine(seen, 100, 0.0, warm_up=10) for seen in range(11)]
    assert values == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])

"""Neighbours beside double loops, and the two ends of the scale."""

from __future__ import annotations

import pytest
import torch

from morphem.metrics.neighbours import information_imbalance, neighbourhood_overlap


def _points(n: int, dimensions: int, seed: int) -> torch.Tensor:
    return torch.randn(n, dimensions, generator=torch.Generator().manual_seed(seed))


def _orders(points: torch.Tensor) -> list[list[int]]:
    """All other points by their distance from each."""
    rows = points.tolist()

    def squared(i: int, j: int) -> float:
        return sum((x - y) ** 2 for x, y in zip(rows[i], rows[j], strict=True))

    return [
        sorted((j for j in range(len(rows)) if j != i), key=lambda j: squared(i, j)) for i in range(len(rows))
    ]


def test_imbalance_is_that_of_its_definition_but_for_the_number_of_points():
    a, b = _points(90, 3, 0), _points(90, 3, 0)[:, :2]
    in_a, in_b = _orders(a), _orders(b)
    published = 2 / 90 * sum(in_b[i].index(in_a[i][0]) + 1 for i in range(90)) / 90
    assert information_imbalance(a, b) == pytest.approx(published, abs=2 / 90)


def test_a_space_tells_all_of_itself_and_a_shuffled_one_nothing():
    a = _points(600, 2, 1)
    assert information_imbalance(a, 3 * a) == 0
    assert information_imbalance(a, _points(600, 2, 2)) == pytest.approx(1, abs=0.06)


def test_more_tells_less_than_less_does_not_tell_more():
    """A plane knows its first axis; the axis does not know the plane."""
    plane = _points(600, 2, 3)
    assert information_imbalance(plane, plane[:, :1]) < 0.6 * information_imbalance(plane[:, :1], plane)


def test_discrete_states_have_the_same_ends():
    label = (torch.arange(600) % 2).float()[:, None]
    known = label + 0.1 * torch.rand(600, 1, generator=torch.Generator().manual_seed(4))
    assert information_imbalance(known, label) == 0
    assert information_imbalance(_points(600, 1, 5), label) == pytest.approx(1, abs=0.1)


def test_overlap_is_that_of_sets_of_neighbours():
    a, b = _points(60, 3, 6), _points(60, 3, 6)[:, :2]
    in_a, in_b = _orders(a), _orders(b)
    expected = sum(len(set(in_a[i][:7]) & set(in_b[i][:7])) / 7 for i in range(60)) / 60
    found, chance = neighbourhood_overlap(a, b, 7)
    assert found == pytest.approx(expected)
    assert chance == pytest.approx(7 / 59)


def test_overlap_of_discrete_states_is_the_share_of_neighbours_in_the_same_state():
    label = torch.tensor([0.0] * 300 + [1.0] * 100)[:, None]
    assert neighbourhood_overlap(label + 0.1 * torch.rand(400, 1), label, 5)[0] == 1
    found, chance = neighbourhood_overlap(_points(400, 2, 7), label, 5)
    assert found == pytest.approx(chance, abs=0.05)
    assert chance == pytest.approx((300 * 299 + 100 * 99) / (400 * 399))


def test_more_neighbours_than_points_are_refused():
    with pytest.raises(ValueError, match="9 neighbours of each of 9 points"):
        neighbourhood_overlap(torch.rand(9, 2), torch.rand(9, 2), 9)

"""Partitions beside sums over all permutations, and labels matched by trying every match."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from morphem.metrics.clusters import (
    adjusted_mutual_information,
    adjusted_rand,
    cluster,
    contingency,
    hungarian_accuracy,
)

FIRST, SECOND = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([5, 5, 3, 3, 3, 5])


def _entropy(labels: list[int] | list[tuple[int, int]]) -> float:
    shares = [labels.count(x) / len(labels) for x in set(labels)]
    return -sum(p * math.log(p) for p in shares)


def _information(a: list[int], b: list[int]) -> float:
    return _entropy(a) + _entropy(b) - _entropy(list(zip(a, b, strict=True)))


def test_mutual_information_is_adjusted_by_its_mean_over_all_permutations():
    a, b = FIRST.tolist(), SECOND.tolist()
    mean = sum(_information(a, list(order)) for order in permutations(b)) / math.factorial(6)
    expected = (_information(a, b) - mean) / ((_entropy(a) + _entropy(b)) / 2 - mean)
    assert adjusted_mutual_information(FIRST, SECOND) == pytest.approx(expected)


def test_the_rand_index_is_adjusted_by_its_mean_over_all_permutations():
    def together(a: list[int], b: list[int]) -> int:
        return sum(a[i] == a[j] and b[i] == b[j] for i in range(6) for j in range(i))

    a, b = FIRST.tolist(), SECOND.tolist()
    mean = sum(together(a, list(order)) for order in permutations(b)) / math.factorial(6)
    most = (together(a, a) + together(b, b)) / 2
    assert adjusted_rand(FIRST, SECOND) == pytest.approx((together(a, b) - mean) / (most - mean))


def test_labels_are_matched_in_the_best_of_all_ways():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randint(4, (50,), generator=generator), torch.randint(4, (50,), generator=generator)
    best = max(float((torch.tensor(match)[a] == b).double().mean()) for match in permutations(range(4)))
    assert hungarian_accuracy(a, b) == pytest.approx(best)


def test_a_finer_partition_is_not_fully_accurate():
    """Each label is matched once: of three found parts of two states, the third counts as wrong."""
    assert hungarian_accuracy(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1])) == pytest.approx(0.75)


def test_the_contingency_table_counts_pairs_in_ascending_order():
    assert contingency(FIRST, SECOND).tolist() == [[1, 2], [2, 0], [0, 1]]


def test_well_separated_latents_are_clustered_by_what_separates_them():
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(300) % 3
    latents = 10 * torch.eye(3)[label] + torch.randn(300, 3, generator=generator)
    assert adjusted_rand(cluster(latents, 3, seed=0), label) == 1
    assert torch.equal(cluster(latents, 3, seed=0), cluster(latents, 3, seed=0))

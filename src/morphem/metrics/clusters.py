"""Partitions of particles beside each other, and latents cut into a partition."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def adjusted_mutual_information(a: Int[Tensor, "n"], b: Int[Tensor, "n"]) -> float:
    """``(I − E[I]) / (mean entropy − E[I])``: 1 if two labellings part alike, 0 on average by chance."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(a.numpy(), b.numpy()))


def adjusted_rand(a: Int[Tensor, "n"], b: Int[Tensor, "n"]) -> float:
    """Adjusted Rand index of two labellings: 1 if they are the same partition, 0 on average by chance."""
    table = contingency(a, b)
    together, in_a, in_b, everything = (
        float(_pairs(counts).sum()) for counts in (table, table.sum(1), table.sum(0), table.sum()[None])
    )
    expected = in_a * in_b / everything if everything else 0.0
    most = (in_a + in_b) / 2
    return (together - expected) / (most - expected) if most != expected else 1.0


def hungarian_accuracy(a: Int[Tensor, "n"], b: Int[Tensor, "n"]) -> float:
    """Share of particles with the same label once labels are matched one to one in the best way."""
    from scipy.optimize import linear_sum_assignment

    table = contingency(a, b)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    matched = table[torch.from_numpy(rows), torch.from_numpy(columns)].sum()
    return int(matched) / len(a)


def contingency(a: Int[Tensor, "n"], b: Int[Tensor, "n"]) -> Int[Tensor, "i j"]:
    """How many have each pair of labels, both in ascending order."""
    (first, a), (second, b) = (labels.unique(return_inverse=True) for labels in (a, b))
    counts = torch.bincount(a * len(second) + b, minlength=len(first) * len(second))
    return counts.reshape(len(first), len(second))


def cluster(latents: Float[Tensor, "p z"], k: int, seed: int) -> Int[Tensor, "p"]:
    """k-means labels, 0 … k − 1, the best of four starts; distances are those of the latents as they are."""
    from sklearn.cluster import KMeans

    points = latents.numpy()
    tried = [KMeans(k, random_state=4 * seed + start).fit(points) for start in range(4)]
    best = max(tried, key=lambda found: float(found.score(points)))
    return torch.from_numpy(best.predict(points)).long()


def _pairs(counts: Int[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    return counts.double() * (counts.double() - 1) / 2

"""Whether neighbours in one space are neighbours in another, whatever the spaces' units."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 1024  # points whose distances to all others are in memory


def information_imbalance(a: Float[Tensor, "n x"], b: Float[Tensor, "n y"]) -> float:
    """Δ(A→B): 0 if the nearest in ``a`` is the nearest in ``b`` too, 1 on average if ``a`` tells nothing.

    ``(⟨r⟩ − ⟨r_b⟩) / (n/2 − ⟨r_b⟩)`` with r the rank in ``b`` of the nearest neighbour in ``a``, and r_b that
    of the nearest in ``b`` itself: 2 ⟨r⟩ / n of Glielmo et al. (2022), but for O(1/n). Equal distances share
    their mean rank, so that both ends hold for discrete states too.
    """
    rank = least = 0.0
    for in_a, in_b in _distances(a, b):
        nearest = in_a.argmin(1, keepdim=True)
        rank += float(_rank(in_b, in_b.gather(1, nearest)).sum())
        least += float(_rank(in_b, in_b.amin(1, keepdim=True)).sum())
    n = len(a)
    return (rank - least) / (n * n / 2 - least) if n * n / 2 > least else 1.0


def neighbourhood_overlap(a: Float[Tensor, "n x"], b: Float[Tensor, "n y"], k: int) -> tuple[float, float]:
    """Share of the ``k`` nearest in ``a`` that are as near in ``b`` as the k-th there, and that of chance.

    A point is not its own neighbour. Where several are as near as the k-th in ``b``, any of them counts.
    """
    if not 0 < k < len(a):
        raise ValueError(f"{k} neighbours of each of {len(a)} points were asked for")
    found = chance = 0.0
    for in_a, in_b in _distances(a, b):
        near = in_b <= in_b.kthvalue(k, dim=1, keepdim=True).values
        members = in_a.topk(k, largest=False).indices
        found += float(near.gather(1, members).double().mean(1).sum())
        chance += float(near.double().sum(1).sum()) / (len(a) - 1)
    return found / len(a), chance / len(a)


def _distances(
    a: Float[Tensor, "n x"], b: Float[Tensor, "n y"]
) -> Iterator[tuple[Float[Tensor, "i n"], Float[Tensor, "i n"]]]:
    """Distances of some points to all in both spaces, infinite to themselves."""
    for rows in torch.arange(len(a)).split(_BLOCK):
        pair = [torch.cdist(p[rows].double(), p.double(), compute_mode=_EXACT) for p in (a, b)]
        for distance in pair:
            distance[torch.arange(len(rows)), rows] = torch.inf
        yield pair[0], pair[1]


_EXACT = "donot_use_mm_for_euclid_dist"  # equal points are at distance 0


def _rank(distances: Float[Tensor, "i n"], reached: Float[Tensor, "i 1"]) -> Float[Tensor, "i"]:
    """Rank from 1 of a distance among its row's, equal ones sharing the mean of theirs."""
    closer, equal = (distances < reached).sum(1), (distances == reached).sum(1)
    return closer.double() + (equal.double() + 1) / 2

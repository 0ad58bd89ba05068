"""How well latents tell a continuous coordinate of the state."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.metrics.latents import FOLDS, folds, monomials, ridge

_NEIGHBOURS = (10, 30, 100)  # whose mean residual mends the cubic
_REFERENCES = 10_000  # particles among which neighbours are sought
_BLOCK = 2048  # particles whose distances are in memory


def coordinate_error(
    latents: Float[Tensor, "p z"], coordinate: Float[Tensor, "p"], kind: Literal["linear", "circular"]
) -> Float[Tensor, "p"]:
    """Absolute error of each particle's coordinate, predicted from its latent by what the others show.

    The map is a cubic of the latents, to which the mean residual of the 10, 30 or 100 nearest latents is
    added if that lowers the mean error. Every particle is predicted from the other folds. A circular
    coordinate (period 2π) is predicted by its cosine and sine, and its error is wrapped.
    """
    if kind == "circular":
        target = torch.stack([coordinate.cos(), coordinate.sin()], 1)
    else:
        target = coordinate[:, None]
    tried = [
        _error(predicted, coordinate, kind) for predicted in _predictions(latents.double(), target.double())
    ]
    return min(tried, key=lambda error: float(error.mean())).to(coordinate)


def _error(
    predicted: Float[Tensor, "p t"], coordinate: Float[Tensor, "p"], kind: Literal["linear", "circular"]
) -> Float[Tensor, "p"]:
    if kind == "linear":
        return (predicted[:, 0] - coordinate).abs()
    difference = torch.atan2(predicted[:, 1], predicted[:, 0]) - coordinate
    return (torch.remainder(difference + math.pi, 2 * math.pi) - math.pi).abs()


def _predictions(latents: Float[Tensor, "p z"], target: Float[Tensor, "p t"]) -> list[Float[Tensor, "p t"]]:
    """Held-out predictions by the cubic alone, then by the cubic mended with more and more neighbours."""
    features, fold = monomials(latents), folds(len(latents))
    out = [torch.empty_like(target) for _ in (0, *_NEIGHBOURS)]
    for k in range(FOLDS):
        held, kept = (fold == k).nonzero()[:, 0], (fold != k).nonzero()[:, 0]
        map_ = ridge(features[kept], target[kept])
        cubic = features[held] @ map_
        kept = kept[:_REFERENCES]
        residual = target[kept] - features[kept] @ map_
        near = _nearest(latents[held], latents[kept])
        out[0][held] = cubic
        for values, count in zip(out[1:], _NEIGHBOURS, strict=True):
            values[held] = cubic + residual[near[:, :count]].mean(1)
    return out


def _nearest(latents: Float[Tensor, "i z"], others: Float[Tensor, "j z"]) -> Int[Tensor, "i m"]:
    """Rows of the nearest others in ascending distance, as many as are asked for or there."""
    spread = others.std(0, correction=0)
    unit = torch.where(spread > 0, spread, 1)
    most = min(_NEIGHBOURS[-1], len(others))
    blocks = (latents / unit).float().split(_BLOCK)
    return torch.cat(
        [torch.cdist(b, (others / unit).float()).topk(most, largest=False).indices for b in blocks]
    )

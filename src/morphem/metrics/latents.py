"""What latents say about the true states, and found parts about the true bodies."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.metrics.clusters import adjusted_rand

_DEGREE = 3  # of the polynomial from latents to a coordinate
FOLDS = 5  # each predicted from the others
_RIDGE = 1e-6  # of the mean square of a feature; for latents that do not use all their directions


def latent_rank_correlation(latents: Float[Tensor, "p z"], coordinate: Float[Tensor, "p"]) -> float:
    """Spearman correlation of a coordinate with its :func:`held_out_prediction`, mean over the folds.

    1 if the latents order the particles as the truth does, 0 on average if they know nothing.
    """
    predicted, fold = held_out_prediction(latents, coordinate), folds(len(latents))
    scores = [spearman(predicted[fold == k], coordinate[fold == k]) for k in range(FOLDS)]
    return sum(scores) / len(scores)


def latent_auroc(latents: Float[Tensor, "p z"], label: Bool[Tensor, "p"]) -> float:
    """Area under the ROC of a property's :func:`held_out_prediction`, mean over the folds that have both."""
    predicted, fold = held_out_prediction(latents, label.to(latents.dtype)), folds(len(latents))
    both = [k for k in range(FOLDS) if 0 < int(label[fold == k].sum()) < int((fold == k).sum())]
    if not both:
        raise ValueError(f"{int(label.sum())} of {len(label)} labels are positive; both kinds are needed")
    # fold by fold: the mean of the others falls where that of the held-out rises, skill reversed
    return sum(auroc(predicted[fold == k], label[fold == k]) for k in both) / len(both)


def held_out_prediction(latents: Float[Tensor, "p z"], target: Float[Tensor, "p"]) -> Float[Tensor, "p"]:
    """Least-squares cubic of the latents, for each particle fitted to the other folds.

    Affine maps of the latents do not change it.
    """
    features, fold = monomials(latents.double()), folds(len(latents))
    predicted = torch.empty_like(features[:, 0])
    for k in range(FOLDS):
        kept = fold != k
        predicted[~kept] = features[~kept] @ ridge(features[kept], target[kept].double())
    return predicted.to(target.dtype)


def folds(n: int) -> Int[Tensor, "n"]:
    """A fifth of the particles each, at random, always the same."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)) % FOLDS


def spearman(a: Float[Tensor, "n"], b: Float[Tensor, "n"]) -> float:
    """Correlation of ranks, ties sharing their mean rank; 0 where one of them is constant."""
    x, y = (ranks(values) - (len(values) + 1) / 2 for values in (a, b))
    scale = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def auroc(score: Float[Tensor, "n"], label: Bool[Tensor, "n"]) -> float:
    """Chance that a random positive scores above a random negative, ties counting half; exact, by ranks."""
    positives = int(label.sum())
    negatives = len(label) - positives
    if not positives or not negatives:
        raise ValueError(f"{positives} of {len(label)} labels are positive; both kinds are needed")
    above = float(ranks(score)[label].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Ranks from 1, equal values sharing the mean of theirs; float64."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]


def parts_ari(
    centres: Float[Tensor, "g 3"],
    part: Int[Tensor, "g"],
    true_centres: Float[Tensor, "m 3"],
    body: Int[Tensor, "m"],
) -> float:
    """Adjusted Rand index of found parts and rigid bodies at the true Gaussians' positions.

    Each true Gaussian takes the part of the nearest found one; both must be given in the same state.
    """
    nearest = torch.cat([torch.cdist(block, centres).argmin(1) for block in true_centres.split(1024)])
    return adjusted_rand(part[nearest], body)


def monomials(latents: Float[Tensor, "p z"]) -> Float[Tensor, "p m"]:
    """All products of up to three standardised latents."""
    x = latents - latents.mean(0)
    spread = x.square().mean(0).sqrt()
    x = x / torch.where(spread > 0, spread, 1)
    one = torch.ones(len(x), dtype=x.dtype, device=x.device)
    terms, out = [(one, 0)], [one]
    for _ in range(_DEGREE):
        terms = [(value * x[:, k], k) for value, first in terms for k in range(first, x.shape[1])]
        out += [value for value, _ in terms]
    return torch.stack(out, -1)


def ridge(features: Float[Tensor, "n m"], target: Float[Tensor, "n *t"]) -> Float[Tensor, "m *t"]:
    """Coefficients of the least-squares fit, held back only where features are nearly dependent."""
    gram = features.mT @ features
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    return torch.linalg.solve(gram, features.mT @ target)

"""The likelihood at its best contrast, against looking for that contrast."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from morphem.inference.refine import profile

SPREADS = [0.0, 0.3, math.inf]
SLOPES, PIXELS = 3, 20


def columns(count: int = 6) -> Tensor:
    """Slopes, model and image of a few images; the first image is a negative of its model."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(count, SLOPES + 2, PIXELS, generator=generator, dtype=torch.float64)
    made[:, -1] += torch.linspace(0, 2, count)[:, None] * made[:, -2]
    made[0, -1] = -made[0, -2]
    return made


def likelihood(model: Tensor, image: Tensor, contrast: Tensor, spread: float) -> Tensor:
    """``Σy² − Σ(y − c x)² − (c − 1)² / 2 s²`` at one contrast an image."""
    gained = image.square().sum(-1) - (image - contrast[:, None] * model).square().sum(-1)
    return gained - (contrast - 1).square() / (2 * spread**2) if spread else gained


def searched(model: Tensor, image: Tensor, spread: float) -> tuple[Tensor, Tensor]:
    """The best contrast of a fine lattice from 0 on, and the likelihood there."""
    tried = torch.linspace(0, 4, 40_001, dtype=torch.float64) if spread else torch.ones(1).double()
    power, match = model.square().sum(1), (model * image).sum(1)
    all_ = 2 * tried * match[:, None] - tried.square() * power[:, None]
    if spread:
        all_ = all_ - (tried - 1).square() / (2 * spread**2)
    best = all_.argmax(1)
    return tried[best], likelihood(model, image, tried[best], spread)


@pytest.mark.parametrize("spread", SPREADS)
def test_no_contrast_that_is_not_negative_is_likelier(spread: float):
    made = columns()
    found = profile(made @ made.mT, spread)
    contrast, score = searched(made[:, -2], made[:, -1], spread)
    torch.testing.assert_close(found.contrast, contrast, rtol=0, atol=1e-4)  # the lattice's spacing
    torch.testing.assert_close(found.score, score, rtol=1e-6, atol=1e-6)


def test_a_negative_of_the_model_is_no_particle():
    made = columns()
    found = profile(made @ made.mT, math.inf)
    assert float(found.contrast[0]) == 0
    assert float(found.score[0]) == 0
    assert float(found.pull[0].abs().max()) == 0


def best_score(made: Tensor, change: Tensor, spread: float) -> Tensor:
    """Likelihood at the best contrast with the parameters of a linear model changed."""
    model = made[:, -2] + torch.einsum("q,bqm->bm", change, made[:, :SLOPES])
    gram = torch.stack([model, made[:, -1]], 1)
    return profile(gram @ gram.mT, spread).score


@pytest.mark.parametrize("spread", SPREADS)
def test_the_pull_is_half_the_slope_of_the_profiled_score(spread: float):
    made, step = columns(), 1e-5
    found = profile(made @ made.mT, spread)
    for k, way in enumerate(step * torch.eye(SLOPES, dtype=torch.float64)):
        slope = (best_score(made, way, spread) - best_score(made, -way, spread)) / (2 * step)
        # where the contrast is at its bound, a step of 1e-5 is not: the first image
        torch.testing.assert_close(found.pull[1:, k], slope[1:] / 2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spread", SPREADS)
def test_the_curvature_is_half_that_of_the_profiled_score_of_a_model_that_fits(spread: float):
    made, step = columns(), 1e-3
    made[:, -1] = made[:, -2]
    found = profile(made @ made.mT, spread)
    steps = step * torch.eye(SLOPES, dtype=torch.float64)
    for i, a in enumerate(steps):
        for j, b in enumerate(steps):
            corners = [(1, a + b), (-1, a - b), (-1, b - a), (1, -a - b)]
            bent = sum((sign * best_score(made, way, spread) for sign, way in corners), torch.zeros(6))
            # differences of fourth derivatives remain: of order step² of the curvature
            expected = -bent / (4 * step**2) / 2
            torch.testing.assert_close(found.curvature[:, i, j], expected, rtol=1e-4, atol=1e-3)

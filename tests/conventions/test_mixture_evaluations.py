"""The dense, windowed and gridded evaluations of a mixture agree, in value and in gradient."""

from __future__ import annotations

import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import GaussianMixture
from morphem.physics import gaussians as g
from morphem.physics.slices import disc

GRID = Grid(32, 2.0)
EVALUATIONS = {
    "windowed": lambda mixture, rotation: g.project_gaussians_windowed(mixture, rotation, GRID),
    "analytic": lambda mixture, rotation: to_real(g.gaussian_slices(mixture, rotation, GRID)),
    "gridded": lambda mixture, rotation: to_real(g.project_gaussians_gridded(mixture, rotation, GRID)),
}
VALUE, GRADIENT = 2e-3, 5e-3  # windows at 4σ leave 3.4e-4 of a peak


def leaves() -> list[torch.Tensor]:
    """Centres, scales (about 1.6 pixels) and amplitudes."""
    generator = torch.Generator().manual_seed(0)
    centres = (torch.rand(20, 3, generator=generator) - 0.5) * 24
    scales = 3.2 + 0.4 * torch.rand(20, generator=generator)
    return [t.requires_grad_() for t in (centres, scales, torch.rand(20, generator=generator) + 0.5)]


def images_and_gradients(evaluate) -> tuple[torch.Tensor, list[torch.Tensor]]:
    rows = leaves()
    rotation = random_rotations(3, torch.Generator().manual_seed(1))
    images = to_real(to_fourier(evaluate(GaussianMixture(*rows), rotation)) * disc(GRID))
    target = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    return images.detach(), list(torch.autograd.grad((images * target).sum(), rows))


@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_agrees_with_the_dense_one(name):
    images, gradients = images_and_gradients(EVALUATIONS[name])
    dense, expected = images_and_gradients(lambda m, r: g.project_gaussians(m, r, GRID))
    assert (images - dense).norm() < VALUE * dense.norm()
    for found, reference in zip(gradients, expected, strict=True):
        assert (found - reference).norm() < GRADIENT * reference.norm()

"""Image formation: displacement and filtering of a projection."""

from __future__ import annotations

import math

import pytest
import torch
from test_ctf import optics

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import form_image, phase_ramp

GRID = Grid(16, 2.0)


def images(n: int = 1) -> torch.Tensor:
    return torch.randn(n, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_whole_pixel_shift_rolls_the_image():
    shift = torch.tensor([[3 * 2.0, -2 * 2.0]], dtype=torch.float64)
    moved = to_real(to_fourier(images()) * phase_ramp(shift, GRID))
    assert torch.allclose(moved, images().roll((-2, 3), dims=(-2, -1)), atol=1e-12)


def test_the_ramp_is_the_exponential_of_every_frequency():
    shift = torch.tensor([[1.3, -0.4], [-7.0, 2.2]], dtype=torch.float64)
    angle = -2 * math.pi * torch.einsum("dhc,bc->bdh", GRID.frequencies(dtype=torch.float64), shift)
    assert torch.allclose(phase_ramp(shift, GRID), torch.complex(angle.cos(), angle.sin()), atol=1e-12)


def test_two_shifts_add():
    a, b = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = phase_ramp(a, GRID) * phase_ramp(b, GRID)
    assert torch.allclose(both, phase_ramp(a + b, GRID), atol=1e-12)


def test_an_image_is_filtered_and_displaced():
    shift = torch.tensor([[2.0, 4.0]], dtype=torch.float64)
    spectrum = to_fourier(images())
    formed = to_real(form_image(spectrum, optics(), shift, GRID))
    filtered = to_real(spectrum * contrast_transfer(optics(), GRID))
    assert torch.allclose(formed, filtered.roll((2, 1), dims=(-2, -1)), atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_follows_the_shift(dtype):
    assert phase_ramp(torch.zeros(1, 2, dtype=dtype), GRID).dtype == dtype.to_complex()


def test_the_gradient_to_the_shift_equals_finite_differences():
    shift = torch.tensor([[1.3, -0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: phase_ramp(s, Grid(6, 2.0)), (shift,))

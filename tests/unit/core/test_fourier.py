"""Transforms, resampling and shells."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core import fourier as f
from morphem.core.grid import Grid

GRID = Grid(16, 2.0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_images_and_maps_return_from_fourier_space():
    assert torch.allclose(f.to_real(f.to_fourier(draw(3, 16, 16))), draw(3, 16, 16))
    assert torch.allclose(f.to_real_3d(f.to_fourier_3d(draw(8, 8, 8))), draw(8, 8, 8))


def test_a_transform_is_the_sum_over_pixels_from_the_centre():
    image, place = draw(8, 8), torch.arange(8) - 4
    ky, kx = 3, 2
    wave = torch.exp(-2j * math.pi * (ky * place[:, None] + kx * place).double() / 8)
    assert torch.allclose(f.to_fourier(image)[ky, kx], (image * wave).sum())


def wave(box: int) -> torch.Tensor:
    """A wave of three periods along x and two along y, with a constant."""
    place = (torch.arange(box, dtype=torch.float64) - box // 2) / box
    return 1.5 + torch.cos(2 * math.pi * (3 * place + 2 * place[:, None]) + 0.4)


@pytest.mark.parametrize("box", [12, 16, 24])
def test_a_wave_keeps_its_values_on_another_grid(box):
    assert torch.allclose(f.resize_images(wave(16), box), wave(box), atol=1e-12)
    deep = wave(16).expand(16, 16, 16)
    assert torch.allclose(f.resize_map(deep, box), wave(box).expand(box, box, box), atol=1e-12)


def test_half_plane_power_averages_like_the_full_plane():
    image, k = draw(16, 16), torch.fft.fftfreq(16, 1 / 16)
    shells = (k[:, None].square() + k.square()).sqrt().round()
    full = torch.fft.fft2(image).abs().square()
    expected = torch.stack([full[shells == i].mean() for i in range(9)])
    assert torch.allclose(f.radial_mean(f.to_fourier(image).abs().square(), GRID), expected)


def test_shells_of_a_map_count_as_the_full_space():
    k = torch.fft.fftfreq(8, 1 / 8)
    radius = (k[:, None, None].square() + k[:, None].square() + k.square()).sqrt().round().long()
    assert torch.equal(f.shells_3d(8), radius[..., :5])


def test_a_low_pass_keeps_what_is_coarse_and_stops_what_is_fine():
    deep = wave(16).expand(16, 16, 16)  # a wave on shell √13 of a box of 32 Å
    assert torch.allclose(f.low_pass(deep, GRID, 5.0), deep, atol=1e-12)
    assert torch.allclose(f.low_pass(deep, GRID, 20.0), torch.full_like(deep, 1.5), atol=1e-12)


def test_gradients_pass_resampling():
    image = draw(6, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: f.resize_images(x, 4), (image,))
    assert torch.autograd.gradcheck(lambda x: f.resize_images(x, 8), (image,))

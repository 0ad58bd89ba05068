"""Real images live on the half plane; entries off its two self-conjugate columns count twice."""

from __future__ import annotations

import torch

from morphem.core.fourier import half_plane_weights, shell_sums, to_fourier
from morphem.core.grid import Grid

GRID = Grid(16, 1.5)


def images() -> torch.Tensor:
    return torch.randn(3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_energy_of_the_half_plane_is_that_of_the_full_plane():
    energy = (to_fourier(images()).abs().square() * half_plane_weights(16)).sum((-2, -1))
    assert torch.allclose(energy, torch.fft.fft2(images()).abs().square().sum((-2, -1)))
    assert torch.allclose(energy / 16**2, images().square().sum((-2, -1)))


def test_the_transform_is_the_plain_sum_over_pixels():
    assert torch.allclose(to_fourier(images())[:, 0, 0].real, images().sum((-2, -1)))


def test_frequencies_are_in_fft_order_and_reciprocal_angstroms():
    frequencies = GRID.frequencies()
    assert torch.allclose(frequencies[0, 1], torch.tensor([1 / 24, 0.0]))
    assert torch.allclose(frequencies[-1, 0], torch.tensor([0.0, -1 / 24]))


def test_shells_round_the_radius():
    shells = GRID.shells()
    assert shells[0, 0] == 0
    assert shells[1, 1] == 1  # √2
    assert shells[2, 2] == 3  # 2.83
    ones = shell_sums(torch.ones(16, 9), shells, GRID.half)
    assert ones[:2].tolist() == [1, 8]

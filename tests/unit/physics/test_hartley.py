"""The Hartley transform, and half turns."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.fourier import half_plane_weights, to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import GaussianMixture, Optics, Poses
from morphem.physics.ctf import contrast_transfer
from morphem.physics.gaussians import gaussian_slices
from morphem.physics.hartley import (
    from_hartley,
    half_turn,
    half_turn_poses,
    half_turn_rotation,
    half_turn_spectra,
    hartley_transform,
    shift_hartley,
    to_hartley,
)
from morphem.physics.imaging import form_image, phase_ramp
from morphem.physics.slices import disc

GRID = Grid(16, 2.5)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _summed(image: torch.Tensor) -> torch.Tensor:
    """The definition: a sum of cas over pixels, for every frequency in FFT order."""
    pixel = torch.arange(16, dtype=torch.float64) - 8
    k = torch.fft.fftfreq(16, 1 / 16, dtype=torch.float64)
    angle = 2 * math.pi / 16 * (k[:, None, None, None] * pixel[:, None] + k[:, None, None] * pixel)
    return (image * (angle.cos() + angle.sin())).sum((-2, -1))


def test_the_transform_is_the_sum_of_cas_over_pixels(images: torch.Tensor):
    torch.testing.assert_close(hartley_transform(images[0]), _summed(images[0]))


def test_conversion_to_half_plane_spectra_and_back_loses_nothing(images: torch.Tensor):
    spectra = to_fourier(images)
    torch.testing.assert_close(from_hartley(to_hartley(spectra)), spectra)


def test_squares_sum_to_the_energy_of_the_full_plane(images: torch.Tensor):
    spectra = to_fourier(images)
    energy = (spectra.abs().square() * half_plane_weights(16)).sum()
    torch.testing.assert_close(to_hartley(spectra).square().sum(), energy)


def test_a_shift_in_hartley_space_is_the_phase_ramp(images: torch.Tensor):
    shift = torch.tensor([[3.1, -1.2], [0.0, 4.0], [-2.6, 0.7]], dtype=torch.float64)
    spectra = to_fourier(images) * disc(GRID)  # at Nyquist k and −k are one
    ramped = to_hartley(spectra * phase_ramp(shift, GRID))
    torch.testing.assert_close(shift_hartley(to_hartley(spectra), shift, GRID), ramped)


def test_a_shift_by_whole_pixels_moves_content_towards_plus_x(images: torch.Tensor):
    shift = torch.tensor([[2 * 2.5, 0.0]] * 3, dtype=torch.float64)
    moved = to_real(from_hartley(shift_hartley(hartley_transform(images), shift, GRID)))
    torch.testing.assert_close(moved, images.roll(2, -1))


def test_a_half_turn_takes_each_pixel_to_the_opposite_side_of_the_origin(images: torch.Tensor):
    turned = half_turn(images)
    torch.testing.assert_close(turned[:, 8, 8], images[:, 8, 8])
    torch.testing.assert_close(turned[:, 8 + 3, 8 - 5], images[:, 8 - 3, 8 + 5])
    torch.testing.assert_close(turned[:, 0, 8 + 2], images[:, 0, 8 - 2])  # the row without a partner


@pytest.mark.parametrize("box", [16, 18])
def test_a_half_turn_of_images_is_that_of_their_spectra(box: int):
    images = torch.randn(4, box, box, generator=torch.Generator().manual_seed(1))
    error = (to_fourier(half_turn(images)) - half_turn_spectra(to_fourier(images))).abs().max()
    assert error < 1e-6 * to_fourier(images).abs().max()
    plane = hartley_transform(images)
    assert (hartley_transform(half_turn(images)) - half_turn(plane)).abs().max() < 1e-6 * plane.abs().max()


def test_two_half_turns_are_none(images: torch.Tensor):
    assert torch.equal(half_turn(half_turn(images)), images)
    rotation = random_rotations(3)
    assert torch.equal(half_turn_rotation(half_turn_rotation(rotation)), rotation)


def test_the_image_of_the_half_turned_pose_is_the_half_turned_image():
    generator = torch.Generator().manual_seed(2)
    centres = 6 * torch.randn(5, 3, generator=generator)
    mixture = GaussianMixture(centres, torch.full((5,), 4.0), torch.rand(5, generator=generator))
    poses = Poses(random_rotations(2, generator), 3 * torch.randn(2, 2, generator=generator))
    one = torch.ones(2)
    optics = Optics(9e3 * one, 8e3 * one, 0.4 * one, 300 * one, 2.7 * one, 0.1 * one, 0 * one, 0 * one, one)
    turned = half_turn_poses(poses)
    here = form_image(gaussian_slices(mixture, poses.rotation, GRID), optics, poses.shift, GRID)
    there = form_image(gaussian_slices(mixture, turned.rotation, GRID), optics, turned.shift, GRID)
    inside = disc(GRID)
    torch.testing.assert_close(there[:, inside], half_turn_spectra(here)[:, inside], rtol=1e-4, atol=1e-3)
    transfer = torch.complex(contrast_transfer(optics, GRID), torch.zeros(2, 16, 9))
    plane = to_hartley(transfer * inside)
    torch.testing.assert_close(half_turn(plane), plane)  # so the optics need no change

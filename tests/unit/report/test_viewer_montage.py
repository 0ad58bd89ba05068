"""Pictures of single particles."""

from __future__ import annotations

import numpy as np
import torch

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Optics, Poses, Volume
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.models.density import VoxelDensity
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import form_image
from morphem.physics.slices import central_slices
from morphem.report.viewer.montage import MOST, low_pass_filter, montage

GRID, COUNT = Grid(32, 4.0), 40


def optics() -> Optics:
    each = {"defocus_u": 4e4, "defocus_v": 3.9e4, "astigmatism": 0.3, "voltage_kv": 300, "cs_mm": 2.7}
    rest = {"amplitude_contrast": 0.1, "phase_shift": 0.0, "b_factor": 0.0, "scale": 1.0}
    return Optics(**{name: torch.full((COUNT,), float(value)) for name, value in {**each, **rest}.items()})


def noiseless() -> tuple[ParticleStack, VoxelDensity]:
    """Images of a map as the model itself forms them."""
    generator = torch.Generator().manual_seed(0)
    axis = GRID.axis()
    squared = (axis[:, None, None] - 15).square() + axis[:, None].square() + (axis - 9).square()
    density = VoxelDensity.of(Volume(torch.exp(-squared / 200), GRID))
    poses = Poses(random_rotations(COUNT, generator), 4 * torch.randn(COUNT, 2, generator=generator))
    spectra = form_image(
        central_slices(Volume(density.voxels, GRID), poses.rotation), optics(), poses.shift, GRID
    )
    images = torch.fft.fftshift(torch.fft.irfft2(spectra, s=(32, 32)), dim=(-2, -1))
    stack = stack_in_memory(images.detach().float(), GRID, optics(), poses)
    return stack, density


def test_the_model_is_seen_as_each_particle_was():
    stack, density = noiseless()
    found = montage(
        stack, stack, torch.arange(COUNT), torch.arange(COUNT), (density, torch.zeros(COUNT, 0), stack.poses)
    )
    assert found.model is not None
    np.testing.assert_allclose(found.model, found.raw, atol=1e-3 * np.abs(found.raw).max())


def test_at_most_so_many_are_shown_from_the_first_to_the_last_that_was_asked_for():
    stack, _ = noiseless()
    found = montage(stack, stack, torch.arange(3, COUNT), torch.arange(COUNT))
    assert len(found.particles) == MOST
    assert found.particles[[0, -1]].tolist() == [3, COUNT - 1]
    assert found.model is None
    few = montage(stack, stack, torch.tensor([7]), torch.arange(COUNT))
    np.testing.assert_allclose(few.raw[0], stack.images.read(torch.tensor([7]))[0])


def test_phases_are_flipped_and_what_is_finer_than_noise_is_gone():
    stack, _ = noiseless()
    found = montage(stack, stack, torch.arange(4), torch.arange(COUNT))
    before, after = (to_fourier(torch.from_numpy(images)) for images in (found.raw, found.filtered))
    transfer = contrast_transfer(optics()[:4], GRID)
    k = GRID.frequencies().square().sum(-1).sqrt()
    kept = (k < 1 / 20) & (transfer.abs() > 0.2) & (before.abs() > 1e-3 * before.abs().max())
    # the largest float32 error of a transform of 32² pixels
    torch.testing.assert_close(after[kept], (before * transfer.sign())[kept], rtol=1e-3, atol=1e-3)
    assert float(after[:, k > 4 / 3 / 20 + 1e-6].abs().max()) < 1e-4 * float(after.abs().max())
    assert bool((transfer[:, k < 1 / 20] < 0).any())


def test_premultiplied_images_are_not_flipped_again():
    stack, _ = noiseless()
    twice = ParticleStack(**{**vars(stack), "premultiplied": torch.ones(COUNT, dtype=torch.bool)})
    found = montage(twice, twice, torch.arange(2), torch.arange(COUNT))
    before, after = (to_fourier(torch.from_numpy(images)) for images in (found.raw, found.filtered))
    torch.testing.assert_close(after, before * low_pass_filter(GRID, 20.0), rtol=1e-3, atol=1e-3)


def test_images_of_another_box_are_shown_at_one_size():
    stack, density = noiseless()
    coarse = stack_in_memory(torch.zeros(COUNT, 16, 16), Grid(16, 8.0), optics(), stack.poses)
    model = density, torch.zeros(COUNT, 0), stack.poses
    found = montage(stack, coarse, torch.arange(3), torch.arange(COUNT), model)
    assert found.model is not None
    assert {found.raw.shape, found.filtered.shape, found.model.shape} == {(3, 16, 16)}

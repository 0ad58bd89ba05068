"""Particles of two states with images, and a density that tells them apart: small, and in memory."""

from __future__ import annotations

from dataclasses import replace

import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import GaussianMixture, Optics, Poses
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.models.density import LinearDensity
from morphem.models.gaussian_density import AnchoredMixture
from morphem.physics.gaussians import project_gaussians, rasterise
from morphem.physics.imaging import form_image
from morphem.report.scene.shown import Shown

GRID = Grid(32, 6.0)


def blobs(state: float) -> GaussianMixture:
    """Four blobs; the last moves with the state."""
    last = [30.0 - 66 * state, 18.0 + 12 * state, 36.0 - 24 * state]
    centres = torch.tensor([[0.0, 0.0, 0.0], [36.0, -12.0, -18.0], [-18.0, -36.0, 24.0], last])
    return GaussianMixture(centres, torch.tensor([12.0, 9.0, 9.0, 9.0]), torch.tensor([1.0, 0.9, 0.8, 1.0]))


def optics(n: int) -> Optics:
    defocus = 8_000 + 8_000 * torch.rand(n, generator=torch.Generator().manual_seed(9))  # Å
    same = torch.ones(n)
    return Optics(
        defocus, defocus - 300, 0 * same, 300 * same, 2.7 * same, 0.1 * same, 0 * same, 0 * same, same
    )


def two_states(n: int = 400, noise: float = 1.0) -> tuple[ParticleStack, torch.Tensor]:
    """Images of two states in turn, protein bright and the noise's variance one, and latents that know."""
    generator = torch.Generator().manual_seed(0)
    poses = Poses(random_rotations(n, generator), 3 * torch.randn(n, 2, generator=generator))
    filters, state = optics(n), torch.arange(n) % 2
    views = [project_gaussians(blobs(float(k)), poses.rotation, GRID) for k in (0, 1)]
    clean = torch.where(state[:, None, None] == 0, views[0], views[1])
    clean = to_real(form_image(to_fourier(clean), filters, poses.shift, GRID))
    images = clean / clean.std() + noise * torch.randn(clean.shape, generator=generator)
    latents = torch.stack([2.0 * state - 1, torch.zeros(n)], 1)
    latents += torch.tensor([0.1, 0.2]) * torch.randn(n, 2, generator=generator)
    return stack_in_memory(images, GRID, filters, poses), latents


def linear_density() -> LinearDensity:
    """State 0 at latent −1, state 1 at +1 of the first number; the second does nothing."""
    one, two = (rasterise(blobs(state), GRID) for state in (0.0, 1.0))
    mean = replace(one, voxels=(one.voxels + two.voxels) / 2)
    return LinearDensity.of(mean, torch.stack([(two.voxels - one.voxels) / 2, torch.zeros_like(one.voxels)]))


def shown_states(n: int = 400, with_images: bool = True) -> Shown:
    """A result on them."""
    stack, latents = two_states(n)
    density = linear_density()
    return Shown(
        title="two <states>",
        subtitle="made by hand",
        latents=latents,
        grid=GRID,
        decode=lambda z: density.volume(z, GRID),
        stack=stack if with_images else None,
        poses=stack.poses if with_images else None,
        summary=(("particles", str(n)),),
        commands=(("look", "morphem view run"),),
    )


def moving_parts(extent: float = GRID.extent) -> AnchoredMixture:
    """Two parts of 30 Gaussians: the first still, the second turned and shifted by the latent."""
    generator = torch.Generator().manual_seed(3)
    density = AnchoredMixture(60, 2, 4, 1, (8, 1), extent)
    with torch.no_grad():
        density.part.copy_(torch.arange(60) // 30)
        density.anchor_centres.copy_(torch.tensor([[-0.12, 0.0, 0.0], [0.12, 0.0, 0.0]]))
        density.anchor_features.copy_(torch.eye(4)[:2])
        density.offsets.copy_(0.04 * torch.randn(60, 3, generator=generator))
        density.log_scales.fill_(torch.tensor(0.03).log())
        density.amplitudes.fill_(1.0)
        for parameter in (*density.motion.parameters(), *density.displacement.parameters()):
            parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
        for parameter in density.displacement.parameters():
            parameter.zero_()
    return density

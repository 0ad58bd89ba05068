"""CryoSPIRE's objective, options and start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Optics, Particles, Poses, Volume
from morphem.data.mrc import write_map
from morphem.engine.half_maps import HalfMaps
from morphem.methods.cryospire.objectives import MixtureObjective, image_error
from morphem.methods.cryospire.settings import PRESETS, MixtureConfig
from morphem.methods.cryospire.starting import anchored, initial_latents, initial_parts, start_map
from morphem.models.layers import positional_encoding
from morphem.physics.ctf import contrast_transfer
from morphem.physics.masks import soft_ball

GRID = Grid(16, 4.0)
BALL = Volume(soft_ball(GRID, 16.0, 8.0), GRID)
SMALL = replace(
    PRESETS["paper"],
    parts=MixtureConfig(gaussians=40, scale=0.06, hidden=8, layers=1),
    fine=MixtureConfig(gaussians=60, scale=0.05, hidden=8, layers=2),
    anchors=replace(PRESETS["paper"].anchors, count=2),
)


def particles(count: int) -> Particles:
    """Noise with microscopes of its own for each image, and shifts by whole pixels."""
    generator = torch.Generator().manual_seed(0)
    ones = torch.ones(count)
    return Particles(
        images=torch.randn(count, 16, 16, generator=generator),
        poses=Poses(
            random_rotations(count, generator=generator),
            GRID.pixel_size * torch.randint(-3, 4, (count, 2), generator=generator),
        ),
        optics=Optics(
            defocus_u=15000 + 5000 * torch.rand(count, generator=generator),
            defocus_v=14000 * ones,
            # at another angle the CTF differs between the two halves of the Nyquist row
            astigmatism=0 * ones,
            voltage_kv=300 * ones,
            cs_mm=2.7 * ones,
            amplitude_contrast=0.1 * ones,
            phase_shift=0 * ones,
            b_factor=30 * ones,
            scale=0.8 * ones,
        ),
        index=torch.arange(count),
        particle=torch.arange(count),
        group=torch.zeros(count, dtype=torch.long),
        grid=GRID,
    )


def consensus_of(mean: Volume) -> HalfMaps:
    """Half maps that are both the mean."""
    everywhere, by_shell = torch.ones_like(mean.voxels), torch.ones(GRID.half)
    return HalfMaps(mean, mean, mean, everywhere, by_shell, by_shell, by_shell, 8.0, by_shell[None], by_shell)


def moved(objective: MixtureObjective) -> list[torch.Tensor]:
    """All parameters that descend."""
    return [p for group in objective.parameter_groups() for p in cast("list[torch.Tensor]", group["params"])]


def test_the_image_error_is_the_squared_residual_over_pixels_without_its_mean():
    batch = particles(5)
    model = to_fourier(torch.randn(5, 16, 16, generator=torch.Generator().manual_seed(1)))
    found = image_error(model, batch, torch.ones(1, 16, 9))
    seen = to_real(model * contrast_transfer(batch.optics, GRID)).double().numpy()
    errors = []
    for image, made, shift in zip(batch.images.double().numpy(), seen, batch.poses.shift, strict=True):
        x, y = (shift / GRID.pixel_size).round().long().tolist()
        residual = made - np.roll(image, (-y, -x), (0, 1))
        errors.append(np.square(residual - residual.mean()).sum())
    assert float(found) == pytest.approx(np.mean(errors), rel=1e-5)


def test_each_optics_group_is_weighed_by_its_own_precision():
    batch = replace(particles(4), group=torch.tensor([0, 1, 1, 0]))
    model = torch.zeros(4, 16, 9, dtype=torch.complex64)
    precision = torch.stack([torch.ones(16, 9), torch.full((16, 9), 3.0)])
    each = [float(image_error(model[:1], batch[k : k + 1], precision)) for k in range(4)]
    plain = [float(image_error(model[:1], batch[k : k + 1], precision[:1])) for k in (0, 3)]
    assert each[0] == pytest.approx(plain[0])
    white = [
        float(image_error(model[:1], replace(batch[k : k + 1], group=torch.zeros(1).long()), precision))
        for k in (1, 2)
    ]
    assert each[1:3] == pytest.approx([3 * value for value in white])


def test_every_preset_starts_both_stages():
    latents = 0.1 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    for preset in PRESETS.values():
        config = replace(preset, parts=SMALL.parts, fine=SMALL.fine, anchors=SMALL.anchors)
        parts = initial_parts(BALL, config)
        fine = anchored(parts, latents[:, : config.latent], GRID, config)
        assert len(fine.offsets) == SMALL.fine.gaussians


def test_the_published_sizes_are_the_defaults():
    paper = PRESETS["paper"]
    parts, fine = paper.parts, paper.fine
    assert (parts.gaussians, parts.scale, parts.hidden, parts.layers, parts.amplitude) == (
        2048,
        0.02,
        32,
        1,
        0.15,
    )
    assert (fine.gaussians, fine.scale, fine.hidden, fine.layers, fine.amplitude) == (
        8192,
        0.01,
        128,
        3,
        0.15,
    )
    assert (paper.latent, paper.features, paper.latent_penalty, paper.feature_penalty) == (4, 24, 0.1, 0.01)
    assert (paper.parts_descent.epochs, paper.fine_descent.epochs) == (15, 30)
    assert (paper.parts_descent.batch_size, paper.fine_descent.batch_size) == (64, 64)


def test_a_mixture_starts_at_the_brightness_of_its_map():
    parts = initial_parts(BALL, SMALL)
    drawn = parts.volume(torch.zeros(4), GRID).voxels
    factor = float((drawn * BALL.voxels).sum() / drawn.square().sum())
    assert factor == pytest.approx(1, rel=1e-4)


def test_without_frames_no_rigid_motion_reaches_the_gaussians():
    latents = 0.1 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    for frames, moves in (("anchors", True), ("none", False)):
        config = replace(SMALL, frames=frames)
        fine = anchored(initial_parts(BALL, config), latents, GRID, config)
        torch.nn.init.normal_(fine.motion.last.weight)
        centres = fine.mixture(latents[:2]).centres
        assert bool((centres[0] - centres[1]).abs().max() > 1e-3) is moves


def test_encoded_positions_take_the_place_of_learned_features():
    learned = initial_parts(BALL, SMALL)
    encoded = initial_parts(BALL, replace(SMALL, encoding="positional"))
    assert learned.features.requires_grad
    assert not encoded.features.requires_grad
    assert torch.equal(encoded.features, positional_encoding(encoded.centres, 24))
    latents = initial_latents(3, SMALL)
    objective = MixtureObjective(encoded, latents, torch.ones(1, 16, 9), SMALL)
    names = {id(p) for p in moved(objective)}
    assert id(encoded.features) not in names
    assert id(encoded.centres) in names


def test_every_parameter_has_one_rate_and_no_term_misses_a_gradient():
    latents = initial_latents(5, SMALL)
    parts = initial_parts(BALL, SMALL)
    fine = anchored(parts, latents.rows, GRID, SMALL)
    for density in (parts, fine):
        objective = MixtureObjective(density, latents, torch.ones(1, 16, 9), SMALL)
        grouped = moved(objective)
        assert {id(p) for p in grouped} == {id(p) for p in density.parameters()}
        assert len(grouped) == len(list(density.parameters()))
        for network in density.children():
            torch.nn.init.normal_(network.get_parameter("last.weight"))
        torch.stack(list(objective.terms(particles(5), 0).values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in grouped)


def test_a_map_that_is_given_is_brought_to_the_box_of_the_images(tmp_path: Path):
    fine = Grid(32, 2.0)
    write_map(tmp_path / "start.mrc", Volume(soft_ball(fine, 16.0, 8.0), fine))
    maps = consensus_of(BALL)
    found = start_map(maps, replace(SMALL, start=tmp_path / "start.mrc"))
    assert found.grid == GRID
    assert (found.voxels - BALL.voxels).abs().max() < 0.05  # ringing of a cropped edge

"""Defoci of images corrected in a mixture."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from morphem.core.fourier import to_real
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Optics, Poses
from morphem.data.stack import stack_in_memory
from morphem.inference.defocus import (
    Spread,
    Told,
    look,
    population,
    posterior,
    refine_defocus,
    told,
)
from morphem.inference.latents import Scene, project_at_disc, weak_prior
from morphem.inference.search import ramps
from morphem.inference.store import collect
from morphem.models.gaussian_density import PartMixture
from morphem.physics.imaging import form_image
from moving_gaussians import moving_gaussians

GRID, LIMIT, IMAGES = Grid(48, 3.0), 20, 600
GROUP_ERROR, OWN_ERROR = torch.tensor([500.0, -300.0]), 250.0


def refocused(optics: Optics, change: Tensor) -> Optics:
    return optics.with_defoci(optics.defoci + change[:, None])


def optics() -> Optics:
    defocus, ones = torch.linspace(8_000, 16_000, IMAGES), torch.ones(IMAGES)
    return Optics(
        defocus + 200, defocus, 0.4 * ones, 300 * ones, 2.7 * ones, 0.1 * ones, 0 * ones, 0 * ones, ones
    )


def seen(noise: float, group_error: Tensor, own_error: float) -> tuple[Scene, Tensor, Tensor, PartMixture]:
    """Images whose reported defoci are wrong, what to add to them, latents, and the mixture they show."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(IMAGES, 2, generator=generator)
    poses = Poses(random_rotations(IMAGES, generator), 3 * torch.randn(IMAGES, 2, generator=generator))
    group = torch.arange(IMAGES) % 2
    wanted = group_error[group] + own_error * torch.randn(IMAGES, generator=generator)
    made = moving_gaussians(40, 3.0, (0.12, 0.25), GRID.extent)  # narrow: they tell defocus
    with torch.no_grad():
        spectra = made.project(latents, poses.rotation, GRID)
        images = to_real(form_image(spectra, refocused(optics(), wanted), poses.shift, GRID))
    scale = noise * float(images.std())
    images = images / scale + torch.randn(images.shape, generator=generator)
    with torch.no_grad():
        made.unit /= scale
    stack = replace(stack_in_memory(images, GRID, optics(), poses), group=group)
    store = collect(stack, LIMIT, torch.ones(2, GRID.half))
    return Scene(store, poses, stack.particle, LIMIT, 0.2, weak_prior(2, 1.0)), wanted, latents, made


@pytest.fixture(scope="module")
def clear() -> tuple[Scene, Tensor, Tensor, PartMixture]:
    return seen(3.0, GROUP_ERROR, OWN_ERROR)


def test_slope_and_curvature_are_those_of_the_likelihood(clear: tuple[Scene, Tensor, Tensor, PartMixture]):
    scene, wanted, latents, made = clear
    rows, away = torch.arange(40), wanted[:40].double() + 40
    with torch.no_grad():
        model = project_at_disc(made, latents[rows], scene.poses[rows], scene.store, LIMIT)
        model = (model * ramps(scene.store.disc, LIMIT, scene.poses[rows].shift)).to(torch.complex128)
    exact = Optics(**{name: value.double() for name, value in vars(scene.store.optics).items()})
    scene = replace(scene, store=replace(scene.store, optics=exact))
    step = 0.5  # Å
    low, here, high = (told(model, scene, rows, away + step * k) for k in (-1, 0, 1))
    torch.testing.assert_close(here.slope, (high.score - low.score) / (2 * step), rtol=1e-4, atol=1e-7)
    # Gauss–Newton leaves out what residuals bend, which is noise alone near the truth
    bend = -(high.slope - low.slope) / (2 * step)
    assert float(here.information.mean()) == pytest.approx(float(bend.mean()), rel=0.1)


def test_corrections_are_found_with_their_uncertainty(clear: tuple[Scene, Tensor, Tensor, PartMixture]):
    scene, wanted, latents, made = clear
    found, spread = refine_defocus(made, latents, scene)
    sure = OWN_ERROR / math.sqrt(IMAGES / 2)
    torch.testing.assert_close(spread.mean, GROUP_ERROR, rtol=0, atol=5 * sure)
    torch.testing.assert_close(spread.deviation, torch.full((2,), OWN_ERROR), rtol=0.25, atol=0)
    left = found.change - wanted
    assert float(left.square().mean().sqrt()) < 0.8 * OWN_ERROR
    assert 0.8 < float((left / found.deviation).square().mean()) < 1.3
    assert float(found.gain.mean()) > 1


def test_where_images_tell_little_the_mean_of_their_group_is_left():
    scene, wanted, latents, made = seen(40.0, GROUP_ERROR, 0.0)
    found, spread = refine_defocus(made, latents, scene)
    information = look(made, latents, scene, wanted).information
    assert float(information.median()) ** -0.5 > 1000  # Å: one image alone
    sure = float(information.sum() / 2) ** -0.5
    torch.testing.assert_close(spread.mean, GROUP_ERROR, rtol=0, atol=4 * sure)
    assert float((found.change - wanted).square().mean().sqrt()) < 200


def test_right_defoci_stay(clear: tuple[Scene, Tensor, Tensor, PartMixture]):
    scene, wanted, latents, made = clear
    right = replace(scene, store=replace(scene.store, optics=refocused(scene.store.optics, wanted)))
    found, spread = refine_defocus(made, latents, right)
    information = look(made, latents, right, torch.zeros(IMAGES)).information
    assert float(spread.mean.abs().max()) < 5 * float(information.sum() / 2) ** -0.5
    assert float(found.change.square().mean().sqrt()) < 0.5 * float(information.median()) ** -0.5


def test_the_spread_of_a_population_is_found_from_its_likelihoods():
    generator = torch.Generator().manual_seed(1)
    true, count = torch.tensor([100.0, -40.0]), 4000
    group = torch.arange(count) % 2
    change = true[group] + 60 * torch.randn(count, generator=generator)
    information = (50 + 200 * torch.rand(count, generator=generator)) ** -2
    seen_at = change + information**-0.5 * torch.randn(count, generator=generator)
    nowhere = torch.zeros(count)
    likelihoods = Told(nowhere, nowhere, information * seen_at, information)
    spread = population(likelihoods, group, Spread(torch.zeros(2), torch.full((2,), 500.0)))
    torch.testing.assert_close(spread.mean, true, rtol=0, atol=12)
    torch.testing.assert_close(spread.deviation, torch.full((2,), 60.0), rtol=0.2, atol=0)
    found, deviation = posterior(likelihoods, group, spread)
    assert 0.9 < float(((found - change) / deviation).square().mean()) < 1.1

"""Poses and latents of images that no map was made of."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance
from morphem.core.types import Volume
from morphem.data.images import MemoryImages
from morphem.data.stack import ParticleStack
from morphem.inference.frozen import FrozenModel, homogeneous
from morphem.inference.infer import by_particle, infer_images, limits, searched_all
from morphem.inference.subspace import Latents, Subspace
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth, simulate

GRID = Grid(48, 256 / 48)
LIMIT = 18


@pytest.fixture(scope="module")
def set_of_two() -> tuple[ParticleStack, Truth]:
    """Half of the particles lack a domain, which does not move."""
    return simulate(hinge(1e-3, 0.5), 160, GRID, 3, Conditions(snr=0.3, shift=6.0, contrast_spread=0.2))


@pytest.fixture(scope="module")
def model(set_of_two: tuple[ParticleStack, Truth]) -> FrozenModel:
    """Of true maps: z = ±1 without and with the domain."""
    without, whole = (set_of_two[1].volume(torch.tensor([0.0, there])).voxels for there in (0.0, 1.0))
    working = GRID.resized(2 * (LIMIT + 2))
    mean, difference = (
        resize_map(each, working.box) for each in ((without + whole) / 2, (whole - without) / 2)
    )
    plain = homogeneous(Volume(mean, working), LIMIT, torch.ones(1, GRID.half), GRID)
    return replace(plain, space=Subspace(mean, difference[None], working), spread=0.2)


def test_images_find_their_true_poses_and_states(set_of_two: tuple[ParticleStack, Truth], model: FrozenModel):
    stack, truth = set_of_two
    blind = replace(stack, poses=replace(stack.poses, rotation=torch.eye(3).repeat(len(stack), 1, 1)))
    found = infer_images(blind, model, searched_all)
    angle = geodesic_distance(found.fit.poses.rotation, truth.poses.rotation)
    assert float(angle.median()) < math.radians(2)  # what noise leaves open: 1.7°
    assert float((angle > math.radians(10)).float().mean()) < 0.03
    assert float((found.fit.poses.shift - truth.poses.shift).norm(dim=1).median()) < 0.15 * GRID.pixel_size
    with_domain = found.latents.mean[:, 0] > 0
    assert float((with_domain == (truth.state[:, 1] > 0.5)).float().mean()) > 0.97


def test_pose_and_latent_found_together_are_no_worse_than_one_after_the_other(
    set_of_two: tuple[ParticleStack, Truth], model: FrozenModel
):
    stack, truth = set_of_two
    together, apart = (
        infer_images(stack, each, searched_all) for each in (model, replace(model, space_limit=LIMIT - 1))
    )
    angle = [
        geodesic_distance(found.fit.poses.rotation, truth.poses.rotation).median()
        for found in (together, apart)
    ]
    assert float(angle[0]) < 0.97 * float(angle[1])


def test_an_image_is_read_the_same_alone_and_among_others(
    set_of_two: tuple[ParticleStack, Truth], model: FrozenModel
):
    stack = set_of_two[0]
    rows = torch.arange(0, 160, 2)
    whole, part = (infer_images(each, model, searched_all) for each in (stack, stack.select(rows)))
    angle = geodesic_distance(whole.fit.poses.rotation[rows], part.fit.poses.rotation)
    # noise and mean contrast are measured on different images
    assert float(angle.median()) < math.radians(0.2)


def test_a_set_of_twice_the_dose_is_read_with_its_own_contrast(
    set_of_two: tuple[ParticleStack, Truth], model: FrozenModel
):
    stack = set_of_two[0]
    space = replace(model.space, mean=model.space.mean / 2, directions=model.space.directions / 2)
    weaker = replace(model, mean=Volume(model.mean.voxels / 2, model.mean.grid), space=space)
    found = infer_images(stack, weaker, searched_all)
    assert float(found.gain[0]) == pytest.approx(2, rel=0.1)
    assert float(found.fit.contrast.mean()) == pytest.approx(1, rel=0.1)


def test_noise_of_another_scale_is_measured(set_of_two: tuple[ParticleStack, Truth], model: FrozenModel):
    stack = set_of_two[0]
    louder = replace(stack, images=MemoryImages(stack.images.read(torch.arange(160)) * 1.5))
    found, usual = (infer_images(each, model, searched_all) for each in (louder, stack))
    assert float(found.gain[0] / usual.gain[0]) == pytest.approx(1.5, rel=0.02)
    difference = (found.latents.mean - usual.latents.mean).abs()
    assert float(difference.median()) < 0.01
    assert float((difference > 0.2).float().mean()) < 0.05  # the few that chose another pose


def test_images_on_another_grid_are_refused(set_of_two: tuple[ParticleStack, Truth], model: FrozenModel):
    with pytest.raises(ValueError, match="resample"):
        infer_images(set_of_two[0], replace(model, grid=Grid(32, 8.0)), searched_all)


def test_limits_rise_to_the_last():
    assert limits(12) == [12]
    assert limits(40)[-1] == 40
    assert limits(40) == [16, 25, 40]


def test_images_of_one_particle_share_what_they_know():
    generator = torch.Generator().manual_seed(0)
    slopes = torch.randn(3, 2, 2, generator=generator)
    precision, pull = torch.eye(2) + slopes @ slopes.mT, torch.randn(3, 2, 1, generator=generator)
    covariance = torch.linalg.inv(precision)
    each = Latents((covariance @ pull)[..., 0], covariance, torch.zeros(3))
    found = by_particle(each, torch.tensor([0, 1, 0]))
    # the particle of two images has the information of both, and N(0, I) once
    both = precision[0] + precision[2] - torch.eye(2)
    torch.testing.assert_close(found.mean[0], torch.linalg.solve(both, (pull[0] + pull[2])[:, 0]))
    torch.testing.assert_close(found.mean[1], each.mean[1])

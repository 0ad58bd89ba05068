"""Rough poses by a network that is trained on images of the model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance, random_rotations
from morphem.core.types import Volume
from morphem.inference.amortised import EncoderConfig, Simulator, by_encoder, doubtful, trained_on
from morphem.inference.frozen import FrozenModel, homogeneous
from morphem.inference.infer import FIRST, searched_all
from morphem.inference.rings import ANGLES, Rings, rings, turned_views
from morphem.inference.store import Coefficients, Store, collect
from morphem.inference.templates import template
from morphem.models.polar_encoder import PolarEncoder
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth, simulate

GRID = Grid(48, 256 / 48)


@pytest.fixture(scope="module")
def scene() -> tuple[Store, FrozenModel, Truth]:
    stack, truth = simulate(hinge(1e-3, 1), 128, GRID, 3, Conditions(snr=0.6, shift=5.0))
    working = GRID.resized(36)
    volume = Volume(resize_map(truth.volume(truth.state[0]).voxels, working.box), working)
    noise = torch.ones(1, GRID.half)
    return collect(stack, 16, noise), homogeneous(volume, 16, noise, GRID), truth


def test_logits_of_a_turned_image_are_those_of_the_image_moved():
    torch.manual_seed(0)
    network, images = PolarEncoder(6, 10, width=8), torch.randn(2, 6, ANGLES)
    with torch.no_grad():
        turned, moved = network(images.roll(5, 2)), network(images).roll(5, 2)
    torch.testing.assert_close(turned, moved, rtol=1e-4, atol=1e-5)


def _at(rotation: torch.Tensor, scene: tuple[Store, FrozenModel, Truth]) -> Coefficients:
    store, model, _ = scene
    slices = template(model.mean, store.disc, FIRST).slices(rotation)[0]
    return Coefficients(slices, torch.ones(slices.shape))


def _rings(scene: tuple[Store, FrozenModel, Truth]) -> Rings:
    sample = _at(random_rotations(64, torch.Generator().manual_seed(1)), scene)
    return rings(scene[0].disc, FIRST, sample.values.abs().square().mean(0), sample)


def test_turning_a_particle_in_its_image_moves_its_circles(scene: tuple[Store, FrozenModel, Truth]):
    rotation = random_rotations(8, torch.Generator().manual_seed(2))
    turn = from_rotation_vector(torch.tensor([[0.0, 0.0, 3 * 2 * math.pi / ANGLES]]))
    read = _rings(scene)
    upright, turned = (read.of(_at(each, scene)) for each in (rotation, turn @ rotation))
    moved = upright.roll(3, 2)
    # the outermost circles lack neighbours beyond the limit
    inner = [*range(7), *range(FIRST, FIRST + 7)]
    error = (turned - moved)[:, inner].norm() / turned[:, inner].norm()
    assert float(error) < 0.1


def test_turns_of_a_view_are_turns_about_the_beam():
    rotation = turned_views(20)
    turn = from_rotation_vector(torch.tensor([[0.0, 0.0, 2 * math.pi / ANGLES]]))
    torch.testing.assert_close(rotation[1], (turn @ rotation[0])[0], rtol=0, atol=1e-6)
    assert float((rotation @ rotation.mT - torch.eye(3)).abs().max()) < 1e-5


def test_every_rotation_has_a_class_within_capture():
    some = random_rotations(200, torch.Generator().manual_seed(3))
    classes = turned_views(192)
    nearest = geodesic_distance(
        some[:, None].expand(-1, len(classes), -1, -1), classes.expand(200, -1, -1, -1)
    )
    assert float(nearest.min(1).values.max()) < math.radians(13)


def test_simulated_images_have_the_power_of_those_of_the_store(scene: tuple[Store, FrozenModel, Truth]):
    store, model, _ = scene
    drawn = Simulator(store, replace(model, spread=0.0), 0).draw(512).images
    real = store.read(torch.arange(len(store)), FIRST)
    shells = store.disc.shells(FIRST)
    for shell in (2, 4, 8):
        powers = [each.values[:, shells == shell].abs().square().mean() for each in (drawn, real)]
        assert float(powers[0] / powers[1]) == pytest.approx(1, rel=0.15)


def test_simulated_images_are_explained_by_their_labels(scene: tuple[Store, FrozenModel, Truth]):
    store, model, _ = scene
    drawn = Simulator(store, replace(model, reach=0.0, spread=0.0), 0).draw(300)
    expected = _at(drawn.rotation, scene).values * drawn.images.transfer
    left = (drawn.images.values - expected).abs().square().mean()
    assert float(left) == pytest.approx(1, rel=0.03)


def test_a_network_learns_where_its_images_are_seen_from(scene: tuple[Store, FrozenModel, Truth]):
    store, model, truth = scene
    trained = trained_on(store, model, EncoderConfig(images=2_500, batch_size=50))
    guesses, _ = trained.guesses(store.read(torch.arange(len(store)), FIRST))
    angle = geodesic_distance(guesses.rotation[:, 0], truth.poses.rotation)
    right = float((angle < math.radians(15)).float().mean())
    assert right > 0.5  # by chance, 0.002


def test_what_an_untrained_network_says_is_searched_instead(scene: tuple[Store, FrozenModel, Truth]):
    store, model, _ = scene
    few = EncoderConfig(images=64, batch_size=64)
    guesses, search = by_encoder(store, model, config=few), searched_all(store, model)
    assert torch.equal(guesses.rotation, search.rotation)


def test_images_explained_worse_than_right_poses_are_doubted():
    right = torch.linspace(0.8, 1.2, 101)
    quality = torch.cat([2 * right, torch.tensor([0.5])])  # twice the dose, and a wrong pose
    doubted = doubtful(quality, right)
    assert doubted[-1]
    assert float(doubted[:-1].float().mean()) < 0.05
    assert doubtful(quality, right[:0]).all()

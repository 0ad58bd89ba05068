"""Poses at the peak of the likelihood."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from morphem.core.rotations import from_rotation_vector, geodesic_distance
from morphem.core.types import Poses
from morphem.inference.refine import map_products, refine


def _near(poses: Poses, degrees: float, shift: float) -> Poses:
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(len(poses), 3, generator=generator) * math.radians(degrees) / 3**0.5
    move = shift * torch.randn(len(poses), 2, generator=generator)
    return Poses(from_rotation_vector(turn) @ poses.rotation, poses.shift + move)


def test_errors_are_as_small_as_their_information_allows(small_set):
    made = small_set(200)
    images = made.store.read(torch.arange(200), 14)
    truth = made.truth.poses
    found = refine(images, map_products(made.volume, made.store.disc, 14), _near(truth, 6, 4.0), 10)
    bound = torch.linalg.inv(found.information.double()).diagonal(dim1=1, dim2=2)
    error = geodesic_distance(found.poses.rotation, truth.rotation)
    assert float(error.median()) < 1.15 * float(bound[:, :3].sum(1).sqrt().median())
    moved = (found.poses.shift - truth.shift).square().sum(1)
    assert float(moved.median()) < 1.3 * float(bound[:, 3:].sum(1).median())
    assert float(found.contrast.mean()) == pytest.approx(1, abs=0.03)


def test_no_step_makes_an_image_less_likely(small_set):
    made = small_set(50)
    images, model = made.store.read(torch.arange(50), 10), map_products(made.volume, made.store.disc, 10)
    start = _near(made.truth.poses, 25, 10.0)
    scores = [refine(images, model, start, steps).score for steps in (0, 1, 2, 5)]
    assert all(bool((after >= before).all()) for before, after in pairwise(scores))


def test_a_known_contrast_is_kept_near_one(small_set):
    made = small_set(50, contrast_spread=0.4)
    images, model = made.store.read(torch.arange(50), 10), map_products(made.volume, made.store.disc, 10)
    free = refine(images, model, made.truth.poses, 2)
    held = refine(images, model, made.truth.poses, 2, spread=0.01)
    true = made.truth.optics.scale
    assert float(torch.corrcoef(torch.stack([free.contrast, true]))[0, 1]) > 0.9
    assert float((held.contrast - 1).abs().max()) < 0.5 * float((free.contrast - 1).abs().max())


def test_the_score_is_the_log_likelihood_gained(small_set):
    from morphem.inference.search import ramps
    from morphem.inference.templates import template

    made = small_set(8)
    images = made.store.read(torch.arange(8), 9)
    found = refine(images, map_products(made.volume, made.store.disc, 9), made.truth.poses, 3)
    slices = template(made.volume, made.store.disc, 9).slices(found.poses.rotation)[0]
    model = found.contrast[:, None] * slices * images.transfer * ramps(made.store.disc, 9, found.poses.shift)
    gain = images.values.abs().square().sum(1) - (images.values - model).abs().square().sum(1)
    torch.testing.assert_close(found.score, gain, rtol=1e-3, atol=1e-2)

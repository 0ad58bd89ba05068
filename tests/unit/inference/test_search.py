"""Every rotation against every image."""

from __future__ import annotations

import torch

from morphem.core.rotations import geodesic_distance
from morphem.core.so3_grids import super_fibonacci
from morphem.inference.search import poses_of, ramps, search, shift_lattice, with_half_turns
from morphem.inference.templates import template


def test_scores_are_the_log_likelihoods_of_a_brute_force_search(small_set):
    made = small_set(6)
    rotation, shift = super_fibonacci(50), shift_lattice(16.0, 8.0)
    images = made.store.read(torch.arange(6), 7)
    slices = template(made.volume, made.store.disc, 7).slices(rotation)[0]
    moves = ramps(made.store.disc, 7, shift)
    found = search(images, slices, moves, 3)
    everything = template(made.volume, made.store.disc, 7).slices(with_half_turns(rotation))[0]
    model = images.transfer[:, None, None] * moves[:, None] * everything  # b t r m
    nothing = images.values.abs().square().sum(1)
    left = (images.values[:, None, None] - model).abs().square().sum(-1)
    gain = (nothing[:, None, None] - left).amax(1)
    expected = gain.topk(3, 1)
    torch.testing.assert_close(found.score, expected.values, rtol=1e-3, atol=1e-2)
    assert torch.equal(found.rotation, expected.indices)
    best = (nothing[:, None, None] - left)[torch.arange(6), :, found.rotation[:, 0]].argmax(1)
    assert torch.equal(found.shift[:, 0], best)


def test_the_true_map_brings_images_near_their_rotation(small_set):
    made = small_set(60)
    rotation, shift = super_fibonacci(2304), shift_lattice(24.0, 6.0)
    slices = template(made.volume, made.store.disc, 10).slices(rotation)[0]
    found = search(made.store.read(torch.arange(60), 10), slices, ramps(made.store.disc, 10, shift), 1)
    error = geodesic_distance(
        poses_of(found, with_half_turns(rotation), shift).rotation, made.truth.poses.rotation
    )
    assert float(error.rad2deg().median()) < 10


def test_a_lattice_begins_at_the_origin_and_stays_within_its_radius():
    points = shift_lattice(10.0, 4.0)
    assert torch.equal(points[0], torch.zeros(2))
    assert float(points.norm(dim=1).max()) <= 10.001
    gaps = torch.cdist(points, points) + 100 * torch.eye(len(points))
    torch.testing.assert_close(gaps.min(1).values, torch.full((len(points),), 4.0), atol=1e-4, rtol=0)

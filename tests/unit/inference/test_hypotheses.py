"""Several poses of each image, tried against each other."""

from __future__ import annotations

import math

import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance, random_rotations
from morphem.core.so3_grids import super_fibonacci
from morphem.core.types import GaussianMixture, Poses
from morphem.inference.hypotheses import (
    ahead,
    half_spread,
    likeliest,
    pseudo_symmetries,
    search_grid,
    searched,
    side_by_side,
    with_mates,
)
from morphem.inference.refine import map_products
from morphem.inference.search import with_half_turns
from morphem.inference.templates import template
from morphem.physics.gaussians import rasterise


def test_poses_kept_are_not_neighbours(small_set):
    made = small_set(12)
    grid = search_grid(made.store, made.volume, 8, 3072, 16.0)
    poses = searched(made.store.read(torch.arange(12), 8), grid, 3).rotation.unflatten(0, (12, 3))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert math.degrees(float(geodesic_distance(poses[:, a], poses[:, b]).min())) > 15


def test_the_likelier_of_two_poses_is_found(small_set):
    made = small_set(20)
    images, model = made.store.read(torch.arange(20), 10), map_products(made.volume, made.store.disc, 10)
    wrong = random_rotations(20, torch.Generator().manual_seed(3))
    rotation = torch.stack([wrong, made.truth.poses.rotation], 1).flatten(0, 1)
    tried = Poses(rotation, made.truth.poses.shift.repeat_interleave(2, 0))
    found = likeliest(images, model, tried, 3)
    error = geodesic_distance(found.poses.rotation, made.truth.poses.rotation)
    assert float(error.rad2deg().max()) < 15


def test_the_lead_is_over_poses_that_ended_elsewhere(small_set):
    made = small_set(20)
    images, model = made.store.read(torch.arange(20), 10), map_products(made.volume, made.store.disc, 10)
    truth = made.truth.poses
    near = truth.rotation @ from_rotation_vector(torch.tensor([0.02, 0.0, 0.01]))
    wrong = random_rotations(20, torch.Generator().manual_seed(3))
    tried = [Poses(each, truth.shift) for each in (truth.rotation, near, wrong)]
    fits = [likeliest(images, model, each, 3) for each in tried]
    alone = ahead(images, model, side_by_side(tried[0], tried[1], 20), 3)[1]
    assert float(alone.min()) > 1e5
    both = side_by_side(side_by_side(tried[0], tried[1], 20), tried[2], 20)
    lead = ahead(images, model, both, 3)[1]
    apart = geodesic_distance(fits[0].poses.rotation, fits[2].poses.rotation) > math.radians(15)
    wanted = torch.maximum(fits[0].score, fits[1].score) - fits[2].score
    torch.testing.assert_close(lead[apart], wanted[apart].abs(), rtol=1e-3, atol=0.1)
    assert int(apart.sum()) > 10


def test_the_likeliest_of_many_is_refined_to_the_end(small_set):
    made = small_set(20)
    images, model = made.store.read(torch.arange(20), 10), map_products(made.volume, made.store.disc, 10)
    truth = made.truth.poses
    near = truth.rotation @ from_rotation_vector(torch.tensor([0.06, -0.05, 0.05]))
    wrong = random_rotations(20 * 11, torch.Generator().manual_seed(4)).unflatten(0, (20, 11))
    rotation = torch.cat([wrong[:, :7], near[:, None], wrong[:, 7:]], 1).flatten(0, 1)
    many = Poses(rotation, truth.shift.repeat_interleave(12, 0))
    alone = likeliest(images, model, Poses(near, truth.shift), 6)
    found, lead = ahead(images, model, many, 6)
    assert bool((found.score > alone.score - 0.1).all())
    assert bool((lead > 0).all())


def test_a_slice_at_a_half_turn_is_the_conjugate(small_set):
    made = small_set(4)
    grid = search_grid(made.store, made.volume, 8, 100, 10.0, random_rotations(1)[0])
    slices = template(made.volume, made.store.disc, 8).slices(grid.rotation)[0]
    torch.testing.assert_close(slices, torch.cat([grid.slices, grid.slices.conj()]), rtol=1e-4, atol=1e-4)


def test_half_a_spread_and_its_half_turns_leave_no_gap():
    probe = random_rotations(300, torch.Generator().manual_seed(0))
    gaps = []
    for rotation in (super_fibonacci(1152), with_half_turns(half_spread(1152))):
        shape = len(probe), len(rotation), 3, 3
        apart = geodesic_distance(probe[:, None].expand(shape), rotation[None].expand(shape)).amin(1)
        gaps.append((float(apart.mean()), float(apart.max())))
    (mean, largest), (paired_mean, paired_largest) = gaps
    assert paired_mean < 1.05 * mean
    assert paired_largest < 1.2 * largest


def _twofold(shift: float) -> GaussianMixture:
    """Five blobs and their copies after a half turn about z; one copy is ``shift`` Å off."""
    centres = 60 * (torch.rand(5, 3, generator=torch.Generator().manual_seed(2)) - 0.5)
    turned = centres * torch.tensor([-1.0, -1.0, 1.0])
    turned[0] += shift
    return GaussianMixture(torch.cat([centres, turned]), torch.full((10,), 7.0), torch.ones(10))


def test_the_axis_of_a_pseudo_symmetry_is_found():
    turns = pseudo_symmetries(rasterise(_twofold(5.0), Grid(32, 4.0)), 6)
    half = from_rotation_vector(torch.tensor([[0.0, 0.0, math.pi]]))
    assert math.degrees(float(geodesic_distance(turns, half.expand_as(turns)).min())) < 12


def test_an_unlike_molecule_has_no_strong_pseudo_symmetry(small_set):
    assert len(pseudo_symmetries(small_set(4).volume, 8, 0.75)) == 0


def test_mates_are_the_poses_that_look_alike():
    poses = Poses(random_rotations(3, torch.Generator().manual_seed(0)), torch.randn(3, 2))
    turn = from_rotation_vector(torch.tensor([[0.0, 0.0, 2.0]]))
    mates = with_mates(poses, turn)
    assert len(mates) == 3 * 6
    torch.testing.assert_close(mates.rotation[0], poses.rotation[0])
    torch.testing.assert_close(mates.rotation[4], poses.rotation[0] @ turn[0])
    torch.testing.assert_close(mates.shift[6], poses.shift[1])

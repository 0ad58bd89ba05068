"""What one image leaves open of a part's pose, the population tells."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance, random_rotations
from morphem.core.types import Poses, Volume
from morphem.inference.populations import Placements, mirrored, peaks_of, placed, population
from morphem.inference.refine import Fit
from morphem.inference.store import disc
from morphem.inference.templates import template

JOINT, SLACK = torch.tensor([4.0, -6.0, 15.0]), 4.0
BLUR = math.radians(6)  # of one image's rotations
BLUNT = 2.0  # Å, of its shifts


def seen(states: int, images: int) -> tuple[Fit, Poses, Placements, Tensor]:
    """Fits of images of a part that takes some placements, with the errors that their information states."""
    generator = torch.Generator().manual_seed(0)
    turns, slacks = random_rotations(states, generator), SLACK * torch.randn(states, 3, generator=generator)
    state = torch.randint(states, (images,), generator=generator)
    views = Poses(random_rotations(images, generator), 5 * torch.randn(images, 2, generator=generator))
    true = Placements(turns[state], slacks[state])
    rotation = views.rotation @ true.rotation
    shift = views.shift + torch.einsum("nij,nj->ni", views.rotation, JOINT + true.slack)[:, :2]
    off = from_rotation_vector(BLUR * torch.randn(images, 3, generator=generator))
    poses = Poses(off @ rotation, shift + BLUNT * torch.randn(images, 2, generator=generator))
    known = torch.diag(torch.tensor([BLUR**-2] * 3 + [BLUNT**-2] * 2)).expand(images, 5, 5).contiguous()
    return Fit(poses, torch.ones(images), torch.zeros(images), known), views, true, state


def starts(fit: Fit, views: Poses) -> Placements:
    return Placements(views.rotation.mT @ fit.poses.rotation, torch.zeros(len(views), 3))


def test_a_peak_falls_as_its_information_says():
    fit, views, _, _ = seen(3, 4)
    generator = torch.Generator().manual_seed(1)
    half = torch.randn(4, 5, 5, generator=generator)
    information = half @ half.mT * torch.tensor([100.0, 100, 100, 1, 1])[:, None] ** 0.5
    information = information * torch.tensor([100.0, 100, 100, 1, 1]) ** 0.5
    fit = Fit(fit.poses, fit.contrast, fit.score, information)
    forms = peaks_of(fit, views, JOINT).forms.unflatten(1, (13, 13)).double()
    turn, move = 0.02 * torch.randn(4, 3, generator=generator), torch.randn(4, 2, generator=generator)
    rotation = views.rotation.mT @ from_rotation_vector(turn) @ fit.poses.rotation
    away = fit.poses.shift + move - views.shift
    there = torch.cat([away, torch.zeros(4, 1)], 1)
    slack = torch.einsum("nji,nj->ni", views.rotation, there) - JOINT
    numbers = torch.cat([rotation.flatten(1), slack, torch.ones(4, 1)], 1).double()
    found = torch.einsum("ni,nij,nj->n", numbers, forms, numbers)
    change = torch.cat([turn, move], 1).double()
    # numbers of 1e4 cancel to some ten, in float32
    torch.testing.assert_close(
        found, torch.einsum("ni,nij,nj->n", change, information.double(), change), rtol=0.02, atol=0.05
    )


def test_half_a_turn_away_is_far():
    fit, views, true, _ = seen(1, 5)
    forms = peaks_of(fit, views, JOINT).forms.unflatten(1, (13, 13))
    flipped = true.rotation @ torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    numbers = torch.cat([flipped.flatten(1), true.slack, torch.ones(5, 1)], 1)
    assert float(torch.einsum("ni,nij,nj->n", numbers, forms, numbers).min()) > 200


def test_states_that_images_share_are_found_better_than_by_any_of_them():
    fit, views, true, _ = seen(10, 1000)
    peaks, start = peaks_of(fit, views, JOINT), starts(fit, views)
    found = placed(peaks, population(peaks, start, SLACK))
    before, after = (
        geodesic_distance(each.rotation, true.rotation).median() for each in (start, found.places)
    )
    assert float(after) < 0.25 * float(before)  # a hundred images a state would give a tenth
    assert float((found.places.slack - true.slack).norm(dim=1).median()) < 0.5 * BLUNT
    assert bool((found.covariance.diagonal(dim1=1, dim2=2) > -1e-3).all())


def test_a_second_peak_that_no_other_image_shares_is_not_believed():
    fit, views, true, _ = seen(5, 400)
    generator = torch.Generator().manual_seed(2)
    rotation = torch.stack([fit.poses.rotation, random_rotations(400, generator)], 1).flatten(0, 1)
    twice = torch.arange(400).repeat_interleave(2)
    score = torch.tensor([0.0, 2.0]).repeat(400)  # the wrong one is likelier
    both = Fit(Poses(rotation, fit.poses.shift[twice]), fit.contrast[twice], score, fit.information[twice])
    peaks = peaks_of(both, views, JOINT)
    start = starts(both[1::2], views)
    mixed = Placements(torch.where((torch.arange(400) % 3 > 0)[:, None, None],
                                   starts(fit, views).rotation, start.rotation), start.slack)  # fmt: skip
    found = placed(peaks, population(peaks, mixed, SLACK)).places
    off = geodesic_distance(found.rotation, true.rotation)
    # by its own score no image would be right
    assert float((off < math.radians(5)).float().mean()) > 0.8


def test_images_of_the_right_hand_agree_with_each_other():
    fit, views, _, _ = seen(10, 600)
    evidence = []
    for hand in (fit, mirrored(fit)):
        told, asked = (peaks_of(hand[rows], views[rows], JOINT) for rows in (slice(0, 300), slice(300, None)))
        atoms = population(told, starts(hand[:300], views[:300]), SLACK)
        evidence.append(float(placed(asked, atoms).evidence.mean()))
    assert evidence[0] > evidence[1] + 3


def test_a_mirror_image_looks_the_same_at_the_mirrored_pose():
    grid = Grid(16, 5.0)
    voxels = torch.zeros(16, 16, 16)
    voxels[5:11, 5:11, 5:11] = torch.rand(6, 6, 6, generator=torch.Generator().manual_seed(0))
    other = Volume(voxels.flip(0).roll(1, 0), grid)
    places, turns = disc(grid, 6), random_rotations(6, torch.Generator().manual_seed(1))
    empty = torch.zeros(6)
    fit = Fit(Poses(turns, torch.zeros(6, 2)), empty, empty, torch.zeros(6, 5, 5))
    here = template(Volume(voxels, grid), places, 6).slices(turns)
    there = template(other, places, 6).slices(mirrored(fit).poses.rotation)
    assert float((here - there).abs().max()) < 1e-4 * float(here.abs().max())


@pytest.mark.parametrize("images", [1, 7])
def test_few_images_are_enough_for_an_atom(images: int):
    fit, views, _, _ = seen(1, images)
    peaks = peaks_of(fit, views, JOINT)
    found = placed(peaks, population(peaks, starts(fit, views), SLACK))
    assert found.places.rotation.isfinite().all()
    assert found.evidence.isfinite().all()

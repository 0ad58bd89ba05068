"""Parts joined from pieces as long as one rigid motion tells what they do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from morphem.core.rotations import from_rotation_vector
from morphem.metrics.latents import adjusted_rand
from morphem.models.anchors import AnchorConfig, find_anchors, rigid_share
from morphem.models.rigidity import Behaviour, calmed, joined, regrouped, rigid_motion, standing

BY_RIGIDITY = AnchorConfig(by="rigidity", neighbours=9, most=16)


def bodies(count: int, slide: float = 0.0, seed: int = 0) -> tuple[Behaviour, torch.Tensor]:
    """Balls side by side: all but the first swing by angles of their own, Gaussians slide by chance."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count).repeat_interleave(100)
    middles = 0.2 * torch.stack([torch.arange(count) % 3, torch.arange(count) // 3, torch.zeros(count)], 1)
    away = torch.nn.functional.normalize(torch.randn(100 * count, 3, generator=generator), dim=1)
    radius = 0.08 * torch.rand(100 * count, 1, generator=generator) ** (1 / 3)
    home = (middles - middles.mean(0))[label] + radius * away
    moved = home.expand(48, -1, -1).clone()
    for body in range(1, count):
        axis = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        turn = from_rotation_vector(0.6 * torch.randn(48, 1, generator=generator) * axis)
        pivot = home[label == body].mean(0) - 0.05
        moved[:, label == body] = pivot + (home[label == body] - pivot) @ turn.mT
    moved += slide * torch.randn(moved.shape, generator=generator)
    features = torch.randn(100 * count, 6, generator=generator)
    return Behaviour(features, home, moved, torch.ones(48, 100 * count), torch.ones(100 * count)), label


@pytest.mark.parametrize("slide", [0.0, 0.02])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_as_many_parts_are_found_as_there_are(count: int, slide: float):
    behaviour, label = bodies(count, slide)
    found = find_anchors(behaviour, BY_RIGIDITY, 0)
    assert len(found.features) == count
    assert count == 1 or adjusted_rand(found.part, label) > 0.9


def test_a_body_that_comes_and_goes_is_a_part():
    behaviour, label = bodies(2)
    here = (torch.arange(48) % 3 > 0).float()
    still = behaviour.home.expand(48, -1, -1)
    behaviour = replace(behaviour, moved=still, shown=torch.where(label == 1, here[:, None], 1.0))
    found = find_anchors(behaviour, BY_RIGIDITY, 0)
    assert adjusted_rand(found.part, label) > 0.9


def test_the_count_that_is_told_is_kept():
    behaviour, _ = bodies(3, 0.01)
    for count in (1, 2, 7):
        assert len(find_anchors(behaviour, replace(BY_RIGIDITY, count=count), 0).features) == count
    # pieces of next to no mass are none
    assert 24 < len(find_anchors(behaviour, replace(BY_RIGIDITY, count=64), 0).features) <= 64


def test_what_joining_costs_is_what_the_joined_motion_tells_less():
    behaviour, label = bodies(4, 0.01)
    pieces = label * 2 + (torch.arange(len(label)) % 2)
    found = joined(behaviour, pieces)
    assert sorted(found) == list(range(1, 9))
    for count, each in found.items():
        assert len(each.part.unique()) == count
        direct = 0.0
        for a in range(count):
            member = each.part == a
            mass = behaviour.mass[member]
            turn, centre, centres = rigid_motion(behaviour.home[member], behaviour.moved[:, member], mass)
            expected = centres[:, None] + (behaviour.home[member] - centre) @ turn.mT
            direct += float(((behaviour.moved[:, member] - expected).square().sum(-1).mean(0) * mass).sum())
        assert each.left == pytest.approx(direct / len(label), rel=1e-3)
        if count > 1:
            assert found[count - 1].left == pytest.approx(each.left + each.cost, rel=1e-6)
    # halves of a body join before bodies do
    assert adjusted_rand(found[4].part, label) == 1.0
    assert found[4].cost > 10 * found[5].cost


def test_a_neighbourhood_calms_what_its_gaussians_do_by_chance():
    behaviour, label = bodies(3, 0.02)
    exact, _ = bodies(3)
    calm = calmed(behaviour, 24)
    before, after = ((each.moved - exact.moved).square().sum(-1).mean() for each in (behaviour, calm))
    assert float(after) < 0.4 * float(before)
    assert rigid_share(calm, label) > rigid_share(behaviour, label)
    torch.testing.assert_close(calmed(exact, 24).shown, exact.shown)


def test_gaussians_that_were_switched_off_calm_nobody():
    behaviour, _ = bodies(2)
    moved, mass = behaviour.moved.clone(), behaviour.mass.clone()
    moved[:, :5] += 3.0
    mass[:5] = 0
    calm = calmed(replace(behaviour, moved=moved, mass=mass), 16)
    clean = calmed(replace(behaviour, mass=mass), 16)
    torch.testing.assert_close(calm.moved, clean.moved)


def test_a_gaussian_goes_to_the_part_whose_motion_it_follows():
    behaviour, label = bodies(3)
    mixed = label.clone()
    mixed[::9] = (mixed[::9] + 1) % 3
    assert torch.equal(regrouped(behaviour, mixed), label)


@pytest.mark.parametrize("slide", [0.0, 0.01])
def test_what_stands_is_told_though_a_cluster_took_some_of_the_rest(slide: float):
    behaviour, label = bodies(2, slide)
    nearest = behaviour.home[:, 0] < behaviour.home[label == 1, 0].quantile(0.4)
    taken = torch.where(nearest, 0, label)
    assert 130 < int((taken == 0).sum()) < 150
    # and though it left out some of its own
    lost = torch.where(torch.arange(len(label)) < 30, 1, label)
    for part in (taken, lost):
        found = standing(behaviour, part)
        assert bool(found[label == 0].all())
        assert float(found[label == 1].float().mean()) < 0.1  # at the pivot nothing moves


def test_what_was_switched_off_does_not_tell_how_far_others_move():
    behaviour, label = bodies(2)
    moved, mass = behaviour.moved.clone(), behaviour.mass.clone()
    moved[:, 190:] += 50 * torch.randn(48, 10, 3, generator=torch.Generator().manual_seed(1))
    mass[190:] = 0
    found = standing(replace(behaviour, moved=moved, mass=mass), label)
    torch.testing.assert_close(found[:190], standing(behaviour, label)[:190])


def test_where_nothing_moves_all_stand_and_where_nothing_moves_together_the_part_that_was_given():
    behaviour, label = bodies(1)
    assert bool(standing(behaviour, label).all())
    behaviour, label = bodies(2, slide=1.0)
    assert bool(standing(behaviour, label)[label == 0].any())

"""Parts are found by what Gaussians do."""

from __future__ import annotations

import pytest
import torch

from morphem.core.rotations import from_rotation_vector
from morphem.models import anchors
from morphem.models.anchors import (
    AnchorConfig,
    Behaviour,
    cluster,
    find_anchors,
    nearest_part,
    rigid_share,
    split_in_space,
    vote,
)

TRUE = torch.arange(3).repeat_interleave(torch.tensor([60, 40, 30]))


def three_bodies(stray: float = 0.0) -> Behaviour:
    """A body at rest, one that turns, one that comes and goes; features of some Gaussians drawn at random."""
    generator = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]])[TRUE]
    home = middles + 0.05 * torch.randn(130, 3, generator=generator)
    angles = torch.linspace(-0.6, 0.6, 32)
    turn = from_rotation_vector(angles[:, None] * torch.tensor([0.0, 0, 1]))
    moved = torch.where((TRUE == 1)[:, None], home @ turn.mT, home)
    here = (torch.arange(32) % 3 > 0).float()
    shown = torch.where(TRUE == 2, here[:, None], torch.ones(32, 130))
    features = torch.nn.functional.one_hot(TRUE, 6) + 0.05 * torch.randn(130, 6, generator=generator)
    lost = torch.rand(130, generator=generator) < stray
    features[lost] = torch.nn.functional.one_hot(torch.randint(3, (130,), generator=generator), 6).float()[
        lost
    ]
    return Behaviour(features, home, moved, shown, torch.ones(130))


@pytest.mark.parametrize("by", ["features", "responses"])
def test_bodies_are_found_and_counted(by: str):
    found = find_anchors(three_bodies(), AnchorConfig(by=by), 0)
    assert torch.equal(found.part, TRUE)  # the heaviest first
    assert found.features.shape == (3, 6)


def test_a_molecule_that_does_nothing_is_one_part():
    still = three_bodies()
    still = Behaviour(
        still.features, still.home, still.home.expand(32, -1, -1), torch.ones(32, 130), still.mass
    )
    assert len(find_anchors(still, AnchorConfig(), 0).features) == 1


def test_rigid_bodies_explain_all_their_motion_and_one_part_none():
    behaviour = three_bodies()
    assert rigid_share(behaviour, TRUE) == pytest.approx(1, abs=1e-5)
    assert rigid_share(behaviour, torch.zeros_like(TRUE)) == pytest.approx(0, abs=1e-6)


def test_neighbours_outvote_strays():
    behaviour = three_bodies(stray=0.15)
    alone = find_anchors(behaviour, AnchorConfig(count=3), 0).part
    together = find_anchors(behaviour, AnchorConfig(count=3, neighbours=9), 0).part
    assert not torch.equal(alone, TRUE)
    assert torch.equal(together, TRUE)
    assert torch.equal(vote(TRUE, behaviour.home, behaviour.mass, 9), TRUE)


def test_a_gaussian_without_mass_has_no_say():
    rows = torch.tensor([[0.0], [0.1], [1.0], [1.1], [9.0]])
    label = cluster(rows, torch.tensor([2.0, 2, 1, 1, 0]), 2, 0)
    assert label.tolist() == [0, 0, 1, 1, 1]


def test_dust_joins_the_part_that_it_lies_in(monkeypatch: pytest.MonkeyPatch):
    bodies = three_bodies()
    dust = TRUE.clone()
    dust[[70, 71]] = 3  # of the second body, with next to no mass
    mass = bodies.mass.clone()
    mass[[70, 71]] = 0.3
    behaviour = Behaviour(bodies.features, bodies.home, bodies.moved, bodies.shown, mass)
    monkeypatch.setattr(anchors, "cluster", lambda rows, mass, count, seed: dust)
    assert torch.equal(find_anchors(behaviour, AnchorConfig(count=4), 0).part, TRUE)


def test_gaussians_that_were_switched_off_are_no_part_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """k-means may fill an empty cluster with a point that has no weight."""
    alive = three_bodies()
    off = Behaviour(
        torch.cat([alive.features, torch.full((2, 6), 9.0)]),
        torch.cat([alive.home, torch.full((2, 3), 5.0)]),
        torch.cat([alive.moved, torch.full((32, 2, 3), 5.0)], 1),
        torch.cat([alive.shown, torch.zeros(32, 2)], 1),
        torch.cat([alive.mass, torch.zeros(2)]),
    )
    label = torch.cat([TRUE, torch.tensor([3, 3])])
    monkeypatch.setattr(anchors, "cluster", lambda rows, mass, count, seed: label)
    found = find_anchors(off, AnchorConfig(count=4), 0)
    assert found.features.isfinite().all()
    # they go to the part that is nearest
    assert torch.equal(found.part, torch.cat([TRUE, torch.tensor([2, 2])]))


def test_a_large_part_is_split_until_its_pieces_are_small():
    line = torch.linspace(0, 1, 50)[:, None] * torch.tensor([1.0, 0, 0])
    pieces = split_in_space(torch.zeros(50, dtype=torch.long), line, 0.1, 0)
    for piece in pieces.unique():
        inside = line[pieces == piece]
        assert (inside - inside.mean(0)).square().sum(1).mean().sqrt() <= 0.1
    assert int(pieces.max()) == 2  # a third of the line has an RMS radius of 1/(3√12) = .096


def test_a_point_belongs_to_the_part_of_its_nearest_gaussian():
    centres = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    points = torch.rand(9000, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest_part(points, centres, torch.tensor([4, 7])) == 7, points[:, 0] > 0.5)


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        AnchorConfig(count=-1)

"""Frames of parts are taken from a coarse mixture."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from morphem.core.rotations import from_rotation_vector, geodesic_distance
from morphem.core.types import GaussianMixture
from morphem.methods.cryospire.frames import teach_frames
from morphem.models.anchors import anchors_of, rigid_motion
from morphem.models.gaussian_density import AnchoredMixture, PartMixture

EXTENT, PART = 200.0, torch.arange(2).repeat_interleave(20)


class Turning(PartMixture):
    """Two bodies, of which the second goes full circle about an axis while the latent does."""

    def mixture(self, z: Tensor) -> GaussianMixture:
        turn = self.turns(z)
        moved = self.centres @ turn.mT
        centres = torch.where((PART == 1)[:, None], moved, self.centres)
        shown = torch.ones(len(z), len(PART))
        return GaussianMixture(centres * EXTENT, self.log_scales.exp() * EXTENT, self.amplitudes * shown)

    def turns(self, z: Tensor) -> Tensor:
        angle = torch.atan2(z[:, 1], z[:, 0])
        return from_rotation_vector(angle[:, None] * torch.tensor([0.0, 0.6, 0.8]))


def turning() -> Turning:
    torch.manual_seed(0)
    made = Turning(40, 4, 2, (8, 4, "products"), EXTENT)
    with torch.no_grad():
        made.centres.normal_(std=0.05)
        made.centres[PART == 1] += torch.tensor([0.2, 0.0, 0.1])
        made.features.normal_()
        made.log_scales.fill_(-4.0)
        made.amplitudes.fill_(1.0)
    return made


def circle(count: int) -> Tensor:
    angle = torch.linspace(-math.pi, math.pi, count + 1)[:-1]
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_a_part_is_taught_to_turn_full_circle():
    coarse, latents = turning(), circle(720)
    with torch.no_grad():
        behaviour = coarse.behaviour(latents)
    anchors = anchors_of(behaviour, PART)
    fine = AnchoredMixture(10, 2, 4, 2, (8, 4, "products"), EXTENT)
    with torch.no_grad():
        fine.anchor_centres.copy_(anchors.centres)
        fine.anchor_features.copy_(anchors.features)
    teach_frames(fine, anchors, (coarse, behaviour), latents, 0)
    middle = (latents - latents.mean(0)).square().sum(1).argmin()
    with torch.no_grad():
        found, shift = fine.frames(latents)
    wanted = coarse.turns(latents) @ coarse.turns(latents[middle, None]).mT
    off = torch.rad2deg(geodesic_distance(found[:, 1], wanted))
    assert float(off.median()) < 2
    assert float(off.max()) < 12
    assert float(torch.rad2deg(geodesic_distance(found[:, 0], torch.eye(3).expand_as(wanted))).max()) < 3
    # the anchor's own place goes where its body goes
    home = fine.anchor_centres[1]
    gone = torch.einsum("nij,j->ni", wanted, home) - home
    assert float((shift[:, 1] - gone).norm(dim=1).median()) < 0.01


def test_a_rigid_motion_is_found_exactly():
    generator = torch.Generator().manual_seed(0)
    home, mass = torch.randn(12, 3, generator=generator), torch.rand(12, generator=generator)
    turns = from_rotation_vector(torch.randn(5, 3, generator=generator))
    moved = home @ turns.mT + torch.randn(5, 1, 3, generator=generator)
    turn, centre, centres = rigid_motion(home, moved, mass)
    assert torch.allclose(turn, turns, atol=1e-5)
    again = torch.einsum("mij,gj->mgi", turn, home - centre) + centres[:, None]
    assert torch.allclose(again, moved, atol=1e-5)


@pytest.mark.parametrize("network", [(8, 2), (8, 4, "products")])
def test_parts_begin_at_rest_however_they_are_turned(network: tuple):
    mixture = AnchoredMixture(6, 3, 4, 2, network, EXTENT)
    turn, shift = mixture.frames(circle(7))
    assert torch.allclose(turn, torch.eye(3).expand_as(turn), atol=1e-6)
    assert not shift.any()

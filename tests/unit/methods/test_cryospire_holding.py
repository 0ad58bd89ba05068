"""Poses that followed the molecule, and the part that stands still."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses
from morphem.data.stack import ParticleStack
from morphem.methods.cryospire.holding import body_still
from morphem.methods.cryospire.settings import PRESETS
from morphem.models.gaussian_density import AnchoredMixture
from static_molecule import photograph, three_arms

GRID = Grid(32, 6.0)
PART = torch.tensor([0] * 4 + [1] * 9 + [2] * 5)  # the second is the heaviest
NETWORK = 8, 4, "products"


@pytest.fixture
def stack() -> ParticleStack:
    return photograph(three_arms(GRID.extent), GRID, 30, noise=1.0)


def moving(network: tuple[int, int, str] | tuple[int, int]) -> AnchoredMixture:
    """Three parts, all of which turn and shift with the latent; none bends."""
    torch.manual_seed(1)
    made = AnchoredMixture(len(PART), 3, 4, 2, network, GRID.extent)
    with torch.no_grad():
        made.part.copy_(PART)
        made.anchor_centres.normal_(std=0.1)
        made.anchor_features.normal_()
        made.offsets.normal_(std=0.05)
        made.log_scales.fill_(-3.5)
        made.amplitudes.fill_(1.0)
        for weight in made.motion.parameters():
            weight.normal_(std=0.2)
    return made


@pytest.mark.parametrize("network", [NETWORK, (8, 1)])
def test_images_stay_as_they_were_and_the_heaviest_part_stands_still(
    stack: ParticleStack, network: tuple[int, int, str] | tuple[int, int]
):
    mixture, latents = moving(network), torch.randn(len(stack), 2, generator=torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    poses = Poses(random_rotations(len(stack), generator), torch.randn(len(stack), 2, generator=generator))
    stack = replace(stack, poses=poses)
    with torch.no_grad():
        before = seen(mixture, latents, poses)
        found = body_still(mixture, latents, stack).poses
        after = seen(mixture, latents, found)
        moved = mixture.mixture(latents).centres
    assert float((found.rotation - poses.rotation).abs().max()) > 0.05
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)  # Å; float32 of 192 Å
    still = moved[:, PART == 1]
    torch.testing.assert_close(still, still[:1].expand_as(still), atol=1e-3, rtol=0)
    assert float((moved[:, PART == 2] - moved[:1, PART == 2]).norm(dim=2).max()) > 3


def seen(mixture: AnchoredMixture, latents: torch.Tensor, poses: Poses) -> torch.Tensor:
    """Where each image shows the Gaussians, Å."""
    return mixture.mixture(latents).centres @ poses.rotation[:, :2].mT + poses.shift[:, None]


def test_what_stands_still_already_is_left_alone(stack: ParticleStack):
    mixture, latents = moving(NETWORK), torch.randn(len(stack), 2)
    once = body_still(mixture, latents, stack)
    assert int(mixture.anchor_still) == 1
    assert body_still(mixture, latents, once) is once


def test_without_parts_nothing_changes(stack: ParticleStack):
    mixture = AnchoredMixture(5, 0, 4, 2, NETWORK, GRID.extent)
    assert body_still(mixture, torch.zeros(len(stack), 2), stack) is stack


def test_poses_that_were_found_are_refined_and_given_ones_are_not(stack: ParticleStack):
    config = PRESETS["fast"]
    assert config.rounds_of(stack) == 0
    assert config.rounds_of(replace(stack, poses_found=True)) == 2
    assert replace(config, pose_rounds=0).rounds_of(replace(stack, poses_found=True)) == 0
    assert replace(config, pose_rounds=3).rounds_of(stack) == 3


def test_where_poses_were_found_parts_are_told_by_what_no_frame_changes(stack: ParticleStack):
    config, found = PRESETS["fast"], replace(stack, poses_found=True)
    assert config.seen_by(stack) is config
    assert (config.seen_by(found).anchors.by, config.seen_by(found).anchors.most) == ("rigidity", 16)
    chosen = replace(config, anchors=replace(config.anchors, by="features"))
    assert chosen.seen_by(found) is chosen
    assert config.beginnings_of(stack) == 1
    assert config.beginnings_of(found) == 2
    assert replace(config, beginnings=1).beginnings_of(found) == 1
    with pytest.raises(ValueError, match="beginnings is 0"):
        replace(config, beginnings=0)

"""Poses found from images alone, or made better than those given."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance
from morphem.core.types import Frame, Poses, Volume
from morphem.data.errors import DataError
from morphem.data.stack import ParticleStack
from morphem.engine.run import Run
from morphem.inference import posing
from morphem.inference.abinitio import SeedConfig, Start
from morphem.inference.posing import PoseConfig, find_poses, in_frame_of, seen_in
from morphem.inference.rounds import RoundConfig
from morphem.metrics.poses import align_poses, pose_errors
from static_molecule import photograph, three_arms

GRID = Grid(32, 6.0)
QUICK = PoseConfig(SeedConfig(rotations=2304), RoundConfig(most=3, mates=1), limit=12)


@pytest.fixture(scope="module")
def stack() -> ParticleStack:
    return photograph(three_arms(GRID.extent), GRID, 300, noise=1.0)


def disturbed(poses: Poses, turn: float, move: float) -> Poses:
    """Poses with errors of ``turn`` (rad) and ``move`` (Å) about each axis."""
    generator = torch.Generator().manual_seed(3)
    turns = from_rotation_vector(turn * torch.randn(len(poses), 3, generator=generator))
    return Poses(turns @ poses.rotation, poses.shift + move * torch.randn(len(poses), 2, generator=generator))


def errors(found: Poses, true: Poses) -> tuple[float, float]:
    """Median errors, degrees and Å, in the frame of those found."""
    each = pose_errors(found, true, align_poses(found, true))
    return math.degrees(each.rotation.median()), float(each.shift.median())


def test_given_poses_are_made_better(stack: ParticleStack, tmp_path: Path):
    rough = disturbed(stack.poses, math.radians(4), 3.0)
    found = find_poses(replace(stack, poses=rough), "refine", QUICK, 0, Run(tmp_path)).poses
    (turned, moved), (turned_before, moved_before) = errors(found, stack.poses), errors(rough, stack.poses)
    assert turned < 0.5 * turned_before
    assert moved < 0.5 * moved_before


def test_refined_poses_stay_in_the_frame_of_those_given(stack: ParticleStack, tmp_path: Path):
    rough = disturbed(stack.poses, math.radians(4), 3.0)
    found = find_poses(replace(stack, poses=rough), "refine", QUICK, 0, Run(tmp_path)).poses
    frame = align_poses(found, rough)
    assert float(geodesic_distance(frame.matrix, torch.eye(3))) < math.radians(0.1)
    assert float(frame.offset.norm()) < 0.1  # Å


def test_poses_are_found_without_any(stack: ParticleStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def known(*_: object) -> Start:
        """Where starts from random poses end, which are tested elsewhere."""
        grid = Grid(24, GRID.extent / 24)
        return Start(Volume(three_arms(GRID.extent).map(grid), grid), 10, [0.0], [0.0])

    monkeypatch.setattr(posing, "first_map", known)
    lost = Poses(torch.eye(3).repeat(len(stack), 1, 1), torch.zeros(len(stack), 2))
    found = find_poses(replace(stack, poses=lost, has_poses=False), "abinit", QUICK, 0, Run(tmp_path))
    turned, moved = errors(found.poses, stack.poses)
    assert turned < 6
    assert moved < GRID.pixel_size / 2
    assert found.start is not None


def test_a_rigid_motion_of_all_poses_is_taken_off(stack: ParticleStack):
    matrix = from_rotation_vector(torch.tensor([0.1, -0.2, 0.05]))
    offset = torch.tensor([3.0, -1.0, 2.0])
    # the molecule x' = F x + o, seen the same: R' F = R, shift' + R' o = shift
    rotation = stack.poses.rotation @ matrix.T
    moved = Poses(rotation, stack.poses.shift - rotation[:, :2] @ offset)
    for back in (in_frame_of(stack.poses, moved), seen_in(moved, Frame(matrix, offset))):
        torch.testing.assert_close(back.rotation, stack.poses.rotation, atol=1e-4, rtol=0)
        torch.testing.assert_close(back.shift, stack.poses.shift, atol=1e-3, rtol=0)


def test_a_hundred_images_are_the_least(stack: ParticleStack, tmp_path: Path):
    with pytest.raises(DataError, match="COUNT-004 99 images"):
        find_poses(stack.select(torch.arange(99)), "refine", QUICK, 0, Run(tmp_path))


def test_tilt_series_are_refused(stack: ParticleStack, tmp_path: Path):
    tilted = replace(stack, particle=torch.arange(len(stack)) // 3)
    with pytest.raises(DataError, match="POSE-011 300 images of 100 particles"):
        find_poses(tilted, "refine", QUICK, 0, Run(tmp_path))

"""One change of frame for a whole set, found among outliers and in either hand."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance, random_rotations
from morphem.core.types import Frame, GaussianMixture, Poses
from morphem.metrics.poses import align_poses, pose_errors, pose_errors_by_group
from morphem.physics.gaussians import gaussian_slices
from morphem.physics.imaging import phase_ramp

OFFSET = torch.tensor([4.0, -7.0, 11.0])


def _frame(hand: int) -> Frame:
    turn = from_rotation_vector(torch.tensor([0.4, -1.1, 2.0]))
    return Frame(turn * torch.tensor([1.0, 1.0, hand]), OFFSET)


def _true(n: int) -> Poses:
    generator = torch.Generator().manual_seed(1)
    return Poses(random_rotations(n, generator), 8 * torch.randn(n, 2, generator=generator))


def _seen_from(true: Poses, frame: Frame) -> Poses:
    """The same views of a molecule whose points were moved by ``frame``, written out particle by particle."""
    hand = float(torch.linalg.det(frame.matrix).sign())
    rotation = torch.stack(
        [torch.diag(torch.tensor([1, 1, hand])) @ r @ frame.matrix.T for r in true.rotation]
    )
    moved = torch.stack([(r @ frame.offset)[:2] for r in rotation])
    return Poses(rotation, true.shift - moved)


@pytest.mark.parametrize("hand", [1, -1])
def test_a_frame_without_noise_is_found_exactly(hand: int):
    true, frame = _true(300), _frame(hand)
    found = align_poses(_seen_from(true, frame), true)
    assert torch.allclose(found.matrix, frame.matrix, atol=1e-5)
    assert torch.allclose(found.offset, frame.offset, atol=1e-4)
    errors = pose_errors(_seen_from(true, frame), true, found)
    assert max(float(e.max()) for e in (errors.view, errors.in_plane, errors.rotation, errors.shift)) < 1e-4


@pytest.mark.parametrize("hand", [1, -1])
def test_noise_of_5_degrees_and_30_percent_outliers_leave_the_frame_within_a_degree(hand: int):
    true, frame, generator = _true(1000), _frame(hand), torch.Generator().manual_seed(2)
    seen = _seen_from(true, frame)
    noise = from_rotation_vector(math.radians(5) * torch.randn(1000, 3, generator=generator))
    lost = torch.rand(1000, generator=generator) < 0.3
    rotation = torch.where(lost[:, None, None], random_rotations(1000, generator), noise @ seen.rotation)
    shift = seen.shift + torch.where(lost, 30.0, 1.0)[:, None] * torch.randn(1000, 2, generator=generator)
    found = align_poses(Poses(rotation, shift), true)
    assert torch.linalg.det(found.matrix) == pytest.approx(hand, abs=1e-4)
    assert float(geodesic_distance(found.matrix * hand, frame.matrix * hand)) < math.radians(1)
    assert (found.offset - frame.offset).norm() < 0.5


@pytest.mark.parametrize("hand", [1, -1])
def test_images_of_the_molecule_in_the_found_frame_are_the_same_images(hand: int):
    """What a frame means: points moved by it, seen at the found poses, give the images at the true poses."""
    generator = torch.Generator().manual_seed(3)
    grid, true, frame = Grid(32, 4.0), _true(5), _frame(hand)
    points, one = 20 * torch.randn(9, 3, generator=generator), torch.ones(9)
    seen = _seen_from(true, frame)
    pictures = []
    for centres, poses in ((points, true), (points @ frame.matrix.T + frame.offset, seen)):
        mixture = GaussianMixture(centres, 5 * one, one)
        pictures.append(gaussian_slices(mixture, poses.rotation, grid) * phase_ramp(poses.shift, grid))
    assert (pictures[0] - pictures[1]).abs().max() < 1e-3 * pictures[0].abs().max()


@pytest.mark.parametrize("hand", [1, -1])
def test_poses_that_follow_the_state_are_right_within_a_state(hand: int):
    true, group = _true(600), torch.arange(600) % 3
    whole = _seen_from(true, _frame(hand))
    turns = from_rotation_vector(torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0, -0.3, 0.1]]))
    moves = torch.tensor([[0.0, 0, 0], [5.0, 0, 0], [0, 0, -8.0]])
    followed = torch.stack([row @ turns[k].T for row, k in zip(whole.rotation, group.tolist(), strict=True)])
    shift = whole.shift - (followed[:, :2] @ moves[group, :, None])[..., 0]
    found = Poses(followed, shift)
    apart = pose_errors_by_group(found, true, align_poses(found, true), group)
    assert float(apart.rotation.max()) < 1e-3
    assert float(apart.shift.max()) < 1e-2
    together = pose_errors(found, true, align_poses(found, true))
    assert float(together.rotation.max()) > 0.1


def test_a_hand_can_be_asked_for():
    true = _true(100)
    seen = _seen_from(true, _frame(-1))
    assert float(torch.linalg.det(align_poses(seen, true, 1).matrix)) > 0
    assert float(torch.linalg.det(align_poses(seen, true, -1).matrix)) < 0


def test_views_along_one_axis_keep_the_hand_they_were_given():
    """Seen along one axis both hands fit equally well."""
    turns = torch.stack([torch.zeros(50), torch.zeros(50), torch.linspace(0, 6, 50)], 1)
    true = Poses(from_rotation_vector(turns), torch.zeros(50, 2))
    assert torch.linalg.det(align_poses(true, true).matrix) > 0


def test_view_and_in_plane_errors_are_those_put_in():
    true, still = _true(40), Frame(torch.eye(3), torch.zeros(3))
    axis = torch.nn.functional.normalize(
        torch.randn(40, 2, generator=torch.Generator().manual_seed(4)), dim=1
    )
    tilt = from_rotation_vector(torch.cat([0.3 * axis, torch.zeros(40, 1)], 1))
    turn = from_rotation_vector(torch.tensor([0.0, 0.0, -0.2]))
    errors = pose_errors(
        Poses(turn @ tilt @ true.rotation, true.shift + torch.tensor([3.0, 4.0])), true, still
    )
    assert torch.allclose(errors.view, torch.full((40,), 0.3), atol=1e-4)
    assert torch.allclose(errors.in_plane, torch.full((40,), 0.2), atol=1e-4)
    # cos(θ/2) of two turns about axes at right angles is the product of theirs
    expected = 2 * math.acos(math.cos(0.15) * math.cos(0.1))
    assert torch.allclose(errors.rotation, torch.full((40,), expected), atol=1e-4)
    assert torch.allclose(errors.shift, torch.full((40,), 5.0))

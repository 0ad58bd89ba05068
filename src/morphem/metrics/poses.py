"""Poses beside true poses, after the one change of frame that a whole set is free to make."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import geodesic_distance, nearest_rotation
from morphem.core.types import Frame, PerParticle, Poses

_ROUNDS = 100  # of reweighting
_STILL = 1e-8  # rad or Å: nearer than this to the centre, a vote counts no more


@dataclass(frozen=True)
class PoseErrors(PerParticle):
    """How far each pose is from the true one, in the frame of those found.

    Attributes:
        view: Angle between the view directions, rad.
        in_plane: Turn about the beam that is left once the views are brought together, 0 to π, rad.
        rotation: Angle of the whole rotation, rad.
        shift: Å.
    """

    view: Float[Tensor, "n"]
    in_plane: Float[Tensor, "n"]
    rotation: Float[Tensor, "n"]
    shift: Float[Tensor, "n"]


def align_poses(found: Poses, true: Poses, hand: int = 0) -> Frame:
    """Frame ``x' = F x + o`` that takes true coordinates to those of the found poses.

    Every particle votes ``R_found^T S R_true`` for F, where S is the identity, or mirrors the beam's axis for
    a molecule of the other hand; F is the rotation nearest to the votes' geometric median, of the hand whose
    votes agree better (as given where both do), or of the ``hand`` asked for: 1 the same, −1 the other. The
    offset is the least sum of distances between ``shift_true − shift_found`` and ``(R_found o)_xy``. Half the
    particles may be anywhere.
    """
    rotation, target = found.rotation.double(), true.rotation.double()
    if hand:
        matrix = _median_frame(_votes(rotation, target, hand))[0]
    else:
        same, mirrored = (_median_frame(_votes(rotation, target, each)) for each in (1, -1))
        matrix = mirrored[0] if mirrored[1] < same[1] - 1e-6 else same[0]
    offset = _median_offset(rotation[:, :2], (true.shift - found.shift).double())
    return Frame(matrix.to(found.rotation), offset.to(found.shift))


def pose_errors(found: Poses, true: Poses, frame: Frame) -> PoseErrors:
    """Errors of found poses against the true ones seen in ``frame``, as :func:`align_poses` gives it."""
    rotation, matrix = found.rotation.double(), frame.matrix.double()
    hand = float(torch.linalg.det(matrix).sign())
    expected = _beam_mirrored(true.rotation.double() @ matrix.mT, hand)
    shift = true.shift.double() - rotation[:, :2] @ frame.offset.double()
    turn = rotation @ expected.mT
    view = 2 * torch.asin(((rotation - expected)[:, 2].norm(dim=1) / 2).clamp(max=1))
    in_plane = torch.atan2(turn[:, 1, 0] - turn[:, 0, 1], turn[:, 0, 0] + turn[:, 1, 1]).abs()
    columns = view, in_plane, geodesic_distance(rotation, expected), (found.shift - shift).norm(dim=1)
    return PoseErrors(*(column.to(found.shift) for column in columns))


def pose_errors_by_group(found: Poses, true: Poses, frame: Frame, group: Int[Tensor, "n"]) -> PoseErrors:
    """Errors of poses after a change of frame for each group of particles, of the hand of ``frame``.

    No image tells a molecule that moves as a whole with its state from poses that do: within a state, that
    freedom is one frame.
    """
    hand = 1 if float(torch.linalg.det(frame.matrix)) > 0 else -1
    errors = PoseErrors(*(torch.zeros_like(found.shift[:, 0]) for _ in range(4)))
    for each in group.unique():
        rows = (group == each).nonzero().flatten()
        here = pose_errors(found[rows], true[rows], align_poses(found[rows], true[rows], hand))
        for name, values in vars(here).items():
            getattr(errors, name)[rows] = values
    return errors


def _votes(
    rotation: Float[Tensor, "n 3 3"], target: Float[Tensor, "n 3 3"], hand: int
) -> Float[Tensor, "n 3 3"]:
    return rotation.mT @ _beam_mirrored(target, hand)


def _beam_mirrored(rotation: Float[Tensor, "n 3 3"], hand: float) -> Float[Tensor, "n 3 3"]:
    """The same images, of the molecule of the other hand where ``hand`` is −1."""
    return rotation * rotation.new_tensor([1, 1, hand])[:, None]


def _median_frame(votes: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "3 3"], float]:
    """Orthogonal matrix nearest to the geometric median of the votes, and their mean distance from it."""
    centre = votes.mean(0)
    for _ in range(_ROUNDS):
        weight = 1 / (votes - centre).flatten(1).norm(dim=1).clamp(min=_STILL)
        centre = torch.einsum("n,nij->ij", weight / weight.sum(), votes)
    hand = torch.linalg.det(votes[0]).sign()  # the same of all
    matrix = hand * nearest_rotation(hand * centre)
    return matrix, float((votes - matrix).flatten(1).norm(dim=1).mean())


def _median_offset(rows: Float[Tensor, "n 2 3"], moved: Float[Tensor, "n 2"]) -> Float[Tensor, "3"]:
    """The offset o of least ``Σ |rows o − moved|``; nothing along a direction that no view shows."""
    weight = torch.ones_like(moved[:, 0])
    offset = moved.new_zeros(3)
    for _ in range(_ROUNDS):
        gram = torch.einsum("n,nij,nik->jk", weight, rows, rows)
        gram.diagonal().add_(1e-9 * gram.trace())
        offset = torch.linalg.solve(gram, torch.einsum("n,nij,ni->j", weight, rows, moved))
        weight = 1 / (rows @ offset - moved).norm(dim=1).clamp(min=_STILL)
        weight = weight / weight.sum()
    return offset

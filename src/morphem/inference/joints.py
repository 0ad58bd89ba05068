"""The joint about which a part moves, from where images may have seen the part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import PerParticle

_ROUNDS = 25
_VAGUE, _SHARP = 25.0, 6.0  # Å that a joint is thought to give, in the first round and in the last
_FAINT = 1e-3  # of the information: keeps the joint of a part that never turns finite


@dataclass(frozen=True)
class Sightings(PerParticle):
    """Poses at which each image may have seen a part.

    Attributes:
        rotation: Of the part's frame to the microscope's.
        shift: Å.
        score: Log-likelihood.
    """

    rotation: Float[Tensor, "b h 3 3"]
    shift: Float[Tensor, "b h 2"]
    score: Float[Tensor, "b h"]


def find_joint(
    seen: Sightings, views: Float[Tensor, "b 3 3"], arm: float = 0.0
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Where the joint is in the molecule and in the part, from each image's likeliest poses of the part.

    A part at rotation Q whose point p is held at the molecule's point j lies at ``[V j − Q p]`` in an image
    of view V: linear in both, two equations an image. Which of an image's hypotheses is right comes out along
    with it (expectation–maximisation, the joint looser at first), so that a part whose two ends look alike is
    still held by one of them. Cost: 36 multiplications a hypothesis and round.

    Args:
        seen: Hypotheses; shifts are of the part's origin, from where the molecule's origin is seen.
        views: Of the molecule in each image.
        arm: Length (Å) of p to begin with, in six directions; 0 begins at the part's origin.
    """
    ends = [sign * axis for axis in torch.eye(3) for sign in (arm, -arm)] if arm else [torch.zeros(3)]
    system = torch.cat([views[:, None, :2].expand_as(seen.rotation[:, :, :2]), -seen.rotation[:, :, :2]], 3)
    found = [_settled(system, seen, torch.cat([torch.zeros(3), end]), bool(arm)) for end in ends]
    best = max(found, key=lambda pair: pair[0])[1]
    return best[:3], best[3:]


def _settled(
    system: Float[Tensor, "b h 2 6"], seen: Sightings, start: Float[Tensor, "6"], vague: bool
) -> tuple[float, Float[Tensor, "6"]]:
    """Log-likelihood and the joint of one start."""
    joint, scores = start, torch.zeros(())
    widths = torch.logspace(0, 1, _ROUNDS, base=_SHARP / _VAGUE) * _VAGUE if vague else [_SHARP] * _ROUNDS
    for width in widths:
        off = (seen.shift - system @ joint).square().sum(-1)
        scores = seen.score - off / (2 * float(width) ** 2)
        weighted = system * scores.softmax(1)[..., None, None]
        information = torch.einsum("bhij,bhik->jk", weighted, system)
        faint = _FAINT * information.diagonal().mean() * torch.eye(6)
        # the start is what a part that never turns is left with
        pull = torch.einsum("bhij,bhi->j", weighted, seen.shift) + faint @ start
        joint = torch.linalg.solve(information + faint, pull)
    return float(scores.logsumexp(1).mean()), joint

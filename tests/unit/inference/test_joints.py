"""A joint is found from where images may have seen a part."""

from __future__ import annotations

import torch
from torch import Tensor

from morphem.core.rotations import random_rotations
from morphem.inference.joints import Sightings, find_joint

JOINT, PLACE = torch.tensor([3.0, -5.0, 16.0]), torch.tensor([-22.0, 10.0, 38.0])
END_OVER_END = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def sightings(hypotheses: int, rival: Tensor | None) -> tuple[Sightings, Tensor]:
    """The right pose somewhere among wrong ones, and one as likely turned by ``rival``; an Å of noise."""
    generator, n = torch.Generator().manual_seed(0), 200
    views = random_rotations(n, generator)
    rotation = random_rotations(n * hypotheses, generator).unflatten(0, (n, hypotheses))
    shift = 60 * (torch.rand(n, hypotheses, 2, generator=generator) - 0.5)
    score = torch.rand(n, hypotheses, generator=generator)
    right = rotation[:, 1]
    shift[:, 1] = ((views @ JOINT) - right @ PLACE)[:, :2] + torch.randn(n, 2, generator=generator)
    if rival is not None:
        rotation[:, 0], shift[:, 0] = right @ rival, shift[:, 1]
    score[:, :2] = 3.0
    return Sightings(rotation, shift, score), views


def test_the_joint_is_found_among_wrong_hypotheses():
    seen, views = sightings(8, None)
    joint, place = find_joint(seen, views, arm=30.0)
    # 200 images of two equations each, an Å of noise, a pull of a thousandth to where it began
    assert float((joint - JOINT).norm()) < 0.5
    assert float((place - PLACE).norm()) < 0.5


def test_of_two_ends_that_look_alike_either_may_be_the_one_that_is_held():
    """The part's place may come out turned end over end, the joint may not."""
    seen, views = sightings(2, END_OVER_END)
    joint, place = find_joint(seen, views, arm=30.0)
    assert float((joint - JOINT).norm()) < 0.5
    assert min(float((place - PLACE).norm()), float((place - END_OVER_END @ PLACE).norm())) < 0.5


def test_a_part_that_never_turns_keeps_the_joint_it_has():
    views = random_rotations(50, torch.Generator().manual_seed(1))
    still = Sightings(views[:, None], torch.zeros(50, 1, 2), torch.zeros(50, 1))
    joint, place = find_joint(still, views)
    assert float(joint.norm()) < 1e-3
    assert float(place.norm()) < 1e-3

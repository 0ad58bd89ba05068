"""Poses for any method: from images alone, or made better than those given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from morphem.core.types import Frame, Poses
from morphem.data.errors import DataError
from morphem.data.stack import ParticleStack
from morphem.engine.insertion import background_noise
from morphem.engine.run import Run
from morphem.inference.abinitio import Found, Start, first_map, global_pass
from morphem.inference.refine import Fit
from morphem.inference.rounds import PoseConfig, Refined, refine_poses
from morphem.inference.soundness import refuse_alike, refuse_few
from morphem.inference.store import collect
from morphem.metrics.poses import align_poses

Search = Literal["abinit", "refine"]
"""From images alone, or from the poses given."""


@dataclass(frozen=True)
class Posed:
    """Poses found, and how.

    Attributes:
        start: The first map, where there were no poses to begin with.
        refined: Where refinement ended.
    """

    start: Start | None
    refined: Refined

    @property
    def poses(self) -> Poses:
        """Of every image."""
        return self.refined.fit.poses


def find_poses(stack: ParticleStack, how: Search, config: PoseConfig, seed: int, run: Run) -> Posed:
    """Poses of all images against half maps that they make themselves, low frequencies first.

    One map stands for all states: where large parts move, each pose follows them in part, and what moved is
    told as less. Noise in the poses goes, a rigid motion that depends on the state comes.

    Args:
        stack: Prepared images.
        how: ``abinit``: a first map from random poses, then every image in it. ``refine``: from the poses of
            the stack, in whose frame they stay.
        config: How long and how fine.
        seed: Of everything random, half sets included.
        run: One stage a start and a round.
    """
    _refuse_tilts(stack)
    refuse_few(len(stack))
    rows = torch.arange(len(stack))
    limit = min(config.limit, stack.grid.box // 2 - 1)
    store = collect(stack, limit, background_noise(stack, rows, run), run)
    refuse_alike(store)
    halves = stack.halves(seed)
    if how == "abinit":
        start = first_map(store, config.starts, seed, run)
        found = global_pass(store, rows, (start.volume, start.limit), config.starts, run)
        return Posed(start, refine_poses(store, found, halves, config, run, start.limit))
    # look-alikes were ruled out by whoever gave the poses, and none is doubted
    config = replace(config, rounds=replace(config.rounds, mates=0))
    found = Found(given(stack.poses), torch.full((len(store),), torch.inf))
    refined = refine_poses(store, found, halves, config, run)
    fit = replace(refined.fit, poses=in_frame_of(stack.poses, refined.fit.poses))
    return Posed(None, replace(refined, fit=fit))


def given(poses: Poses) -> Fit:
    """Poses of which nothing is known but that they were given."""
    n = len(poses)
    return Fit(poses, torch.ones(n), torch.zeros(n), torch.zeros(n, 5, 5))


def in_frame_of(reference: Poses, found: Poses) -> Poses:
    """The poses found, less the one rigid motion of the molecule that sets most of them off the reference.

    No image can tell a molecule that moved from poses that all did.
    """
    return seen_in(found, align_poses(found, reference))


def seen_in(poses: Poses, frame: Frame) -> Poses:
    """Poses of the molecule before it was moved by ``frame``, ``x' = F x + o``, into that of ``poses``."""
    offset = poses.rotation[:, :2] @ frame.offset
    return Poses(poses.rotation @ frame.matrix, poses.shift + offset)


def _refuse_tilts(stack: ParticleStack) -> None:
    if stack.n_particles < len(stack):
        met = f"{len(stack)} images of {stack.n_particles} particles"
        fix = "images of a tilt series share one pose, which only the program that made them can refine"
        raise DataError("POSE-011", f"{met}: {fix}")

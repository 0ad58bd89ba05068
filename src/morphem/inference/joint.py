"""Poses and latents found together: Levenberg–Marquardt in a mean map and its directions.

A pose found in one map follows in part what its particle's own state moved, and a latent found at such a pose
is short of that part. Here both give way to each other, z held by its prior N(0, I).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import from_rotation_vector
from morphem.core.types import PerParticle, Poses, Volume
from morphem.engine.run import Run
from morphem.inference.abinitio import empty_fit
from morphem.inference.modes import ModeConfig, Modes
from morphem.inference.passes import blocks, put, remembered, shared
from morphem.inference.refine import Fit, chosen, next_damping, profile
from morphem.inference.rounds import Refined, common_shell, half_maps
from morphem.inference.store import Coefficients
from morphem.inference.subspace import (
    Latents,
    MixedSums,
    Setting,
    Spread,
    Subspace,
    explained,
    mixed_sums,
    no_latents,
    principal_turn,
    setting,
    spread_of,
    without_rigid_motion,
)
from morphem.inference.templates import PADDING, tables_of, working_grid
from morphem.physics.pose_gram import PoseTables, pose_gram
from morphem.physics.slices import padded_radius

_BLOCK = 64  # images refined at a time
_POSE = 5  # parameters of a pose
_STEPS = 2  # of poses and latents a round
_LONGEST = 0.2  # rad that a step turns at most
_FLOOR = 1e-6  # of the largest curvature: what no frequency tells stays where it is


@dataclass(frozen=True)
class Joint(PerParticle):
    """Where images are best explained in a subspace.

    Attributes:
        fit: Poses, contrasts and log-posteriors; of what is known of a pose, what stays with z unknown.
        latents: Likeliest beside the pose; covariances are those with the pose unknown.
    """

    fit: Fit
    latents: Latents


@dataclass(frozen=True)
class JointRule:
    """How poses and latents are found together.

    Attributes:
        rounds: Of maps, then poses and latents in them.
        steps: Of poses and latents a round.
        contrast_spread: Standard deviation of images' contrast about 1.
        common: Shell up to which both half sets see the maps of all images.
    """

    rounds: int
    steps: int
    contrast_spread: float
    common: int


def together(
    refined: Refined,
    half_sets: tuple[Tensor, Tensor],
    modes: Modes,
    how: tuple[ModeConfig, float],
    run: Run,
) -> tuple[Poses, Modes]:
    """Poses and latents along the directions found, at the poses' own limit; a stage of ``run``.

    Args:
        refined: Poses in maps of one shape.
        half_sets: Rows of each.
        modes: Directions, and latents at these poses.
        how: Rounds and limit, and the standard deviation of the contrast about 1.
        run: Whose stage.
    """
    config, spread = how
    limit = min(config.finest, refined.limit)
    identity: dict[str, Any] = {"limit": limit, "rounds": config.joint, "count": len(modes.space)}

    def make() -> dict[str, Tensor]:
        halves = refined.halves
        if limit < refined.limit:
            halves = half_maps(refined.store, refined.fit, half_sets, limit, run)
        where = setting(refined.store, refined.fit, halves, limit)
        rule = JointRule(config.joint, _STEPS, spread, common_shell(halves.fsc))
        found, space = find_together(where, half_sets, modes.latents, rule, run)
        poses, latents = vars(found.fit.poses), vars(found.latents)
        return {**poses, **{f"z_{name}": each for name, each in latents.items()}, **_maps_of(space)}

    kept = remembered(run.stage("joint"), identity, make)
    space = Subspace(kept["mean"], kept["directions"], working_grid(refined.store.disc.grid, limit))
    latents = Latents(kept["z_mean"], kept["z_covariance"], kept["z_evidence"])
    return Poses(kept["rotation"], kept["shift"]), replace(modes, space=space, latents=latents, limit=limit)


def find_together(
    where: Setting,
    half_sets: tuple[Tensor, Tensor],
    start: Latents,
    rule: JointRule,
    run: Run | None = None,
) -> tuple[Joint, Subspace]:
    """Maps of half sets, and poses and latents of their images, in turn; then the maps of all images.

    Low frequencies are those of all images, so that both halves keep one frame and one meaning of z; what
    lies beyond is told to an image by its own half alone. Cost of a round: a pass of
    :func:`morphem.inference.subspace.find_subspace`, and ``steps + 1`` slices of ``4 (1 + q)`` maps an image.

    Args:
        where: Images at the poses to begin with, and the limit to go to.
        half_sets: Rows of each.
        start: Latents to begin with; the first maps are made to them.
        rule: How long, and with what contrasts.
        run: Told how far the work is.
    """
    rows = torch.cat(half_sets).sort().values
    found = Joint(where.fit, start)
    for _ in range(rule.rounds):
        now = replace(where, fit=found.fit)
        spread = spread_of(found.latents[rows])
        begun = spread.of_latents(found.latents)
        spaces = _half_spaces(now, half_sets, (found.latents, spread), rule.common, run)
        found = empty_joint(*begun.mean.shape)
        for space, half in zip(spaces, half_sets, strict=True):
            place(now, half, (space, begun), (rule.steps, rule.contrast_spread), found, run)
        found = _balanced(shared(found), rows)
    return _concluded(replace(where, fit=found.fit), rows, found, run)


def empty_joint(n: int, width: int) -> Joint:
    """Nothing found of ``n`` images, zero."""
    return Joint(empty_fit(n), no_latents(n, width))


def place(
    where: Setting,
    rows: Int[Tensor, "m"],
    model: tuple[Subspace, Latents],
    how: tuple[int, float],
    found: Joint,
    run: Run | None = None,
) -> None:
    """Write poses and latents of images ``rows``, this process's share of them, into ``found``.

    Args:
        where: Poses to begin with, and the limit.
        rows: Which.
        model: The subspace, and latents to begin with.
        how: Steps, and the standard deviation of the contrast about 1.
        found: Of all images.
        run: Told how far the work is.
    """
    space, latents = model
    maps = [Volume(each, space.grid) for each in (space.mean, *space.directions)]
    tables = tables_of(maps, where.store.disc, where.limit)
    for block in blocks(rows, _BLOCK, run, "poses and latents"):
        images = where.store.read(block, where.limit)
        start = where.fit.poses[block], latents.mean[block]
        put(found, block, jointly(images, tables, start, *how))


@torch.no_grad()
def jointly(
    images: Coefficients,
    tables: PoseTables,
    start: tuple[Poses, Float[Tensor, "b q"]],
    steps: int,
    spread: float,
) -> Joint:
    """Poses and latents of greatest posterior probability near ``start``, the contrast profiled out.

    Each image has its own damping, and a step that does not help is not taken.

    Args:
        images: What was seen.
        tables: Of the mean map and the directions.
        start: Poses and latents.
        steps: How many are tried.
        spread: Standard deviation of the contrast about 1.
    """
    here = _judged(images, tables, start, spread)
    damping = torch.full((len(images),), 1e-3)
    for _ in range(steps):
        there = _judged(images, tables, _step(here, damping), spread)
        better = there.score > here.score
        here = chosen(better, there, here)
        damping = next_damping(damping, better)
    return _summary(here)


@dataclass(frozen=True)
class _Judged(PerParticle):
    poses: Poses
    z: Float[Tensor, "b q"]
    contrast: Float[Tensor, "b"]
    score: Float[Tensor, "b"]
    pull: Float[Tensor, "b p"]
    curvature: Float[Tensor, "b p p"]
    gram: Float[Tensor, "b k k"]


def _judged(
    images: Coefficients, tables: PoseTables, at: tuple[Poses, Float[Tensor, "b q"]], spread: float
) -> _Judged:
    """The log-posterior, half its slope and half its curvature to the pose and z."""
    (poses, z), q = at, at[1].shape[1]
    weights = torch.cat([torch.ones(len(z), 1), z], 1)
    gram = pose_gram(tables, poses.rotation, poses.shift, images.transfer, images.values, weights)
    mixture = _mixture(z)
    found = profile(mixture @ gram @ mixture.mT, spread)
    pull, curvature = found.pull.clone(), found.curvature.clone()
    pull[:, _POSE:] -= z / 2
    curvature[:, _POSE:, _POSE:] += torch.eye(q) / 2
    score = found.score - z.square().sum(1) / 2
    return _Judged(poses, z, found.contrast, score, pull, curvature, gram)


def _mixture(z: Float[Tensor, "b q"]) -> Float[Tensor, "b k k"]:
    """From (5 slopes, mean, directions, image) to (5 slopes, directions, mean + Σ z direction, image)."""
    n, q = z.shape
    mixture = torch.eye(_POSE + q + 2).repeat(n, 1, 1)
    middle = mixture[:, _POSE:-1, _POSE:-1]
    middle[:] = middle.roll(-1, 1)
    middle[:, -1, 1:] = z
    return mixture


def _step(here: _Judged, damping: Float[Tensor, "b"]) -> tuple[Poses, Float[Tensor, "b q"]]:
    own = here.curvature.diagonal(dim1=1, dim2=2)
    damped = _firm(here.curvature) + torch.diag_embed(damping[:, None] * own)
    turn, move, change = torch.linalg.solve(damped, here.pull).split([3, 2, here.z.shape[1]], 1)
    length = turn.norm(dim=1, keepdim=True).clamp(min=1e-12)
    turn = turn * (length.clamp(max=_LONGEST) / length)
    moved = Poses(from_rotation_vector(turn) @ here.poses.rotation, here.poses.shift + move)
    return moved, here.z + change


def _firm(curvature: Float[Tensor, "b p p"]) -> Float[Tensor, "b p p"]:
    """The curvature with a little more of its own, so that it has an inverse."""
    own = curvature.diagonal(dim1=1, dim2=2)
    return curvature + torch.diag_embed(_FLOOR * own.amax(1, keepdim=True).expand_as(own))


def _summary(here: _Judged) -> Joint:
    """What the curvature leaves open of pose and z, each with the other unknown."""
    # twice: the squares of both parts of a coefficient count once in the likelihood, half in the information
    known = 2 * _firm(here.curvature).double()
    pose, cross, own = known[:, :_POSE, :_POSE], known[:, :_POSE, _POSE:], known[:, _POSE:, _POSE:]
    information = pose - cross @ torch.linalg.solve(own, cross.mT)
    covariance = torch.linalg.inv(own - cross.mT @ torch.linalg.solve(pose, cross))
    fit = Fit(here.poses, here.contrast, here.score, information.to(here.z))
    return Joint(fit, Latents(here.z, covariance.to(here.z), _evidence(here.gram, here.contrast)))


def _evidence(gram: Float[Tensor, "b k k"], contrast: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Log-likelihood with z integrated out above that of the mean map alone, at one pose and contrast."""
    c, slopes = contrast[:, None], slice(_POSE + 1, -1)
    pull = 2 * c * (gram[:, slopes, -1] - c * gram[:, slopes, _POSE])
    precision = 2 * c[..., None] ** 2 * gram[:, slopes, slopes]
    precision = precision + torch.eye(precision.shape[1])
    mean = torch.linalg.solve(precision, pull)
    return 0.5 * (pull * mean).sum(1) - 0.5 * torch.logdet(precision)


def _half_spaces(
    where: Setting,
    half_sets: tuple[Tensor, Tensor],
    known: tuple[Latents, Spread],
    common: int,
    run: Run | None,
) -> Iterator[Subspace]:
    """Maps of each half set beyond shell ``common``, of both up to it."""
    latents, spread = known
    one, two = (mixed_sums(where, rows, latents, run) for rows in half_sets)
    edge = one.weight.shape[-1] - 1
    low = padded_radius(2 * edge, one.weight.device) <= PADDING * common
    half = replace(where, share=where.share / (2 - where.share))  # of a map of half as many images
    numerator, weight = (one.numerator + two.numerator) / 2, (one.weight + two.weight) / 2
    for own in (one, two):
        sums = MixedSums(torch.where(low, numerator, own.numerator), torch.where(low, weight, own.weight))
        yield without_rigid_motion(where, spread.of_maps(explained(half, sums)))


def _balanced(found: Joint, rows: Int[Tensor, "m"]) -> Joint:
    """The same with a mean contrast of 1."""
    fit = replace(found.fit, contrast=found.fit.contrast / found.fit.contrast[rows].mean())
    return replace(found, fit=fit)


def _maps_of(space: Subspace) -> dict[str, Tensor]:
    return {"mean": space.mean, "directions": space.directions}


def _concluded(
    where: Setting, rows: Int[Tensor, "m"], found: Joint, run: Run | None
) -> tuple[Joint, Subspace]:
    """Maps of all images, and latents along their principal directions."""
    space = explained(where, mixed_sums(where, rows, found.latents, run))
    spread = spread_of(found.latents[rows])
    space = without_rigid_motion(where, spread.of_maps(space))
    turn = principal_turn(where, space)
    latents = turn.of_latents(spread.of_latents(found.latents))
    return replace(found, latents=latents), turn.of_maps(space)

"""Poses brought to the nearest peak of the likelihood: Levenberg–Marquardt with analytic derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from morphem.core.rotations import from_rotation_vector
from morphem.core.types import PerParticle, Poses, Volume
from morphem.inference.store import Coefficients, Disc
from morphem.inference.templates import with_gradients
from morphem.physics.pose_gram import pose_gram

_TIMID, _BOLD = 1e-3, 1e6  # range of the damping, as a share of the curvature
_SMALLER, _LARGER = 0.2, 8.0  # factors on it after a step that helped, and one that did not


@dataclass(frozen=True)
class Fit(PerParticle):
    """Where images are best explained, and how well.

    Attributes:
        poses: Of each image.
        contrast: Factor on its signal.
        score: Log-likelihood above that of an image without a particle.
        information: Of the rotation about x, y and the beam (rad) and the shift (Å), the contrast known.
    """

    poses: Poses
    contrast: Float[Tensor, "b"]
    score: Float[Tensor, "b"]
    information: Float[Tensor, "b 5 5"]


Products = Callable[[Poses, Coefficients], Float[Tensor, "b 7 7"]]
"""Sums ``Re Σ a* b`` of all pairs: 5 slopes (rotation about view x, y, beam; shift x, y), model, image."""


@dataclass(frozen=True)
class Linear(PerParticle):
    """A model and its derivatives to rotation vector (view frame, rad) and shift (Å), whitened.

    Attributes:
        model: Expected coefficients at contrast 1.
        slopes: Five derivatives of the model.
    """

    model: Complex[Tensor, "b m"]
    slopes: Complex[Tensor, "b 5 m"]


Linearised = Callable[[Poses, Coefficients], Linear]


def map_products(volume: Volume, places: Disc, limit: int) -> Products:
    """Products of images with one map within ``limit``, by the fused kernel."""
    tables = with_gradients(volume, places, limit)

    def at(poses: Poses, images: Coefficients) -> Float[Tensor, "b 7 7"]:
        return pose_gram(tables, poses.rotation, poses.shift, images.transfer, images.values)

    return at


def products_of(model: Linearised) -> Products:
    """Products of images with any model that knows its derivatives."""

    def at(poses: Poses, images: Coefficients) -> Float[Tensor, "b 7 7"]:
        here = model(poses, images)
        columns = torch.cat([here.slopes, here.model[:, None], images.values[:, None]], 1)
        flat = torch.view_as_real(columns).flatten(2)
        return flat @ flat.mT

    return at


@torch.no_grad()
def refine(images: Coefficients, model: Products, start: Poses, steps: int, spread: float = math.inf) -> Fit:
    """Poses of greatest likelihood near ``start``, the contrast free.

    Each image has its own damping, and a step that does not help is not taken. One slice of four maps a step.

    Args:
        images: What was seen.
        model: What is expected, with its derivatives, beside what was seen.
        start: Within some 15° of the answer.
        steps: How many are tried.
        spread: Standard deviation of the contrast about 1; infinite where nothing is known of it.
    """
    here = _judged(model(start, images), start, spread)
    damping = torch.full((len(images),), 1e-2)
    for _ in range(steps):
        there = _step(here, damping)
        tried = _judged(model(there, images), there, spread)
        better = tried.fit.score > here.fit.score
        here = chosen(better, tried, here)
        damping = next_damping(damping, better)
    return here.fit


@dataclass(frozen=True)
class _Judged(PerParticle):
    fit: Fit
    pull: Float[Tensor, "b 5"]


def _judged(gram: Float[Tensor, "b 7 7"], poses: Poses, spread: float) -> _Judged:
    found = profile(gram, spread)
    # twice: the squares of both parts of a coefficient count once in the likelihood, half in the information
    return _Judged(Fit(poses, found.contrast, found.score, 2 * found.curvature), found.pull)


@dataclass(frozen=True)
class Profile(PerParticle):
    """A log-likelihood ``−Σ|y − c x|² − (c − 1)² / 2 s²`` at its best contrast, and around it.

    Attributes:
        contrast: The best ``c``, not below 0.
        score: Log-likelihood above that of an image without a particle.
        pull: Half its slope to each parameter of the model.
        curvature: Half its curvature, once the contrast follows.
    """

    contrast: Float[Tensor, "b"]
    score: Float[Tensor, "b"]
    pull: Float[Tensor, "b q"]
    curvature: Float[Tensor, "b q q"]


def profile(gram: Float[Tensor, "b k k"], spread: float) -> Profile:
    """The likelihood from sums of products of the model's slopes, the model and the image, in this order.

    Args:
        gram: ``Re Σ a* b`` of all pairs.
        spread: Standard deviation of the contrast about 1; 0 keeps it there, infinite leaves it free.
    """
    q = gram.shape[-1] - 2
    known = spread**-2 / 2 if spread else math.inf
    power = gram[:, q, q] + known
    contrast = likeliest_contrast(gram[:, q, q], gram[:, q, q + 1], spread)
    fall = known * (contrast - 1).square() if spread else torch.zeros_like(power)
    score = 2 * contrast * gram[:, q, q + 1] - contrast.square() * gram[:, q, q] - fall
    slopes = contrast[:, None] * gram[:, :q, q]
    pull = contrast[:, None] * (gram[:, :q, q + 1] - slopes)
    curvature = contrast.square()[:, None, None] * gram[:, :q, :q]
    curvature = curvature - slopes[:, :, None] * slopes[:, None] / power.clamp(min=1e-30)[:, None, None]
    return Profile(contrast, score, pull, curvature)


def likeliest_contrast(
    power: Float[Tensor, "b"], match: Float[Tensor, "b"], spread: float
) -> Float[Tensor, "b"]:
    """Best factor on a model, from its square and its product with the image; not below 0."""
    if not spread:
        return torch.ones_like(power)
    known = spread**-2 / 2
    return ((match + known) / (power + known).clamp(min=1e-30)).clamp(min=0)


def best_rows(score: Float[Tensor, "_"], count: int) -> Int[Tensor, "b"]:
    """Row of the likeliest fit of each image, of which there are ``count`` one after another."""
    scores = score.view(-1, count)
    return scores.argmax(1) + count * torch.arange(len(scores))


def next_damping(damping: Float[Tensor, "b"], better: Bool[Tensor, "b"]) -> Float[Tensor, "b"]:
    """Less after a step that helped, more after one that did not."""
    return (damping * torch.where(better, _SMALLER, _LARGER)).clamp(_TIMID, _BOLD)


def _step(here: _Judged, damping: Float[Tensor, "b"]) -> Poses:
    curvature = here.fit.information / 2
    own = curvature.diagonal(dim1=1, dim2=2)
    floor = 1e-6 * own.amax(1, keepdim=True).clamp(min=1e-20)
    damped = curvature + torch.diag_embed(damping[:, None] * own + floor)
    change = torch.linalg.solve(damped, here.pull)
    turn, move = change.split([3, 2], 1)
    length = turn.norm(dim=1, keepdim=True).clamp(min=1e-12)
    turn = turn * (length.clamp(max=0.2) / length)
    poses = here.fit.poses
    return Poses(from_rotation_vector(turn) @ poses.rotation, poses.shift + move)


Record = TypeVar("Record", bound=PerParticle)


def chosen(first: Bool[Tensor, "b"], a: Record, b: Record) -> Record:
    """Row by row, of ``a`` where ``first``, else of ``b``."""
    fields: dict[str, Tensor | PerParticle] = {}
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, PerParticle):
            fields[name] = chosen(first, value, other)
        else:
            fields[name] = torch.where(first.view(-1, *[1] * (value.ndim - 1)), value, other)
    return replace(a, **fields)

"""Poses brought to the nearest peak of the likelihood: Levenberg–Marquardt with analytic derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from morphem.core.rotations import from_rotation_vector
from morphem.core.types import PerParticle, Poses
from morphem.inference.search import ramps
from morphem.inference.store import Coefficients, Disc
from morphem.inference.templates import Templates

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


def linearised(maps: Templates, places: Disc) -> Linearised:
    """Model of one map, from :func:`morphem.inference.templates.with_gradients`.

    A turn by ω in the view frame moves a frequency k to ``k − ω × k``, so that
    ``∂S/∂ω = (R ∇V) × k``, with k in the plane.
    """
    plane = places.places[: places.count(maps.limit)].float()
    frequencies = places.frequencies(maps.limit)

    def at(poses: Poses, images: Coefficients) -> Linear:
        found = maps.slices(poses.rotation)
        filtered = images.transfer * ramps(places, maps.limit, poses.shift)
        model = found[0] * filtered
        gradient = -1j * torch.einsum("bij,jbm->bim", poses.rotation.to(found.dtype), found[1:])
        x, y = plane.T
        turns = [-y * gradient[:, 2], x * gradient[:, 2], y * gradient[:, 0] - x * gradient[:, 1]]
        moves = -2j * math.pi * frequencies.T * model[:, None]
        return Linear(model, torch.cat([torch.stack(turns, 1) * filtered[:, None], moves], 1))

    return at


@torch.no_grad()
def refine(
    images: Coefficients, model: Linearised, start: Poses, steps: int, spread: float = math.inf
) -> Fit:
    """Poses of greatest likelihood near ``start``, the contrast free.

    Each image has its own damping, and a step that does not help is not taken. One slice of four maps a step.

    Args:
        images: What was seen.
        model: What is expected, with derivatives.
        start: Within some 15° of the answer.
        steps: How many are tried.
        spread: Standard deviation of the contrast about 1; infinite where nothing is known of it.
    """
    here = _judged(images, model(start, images), start, spread)
    damping = torch.full((len(images),), 1e-2)
    for _ in range(steps):
        there = _step(here, damping)
        tried = _judged(images, model(there, images), there, spread)
        better = tried.fit.score > here.fit.score
        here = chosen(better, tried, here)
        damping = (damping * torch.where(better, _SMALLER, _LARGER)).clamp(_TIMID, _BOLD)
    return here.fit


@dataclass(frozen=True)
class _Judged(PerParticle):
    fit: Fit
    pull: Float[Tensor, "b 5"]


def _judged(images: Coefficients, there: Linear, poses: Poses, spread: float) -> _Judged:
    """Likelihood at the best contrast, with the curvature and slope that are left once it follows."""
    flat = _real(torch.cat([there.slopes, there.model[:, None], images.values[:, None]], 1))
    gram = flat @ flat.mT
    known = spread**-2 / 2  # Σ|y − c x|² + (c − 1)² / 2 spread²
    power = gram[:, 5, 5] + known
    contrast = ((gram[:, 5, 6] + known) / power.clamp(min=1e-30)).clamp(min=0)
    score = 2 * contrast * gram[:, 5, 6] - contrast.square() * gram[:, 5, 5] - known * (contrast - 1).square()
    slopes = contrast[:, None] * gram[:, :5, 5]
    pull = contrast[:, None] * (gram[:, :5, 6] - slopes)
    curvature = contrast.square()[:, None, None] * gram[:, :5, :5]
    curvature = curvature - slopes[:, :, None] * slopes[:, None] / power.clamp(min=1e-30)[:, None, None]
    # twice: the squares of both parts of a coefficient count once in the likelihood, half in the information
    return _Judged(Fit(poses, contrast, score, 2 * curvature), pull)


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


def _real(values: Complex[Tensor, "b k m"]) -> Float[Tensor, "b k _"]:
    return torch.view_as_real(values).flatten(2)

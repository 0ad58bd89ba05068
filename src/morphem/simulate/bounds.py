"""The least error that images allow anyone: Cramér–Rao bounds of states, rotations and shifts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.fourier import half_plane_weights
from morphem.core.rotations import from_rotation_vector
from morphem.physics.imaging import form_image
from morphem.simulate.ensembles import AbstractMatter, Coordinate, PointEnsemble
from morphem.simulate.particles import Truth, noise_amplitude

_POSE = (
    "rotation about x (rad)",
    "rotation about y (rad)",
    "rotation about the beam (rad)",
    "shift along x (Å)",
    "shift along y (Å)",
)
_STEP = 0.02  # pixels by which what moves most is moved to either side: an error of 0.2 % at most
_BLOCK = 64  # images whose derivatives are in memory
_MOST = 1_000  # states along a motion, so close that what lies between them moves straight


@dataclass(frozen=True)
class CramerRao:
    """Least standard deviation of an unbiased estimate from each image, the densities being known.

    Attributes:
        alone: If all else were known of the image.
        joint: If nothing were; all are found together.
        names: Of the columns: continuous coordinates of the state, rotations in the view frame, shifts.
    """

    alone: Float[Tensor, "n k"]
    joint: Float[Tensor, "n k"]
    names: tuple[str, ...]


def cramer_rao(truth: Truth) -> CramerRao:
    """Bounds of every image of ``truth``, a few dozen milliseconds each.

    The information ``Σ |∂I/∂a ∂I/∂b| / noise`` is that of exact noise-free images, differentiated by
    differences. Discrete states of a linear or circular coordinate count as points of a motion: atoms move
    along the chords between neighbouring states. Coordinates without an order have no bound.
    """
    blocks = torch.arange(len(truth)).split(_BLOCK)
    information = torch.cat([_information(truth[rows]) for rows in blocks])
    own = information.diagonal(dim1=1, dim2=2)
    scale = own.clamp(min=1e-30).rsqrt()
    values, vectors = torch.linalg.eigh(information * scale[:, :, None] * scale[:, None])
    together = (vectors.square() / values.clamp(min=1e-12)[:, None]).sum(-1)
    names = *(c.name for _, c in _continuous(truth)), *_POSE
    return CramerRao(own.rsqrt().float(), (scale * together.sqrt()).float(), names)


def _continuous(truth: Truth) -> list[tuple[int, Coordinate]]:
    """Coordinates that have a bound, by number."""
    numbered = enumerate(truth.ensemble.coordinates)
    return [(q, c) for q, c in numbered if c.kind in ("linear", "circular")]


def _information(truth: Truth) -> Float[Tensor, "n k k"]:
    """Fisher information of each image, float64; nil for junk."""
    slopes = torch.stack(list(_slopes(truth)), 1) * truth.unit / noise_amplitude(truth)[..., None, :, :]
    slopes = slopes * truth.intact[:, None, None, None]
    weight = (half_plane_weights(truth.grid.box) / truth.grid.box**2).sqrt()
    flat = torch.view_as_real(slopes * weight).flatten(2).double()
    return flat @ flat.mT


def _slopes(truth: Truth) -> Iterator[Complex[Tensor, "n d h"]]:
    """Derivative of the noise-free image to each parameter, in the order of the names."""
    for q, coordinate in _continuous(truth):
        yield _slope_of_state(truth, q, coordinate)
    turn = 3 * _STEP / truth.grid.box  # moves what is a third of the box from the centre by the step
    for axis in torch.eye(3):
        turned = [from_rotation_vector(sign * turn * axis) @ truth.poses.rotation for sign in (1, -1)]
        yield _difference(truth, lambda rotation: _projection(truth, rotation), turned) / (2 * turn)
    projection = _projection(truth, truth.poses.rotation)
    step = _STEP * truth.grid.pixel_size
    for axis in torch.eye(2):
        shifts = [truth.poses.shift + sign * step * axis for sign in (1, -1)]
        images = [form_image(projection, truth.optics, shift, truth.grid) for shift in shifts]
        yield (images[0] - images[1]) / (2 * step)


def _difference(
    truth: Truth, project: Callable[[Tensor], Complex[Tensor, "n d h"]], places: list[Tensor]
) -> Complex[Tensor, "n d h"]:
    """Image at the first place less that at the second."""
    difference = project(places[0]) - project(places[1])
    return form_image(difference, truth.optics, truth.poses.shift, truth.grid)


def _projection(truth: Truth, rotation: Float[Tensor, "n 3 3"]) -> Complex[Tensor, "n d h"]:
    return truth.ensemble.projections(truth.state, rotation, truth.grid)


def _slope_of_state(truth: Truth, q: int, coordinate: Coordinate) -> Complex[Tensor, "n d h"]:
    """Derivative to one coordinate: of points along their path, of maps by neighbouring ones."""
    before, after, span = _neighbours(truth, q, coordinate)
    if not isinstance(truth.ensemble, PointEnsemble):
        project, rotation = truth.ensemble.projections, truth.poses.rotation
        return _difference(truth, lambda s: project(s, rotation, truth.grid), [after, before]) / span
    velocity = (truth.ensemble.points(after)[0] - truth.ensemble.points(before)[0]) / span
    return _slope_of_points(truth, truth.ensemble.matter, velocity)


def _slope_of_points(
    truth: Truth, matter: AbstractMatter, velocity: Float[Tensor, "n g 3"]
) -> Complex[Tensor, "n d h"]:
    """Derivative of images whose points move with ``velocity``."""
    positions, presence = truth.ensemble.points(truth.state)
    fastest = float(velocity.norm(dim=-1).max())
    step = _STEP * truth.grid.pixel_size / max(fastest, 1e-12)
    places = [positions + sign * step * velocity for sign in (1, -1)]
    rotation, grid = truth.poses.rotation, truth.grid
    return _difference(truth, lambda p: matter.projections(p, presence, rotation, grid), places) / (2 * step)


def _neighbours(
    truth: Truth, q: int, coordinate: Coordinate
) -> tuple[Float[Tensor, "n q"], Float[Tensor, "n q"], Float[Tensor, "n 1 1"]]:
    """States below and above each particle's that the ensemble tells apart, and how far apart these are.

    At an end of the range the particle's own state takes the place of the one that is not there.
    """
    keys = truth.ensemble.landmarks(_MOST)[0][:, q].unique()
    if len(keys) < 2:
        raise ValueError(f"{coordinate.name} of {truth.ensemble.name} has one value; nothing can be bounded")
    period = 2 * math.pi if coordinate.kind == "circular" else 0.0
    known = torch.cat([keys - period, keys, keys + period]) if period else keys
    value = truth.state[:, q].contiguous()
    slack = 1e-3 * float(keys.diff().median())
    below = torch.searchsorted(known, value - slack) - 1
    above = torch.searchsorted(known, value + slack)
    low = torch.where(below >= 0, known[below.clamp(min=0)], value)
    high = torch.where(above < len(known), known[above.clamp(max=len(known) - 1)], value)
    before, after = (_with_column(truth.state, q, _wrapped(column, period)) for column in (low, high))
    return before, after, (high - low)[:, None, None]


def _wrapped(values: Float[Tensor, "n"], period: float) -> Float[Tensor, "n"]:
    """Values from 0 to the period, if there is one."""
    return torch.remainder(values, period) if period else values


def _with_column(state: Float[Tensor, "n q"], q: int, column: Float[Tensor, "n"]) -> Float[Tensor, "n q"]:
    out = state.clone()
    out[:, q] = column
    return out

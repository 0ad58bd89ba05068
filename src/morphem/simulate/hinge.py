"""The ``hinge``: a body, a domain that swings on a linker, and one that is not always there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import from_rotation_vector
from morphem.simulate.ensembles import AbstractMotion, Bodies, Coordinate, PointEnsemble, moved
from morphem.simulate.matter import GaussianMatter

BODY, SWINGING, OPTIONAL = 0, 1, 2
SCALE = 3.0  # Å, standard deviation of a Gaussian (B = 8π²·9 = 710 Å²): 6 % of its amplitude left at 8 Å
SPACING = 5.4  # Å, least distance of two Gaussians of a domain

# Each domain is the union of balls (x, y, z, radius in Å), unlike its mirror image.
_DOMAINS = {
    BODY: ((0, -38, 4, 29), (-21, -48, 17, 20), (16, -54, -13, 19)),
    SWINGING: ((7, 39, 6, 21), (18, 54, -6, 14), (-4, 50, 16, 12)),
    OPTIONAL: ((-52, -5, -5, 19), (-61, 10, 7, 13), (-49, 0, 17, 10)),
}
# Linkers, start to end; the swinging one turns about its own start.
_LINKERS = {
    BODY: ((5, -11, 5), (8, 2, 6)),
    SWINGING: ((8, 7, 6), (8, 19, 6)),
    OPTIONAL: ((-26, -20, 0), (-36, -13, -3)),
}
_AXIS = (0.24, -0.17, -0.956)  # x y z; B swings from +y towards +x


@dataclass(frozen=True)
class HingeMotion(AbstractMotion):
    """State: the angle of the swinging domain, rad, and whether the optional domain is there, 1 or 0.

    Attributes:
        centres: Points at angle 0.
        labels: 0 body, 1 swinging domain, 2 optional domain.
        pivot: A point on the hinge's axis, Å.
        axis: Its direction, a unit vector.
        swing: Largest angle, rad; angles are uniform from 0.
        presence: Share of particles that have the optional domain, whatever their angle.
    """

    centres: Float[Tensor, "g 3"]
    labels: Int[Tensor, "g"]
    pivot: Float[Tensor, "3"]
    axis: Float[Tensor, "3"]
    swing: float
    presence: float
    coordinates = (Coordinate("angle (rad)", "linear"), Coordinate("optional domain (0 or 1)", "binary"))

    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å) and presence of every Gaussian."""
        return moved(self.centres, self.labels, self.bodies(state))

    def rest(self) -> Float[Tensor, "g 3"]:
        """Positions at angle 0."""
        return self.centres

    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies:
        """The second body turns about the hinge, the third comes and goes."""
        rotation = torch.eye(3).to(state).repeat(len(state), 3, 1, 1)
        rotation[:, SWINGING] = from_rotation_vector(state[:, :1] * self.axis.to(state))
        offset = self.pivot.to(state) - torch.einsum("bmij,j->bmi", rotation, self.pivot.to(state))
        there = torch.ones_like(offset[..., 0])
        there[:, OPTIONAL] = state[:, 1]
        return Bodies(rotation, offset, there)

    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """Angle proportional to the first number; the domain is there where the second is small."""
        return torch.stack([uniform[:, 0] * self.swing, (uniform[:, 1] < self.presence).to(uniform)], -1)

    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """Middles of ``count`` equal ranges of the angle, with and without the optional domain."""
        angles = (torch.arange(count) + 0.5) / count * self.swing
        states = torch.cartesian_prod(angles, torch.tensor([1.0, 0.0]))
        shares = torch.tensor([self.presence, 1 - self.presence]).repeat(count) / count
        return states, shares


def hinge(swing: float = math.pi / 3, presence: float = 0.7) -> PointEnsemble:
    """Three globular domains of Gaussians, 150 Å across, the same on every call.

    The body is the largest; the second domain swings about an axis through its linker; the third is there
    in a share ``presence`` of particles. Amplitudes vary between Gaussians, so that each domain has texture
    at every resolution. At every angle, Gaussians of two bodies are at least 5 Å apart.

    Args:
        swing: Largest angle, rad.
        presence: Share of particles that have the third domain.
    """
    generator = torch.Generator().manual_seed(7)
    parts = [torch.cat([packed(_DOMAINS[body], generator), _line(*_LINKERS[body])]) for body in _DOMAINS]
    labels = torch.cat([torch.full((len(part),), body) for body, part in zip(_DOMAINS, parts, strict=True)])
    centres = torch.cat(parts)
    amplitudes = 0.4 + 1.2 * torch.rand(len(centres), generator=generator)
    matter = GaussianMatter(torch.full_like(amplitudes, SCALE), amplitudes)
    axis = torch.nn.functional.normalize(torch.tensor(_AXIS), dim=0)
    pivot = torch.tensor(_LINKERS[SWINGING][0]).float()
    return PointEnsemble("hinge", matter, HingeMotion(centres, labels, pivot, axis, swing, presence))


def packed(
    balls: tuple[tuple[float, float, float, float], ...], generator: torch.Generator
) -> Float[Tensor, "m 3"]:
    """Random points of a union of balls, none closer to another than ``SPACING``; as many as fit."""
    shape = torch.tensor(balls).float()
    low, high = ((shape[:, :3] + sign * shape[:, 3:]) for sign in (-1, 1))
    low, high = low.amin(0), high.amax(0)
    free = low + (high - low) * torch.rand(30_000, 3, generator=generator)
    free = free[(torch.cdist(free, shape[:, :3]) < shape[:, 3]).any(1)]
    chosen = []
    while len(free):
        chosen.append(free[0])
        free = free[(free - free[0]).square().sum(1) > SPACING**2]
    return torch.stack(chosen)


def _line(start: tuple[float, float, float], end: tuple[float, float, float]) -> Float[Tensor, "m 3"]:
    """Four points from start to end."""
    a, b = torch.tensor(start).float(), torch.tensor(end).float()
    return a + (b - a) * torch.linspace(0, 1, 4)[:, None]

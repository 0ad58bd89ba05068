"""Molecules that take many states: what is there, where it is in each state, and how images see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Frame, PerParticle, Volume

_POINTS = 2_000_000  # whose positions are in memory at a time


@dataclass(frozen=True)
class Coordinate:
    """What one number of a state means.

    Attributes:
        name: In words, with its unit.
        kind: ``linear``; ``circular``, with a period of 2π rad; ``binary``, 0 or 1; ``label``, numbers
            without order.
    """

    name: str
    kind: Literal["linear", "circular", "binary", "label"]


@dataclass(frozen=True)
class Bodies(PerParticle):
    """Where the rigid bodies of each state are, ``r = rotation @ r_rest + offset``.

    Attributes:
        rotation: About the origin.
        offset: Å.
        presence: Factor on each body's density, 0 where it is absent.
    """

    rotation: Float[Tensor, "b m 3 3"]
    offset: Float[Tensor, "b m 3"]
    presence: Float[Tensor, "b m"]


class AbstractEnsemble(ABC):
    """A molecule and the states it takes; a state is a row of ``q`` coordinates.

    Attributes:
        name: How to call it.
    """

    name: str

    @property
    @abstractmethod
    def coordinates(self) -> tuple[Coordinate, ...]:
        """Meaning of each number of a state."""

    @property
    @abstractmethod
    def labels(self) -> Int[Tensor, "g"]:
        """Rigid body, 0 … m − 1, of each point; all −1 where points move by themselves."""

    @abstractmethod
    def projections(
        self, state: Float[Tensor, "b q"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Exact band-limited spectrum of each state's projection."""

    @abstractmethod
    def map(self, state: Float[Tensor, "q"], grid: Grid, frame: Frame | None = None) -> Volume:
        """Exact band-limited density of a state, in another frame if one is given."""

    @abstractmethod
    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å) and presence (0 to 1) of atoms or Gaussians; none for molecules made of maps."""

    @abstractmethod
    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies | None:
        """Poses of the rigid bodies; None for a molecule that does not move by rigid bodies."""

    @abstractmethod
    def body_map(self, body: int, grid: Grid) -> Volume:
        """Exact density of one body at rest, all there; it needs :meth:`bodies`."""

    @abstractmethod
    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """The population's states at quantiles between 0 and 1, one per coordinate."""

    @abstractmethod
    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """States that cover the population, and the share of each; all of them where states are discrete.

        Args:
            count: How many along a continuous motion.
        """


class AbstractMatter(ABC):
    """What a point of a molecule scatters."""

    @abstractmethod
    def projections(
        self,
        positions: Float[Tensor, "b g 3"],
        presence: Float[Tensor, "b g"],
        rotation: Float[Tensor, "b 3 3"],
        grid: Grid,
    ) -> Complex[Tensor, "b d h"]:
        """Spectra of projections of points at ``positions`` (Å)."""

    @abstractmethod
    def map(self, positions: Float[Tensor, "g 3"], presence: Float[Tensor, "g"], grid: Grid) -> Volume:
        """Density whose central slices are :meth:`projections`."""


class AbstractMotion(ABC):
    """Where the points of a molecule are in each state, and how often each state is met."""

    coordinates: tuple[Coordinate, ...]
    labels: Int[Tensor, "g"]

    @abstractmethod
    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å) and presence of every point."""

    @abstractmethod
    def rest(self) -> Float[Tensor, "g 3"]:
        """Positions that :meth:`bodies` moves."""

    @abstractmethod
    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies | None:
        """Poses of rigid bodies; None where points move by themselves."""

    @abstractmethod
    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """States at quantiles of the population."""

    @abstractmethod
    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """States that cover the population, and their shares."""


@dataclass(frozen=True)
class PointEnsemble(AbstractEnsemble):
    """Points that scatter as ``matter`` says and move as ``motion`` says."""

    name: str
    matter: AbstractMatter
    motion: AbstractMotion

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """Of the motion."""
        return self.motion.coordinates

    @property
    def labels(self) -> Int[Tensor, "g"]:
        """Of the motion."""
        return self.motion.labels

    def projections(
        self, state: Float[Tensor, "b q"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Exact band-limited spectrum of each state's projection."""
        block = max(1, _POINTS // max(1, len(self.labels)))
        pairs = zip(state.split(block), rotation.split(block), strict=True)
        return torch.cat([self.matter.projections(*self.points(s), r, grid) for s, r in pairs])

    def map(self, state: Float[Tensor, "q"], grid: Grid, frame: Frame | None = None) -> Volume:
        """Exact band-limited density of a state, in another frame if one is given."""
        positions, presence = self.points(state[None])
        placed = positions[0] if frame is None else positions[0] @ frame.matrix.mT + frame.offset
        return self.matter.map(placed, presence[0], grid)

    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å) and presence of every point."""
        return self.motion.points(state)

    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies | None:
        """Poses of the rigid bodies."""
        return self.motion.bodies(state)

    def body_map(self, body: int, grid: Grid) -> Volume:
        """Exact density of one body at rest."""
        return self.matter.map(self.motion.rest(), (self.labels == body).float(), grid)

    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """States at quantiles of the population."""
        return self.motion.states(uniform)

    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """States that cover the population, and their shares."""
        return self.motion.landmarks(count)


def embedded(coordinates: tuple[Coordinate, ...], state: Float[Tensor, "n q"]) -> Float[Tensor, "n e"]:
    """States as points between which distances mean something: circles as circles."""
    columns = []
    for column, coordinate in zip(state.T, coordinates, strict=True):
        circular = coordinate.kind == "circular"
        columns += [column.cos(), column.sin()] if circular else [column]
    return torch.stack(columns, 1)


def moved(
    rest: Float[Tensor, "g 3"], labels: Int[Tensor, "g"], bodies: Bodies
) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
    """Points that ride on rigid bodies, and their presence."""
    out = rest.new_empty(len(bodies), len(rest), 3)
    for body in range(bodies.presence.shape[1]):
        own = (labels == body).nonzero()[:, 0]
        placed = rest[own] @ bodies.rotation[:, body].mT + bodies.offset[:, body, None]
        out.index_copy_(1, own, placed)
    return out, bodies.presence[:, labels]

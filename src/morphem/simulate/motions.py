"""How molecules move: tables of rigid bodies, blocks that come and go, and frames of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import from_rotation_vector
from morphem.simulate.ensembles import AbstractMotion, Bodies, Coordinate, moved


@dataclass(frozen=True)
class TableMotion(AbstractMotion):
    """Discrete states of rigid bodies; a state is called by its key.

    Attributes:
        centres: Points at rest, Å.
        labels: Body, 0 … m − 1, of each point.
        keys: The coordinate of each state.
        shares: How often each is met; they sum to 1.
        poses: Of each body in each state.
        coordinates: What the key means.
    """

    centres: Float[Tensor, "g 3"]
    labels: Int[Tensor, "g"]
    keys: Float[Tensor, "k"]
    shares: Float[Tensor, "k"]
    poses: Bodies
    coordinates: tuple[Coordinate, ...]

    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å) and presence of every point."""
        return moved(self.centres, self.labels, self.bodies(state))

    def rest(self) -> Float[Tensor, "g 3"]:
        """Positions that the table's poses move."""
        return self.centres

    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies:
        """Of the state with the nearest key."""
        return self.poses[nearest(state, self.keys)]

    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """States in their shares."""
        return drawn(uniform, self.keys, self.shares)

    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """Every state."""
        return self.keys[:, None], self.shares


@dataclass(frozen=True)
class Turning(AbstractMotion):
    """One body turns about an axis by any angle of a range; the rest stands still.

    Attributes:
        centres: Points at angle 0, Å.
        labels: 0 stands, 1 turns.
        pivot: A point on the axis, Å.
        axis: Its direction, a unit vector; the turn is right-handed.
        low: Least angle, rad.
        high: Largest; a range of 2π is a circle.
        coordinates: The angle.
    """

    centres: Float[Tensor, "g 3"]
    labels: Int[Tensor, "g"]
    pivot: Float[Tensor, "3"]
    axis: Float[Tensor, "3"]
    low: float
    high: float
    coordinates: tuple[Coordinate, ...] = (Coordinate("angle (rad)", "linear"),)

    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å); every point is always there."""
        return moved(self.centres, self.labels, self.bodies(state))

    def rest(self) -> Float[Tensor, "g 3"]:
        """Positions at angle 0."""
        return self.centres

    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies:
        """The second body turned by the state's angle."""
        return turned(self.pivot, self.axis, state[:, 0])

    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """Angles uniform over the range."""
        return self.low + (self.high - self.low) * uniform

    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """Middles of ``count`` equal parts of the range."""
        middles = (torch.arange(count) + 0.5) / count
        return self.states(middles[:, None]), torch.full((count,), 1 / count)


@dataclass(frozen=True)
class FramesMotion(AbstractMotion):
    """Frames of a trajectory, in which every point moves by itself.

    Attributes:
        frames: Positions, Å.
        labels: All −1: no point has a body.
        shares: How often each frame is met; they sum to 1.
        coordinates: The frame's number, from 0.
    """

    frames: Float[Tensor, "k g 3"]
    labels: Int[Tensor, "g"]
    shares: Float[Tensor, "k"]
    coordinates: tuple[Coordinate, ...] = (Coordinate("frame", "linear"),)

    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Positions (Å) of the nearest frame; every point is always there."""
        chosen = self.frames[nearest(state, torch.arange(len(self.frames)).to(state))]
        return chosen, torch.ones_like(chosen[..., 0])

    def rest(self) -> Float[Tensor, "g 3"]:
        """The first frame."""
        return self.frames[0]

    def bodies(self, state: Float[Tensor, "b q"]) -> None:
        """None: nothing is rigid."""
        return

    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """Frames in their shares."""
        return drawn(uniform, torch.arange(len(self.frames)).to(uniform), self.shares)

    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """``count`` stretches of the trajectory by their middle frames, or every frame if there are fewer."""
        frames = len(self.frames)
        edges = torch.linspace(0, frames, min(count, frames) + 1).round().long()
        middles = (edges[:-1] + edges[1:] - 1) // 2
        within = [float(self.shares[a:b].sum()) for a, b in pairwise(edges)]
        return middles[:, None].float(), torch.tensor(within)


def nearest(state: Float[Tensor, "b q"], keys: Float[Tensor, "k"]) -> Int[Tensor, "b"]:
    """Which key is nearest to each state."""
    return (state[:, :1] - keys.to(state)).abs().argmin(1)


def drawn(
    uniform: Float[Tensor, "n q"], keys: Float[Tensor, "k"], shares: Float[Tensor, "k"]
) -> Float[Tensor, "n q"]:
    """Keys at quantiles of their shares."""
    last = shares.double().cumsum(0)
    index = torch.searchsorted(last / last[-1], uniform[:, 0].double().contiguous(), right=True)
    return keys.to(uniform)[index.clamp(max=len(keys) - 1)][:, None]


def turned(pivot: Float[Tensor, "3"], axis: Float[Tensor, "3"], angle: Float[Tensor, "k"]) -> Bodies:
    """A body that stands and one that is turned about an axis through ``pivot`` by each angle (rad)."""
    rotation = torch.eye(3).to(angle).repeat(len(angle), 2, 1, 1)
    rotation[:, 1] = from_rotation_vector(angle[:, None] * axis.to(angle))
    offset = pivot.to(angle) - torch.einsum("kmij,j->kmi", rotation, pivot.to(angle))
    return Bodies(rotation, offset, torch.ones_like(offset[..., 0]))

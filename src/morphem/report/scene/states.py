"""Where maps are made: states at k-means centres, steps along principal components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.report.volumes import along_component, at_states, principal_directions

_CLUSTERED = 20_000  # particles that k-means looks at
_PER_STATE = 100  # particles: a state of fewer is not made unasked
_USUAL = 5
_BLOCK = 1 << 16
_TELLING = 0.02  # of the variance: a component of less is not run through, the first apart
_COMPONENTS = 3


@dataclass(frozen=True)
class States:
    """Points of latent space, and whose they are.

    Attributes:
        names: ``state_1`` on, the most frequent first.
        latents: Where each is decoded: at a particle.
        member: Of each particle, the nearest state.
    """

    names: tuple[str, ...]
    latents: Float[Tensor, "k z"]
    member: Int[Tensor, "p"]

    def counts(self) -> list[int]:
        """Particles of each."""
        return torch.bincount(self.member, minlength=len(self.names)).tolist()


@dataclass(frozen=True)
class Line:
    """A principal component from its 5 % to its 95 % quantile.

    Attributes:
        number: Of the component, from 1.
        explained: Its share of the variance.
        latents: Points on it.
        positions: Of the points, from the mean.
        support: Particles nearer to each point than to any other of them.
    """

    number: int
    explained: float
    latents: Float[Tensor, "k z"]
    positions: Float[Tensor, "k"]
    support: Int[Tensor, "k"]


@dataclass(frozen=True)
class Axes:
    """Latents along their principal components.

    Attributes:
        values: Coordinates of each particle, from the mean.
        explained: Share of the variance of each.
        lines: The first few, to be run through.
    """

    values: Float[Tensor, "p z"]
    explained: Float[Tensor, "z"]
    lines: tuple[Line, ...]


def states_of(latents: Float[Tensor, "p z"], count: int = 0, seed: int = 0) -> States:
    """States as ``morphem volumes --states`` makes them, and the nearest of each particle.

    Args:
        latents: Of width 0: all particles are one state.
        count: How many; 0 takes five, or one for every hundred particles where that is fewer.
        seed: Of k-means, which sees at most 20,000 particles spread over the set.
    """
    if latents.shape[1] == 0:
        return States(("all particles",), latents[:1], torch.zeros(len(latents), dtype=torch.long))
    some = latents[:: -(-len(latents) // _CLUSTERED)]
    wanted = count or min(_USUAL, max(1, len(latents) // _PER_STATE))
    places = at_states(some, min(wanted, len(some.unique(dim=0))), seed)
    return States(places.names, places.latents, nearest(latents, places.latents))


def nearest(latents: Float[Tensor, "p z"], points: Float[Tensor, "k z"]) -> Int[Tensor, "p"]:
    """The nearest point to each latent, in blocks of bounded memory."""
    return torch.cat([torch.cdist(block, points).argmin(1) for block in latents.split(_BLOCK)])


def axes_of(latents: Float[Tensor, "p z"], steps: int) -> Axes | None:
    """Principal components, as maps along them and the figures have them; None without any spread."""
    if latents.shape[1] == 0 or len(latents) < 2 or float(latents.std(0).max()) == 0:
        return None
    directions, explained = principal_directions(latents)
    centre = latents.mean(0)
    lines = []
    for index in range(min(_COMPONENTS, latents.shape[1])):
        if index and explained[index] < _TELLING:
            break
        places = along_component(latents, index + 1, steps)
        positions = (places.latents - centre) @ directions[index]
        lines.append(Line(index + 1, float(explained[index]), places.latents, positions, places.support))
    return Axes((latents - centre) @ directions.mT, explained, tuple(lines))

"""What a Gaussian mixture does between states: its Gaussians, their parts, and how far each travels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import GaussianMixture
from morphem.data.errors import DataError
from morphem.engine.reconstruction import Reconstruction
from morphem.models.anchors import cluster
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.report.drawing import COLOURS
from morphem.report.export.states import Views

_SEEN = 0.01  # of the brightest Gaussian: fainter ones are left out
_ARROWS = 80  # in all, shared out by the number of Gaussians
_STILL = 0.5, 0.1  # Å, and share of the longest arrow: shorter ones are left out


@dataclass(frozen=True)
class Beads:
    """The Gaussians that are seen in some state.

    Attributes:
        centres: In each state, Å from the molecule's origin.
        amplitudes: In each state, share of the brightest of all.
        scales: Standard deviations, Å.
        part: Number of each one's part, from 1.
        ends: Where each is at the 5 % and at the 95 % quantile of the first principal component, Å.
    """

    centres: Float[Tensor, "k g 3"]
    amplitudes: Float[Tensor, "k g"]
    scales: Float[Tensor, "g"]
    part: Int[Tensor, "g"]
    ends: Float[Tensor, "2 g 3"]

    @property
    def travel(self) -> Float[Tensor, "g"]:
        """Distance between the ends, Å."""
        return (self.ends[1] - self.ends[0]).norm(dim=1)


@dataclass(frozen=True)
class Arrow:
    """How a group of neighbouring Gaussians of one part moves along the first component, Å."""

    part: int
    start: Float[Tensor, "3"]
    stop: Float[Tensor, "3"]

    @property
    def length(self) -> float:
        """Å."""
        return float((self.stop - self.start).norm())


def has_beads(found: Reconstruction) -> bool:
    """Whether a run's density is a Gaussian mixture."""
    return isinstance(found.density, AnchoredMixture | PartMixture)


@torch.no_grad()
def beads_of(found: Reconstruction, views: Views) -> Beads:
    """The Gaussians of a run at its states.

    Raises:
        DataError: ``EXPORT-002`` if the run's density is no Gaussian mixture.
    """
    density = found.density
    if not isinstance(density, AnchoredMixture | PartMixture):
        met = f"the density of this run is a {type(density).__name__}, which has no Gaussians"
        raise DataError("EXPORT-002", f"{met}; export its maps (--to mrc or chimerax)")
    states = _mixture(density, views.states.latents)
    ends = states.centres[:1].expand(2, -1, -1)
    if views.along is not None:
        ends = _mixture(density, views.along.latents[[0, -1]]).centres
    seen = states.amplitudes.amax(0) > _SEEN * states.amplitudes.max()
    part = (
        density.bodies() + 1
        if isinstance(density, AnchoredMixture)
        else torch.ones_like(seen, dtype=torch.long)
    )
    return Beads(
        centres=states.centres[:, seen],
        amplitudes=states.amplitudes[:, seen] / states.amplitudes.max(),
        scales=states.scales[seen],
        part=part[seen],
        ends=ends[:, seen],
    )


def arrows_of(beads: Beads, seed: int = 0) -> list[Arrow]:
    """Arrows from one end of the first component to the other, each of a group of Gaussians.

    Every part has arrows in proportion to its Gaussians, at least one, so that a turn shows as well as a
    shift; the groups are neighbours in space. Those that hardly move have none.
    """
    arrows = []
    weight = beads.amplitudes.mean(0) * beads.scales.square()
    for part in beads.part.unique().tolist():
        member = (beads.part == part).nonzero().flatten()
        count = max(1, round(_ARROWS * len(member) / len(beads.part)))
        label = cluster(beads.ends[0, member], weight[member], min(count, len(member)), seed)
        for group in range(int(label.max()) + 1):
            inside = member[label == group]
            share = weight[inside] / weight[inside].sum()
            start, stop = share @ beads.ends[0, inside], share @ beads.ends[1, inside]
            arrows.append(Arrow(part, start, stop))
    least = max(_STILL[0], _STILL[1] * max(arrow.length for arrow in arrows))
    return [arrow for arrow in arrows if arrow.length >= least]


def part_colour(part: int) -> str:
    """Colour of part 1, 2, … as ``#RRGGBB``, as in pages and figures; they return after the last."""
    return COLOURS[(part - 1) % len(COLOURS)]


def _mixture(density: AnchoredMixture | PartMixture, latents: Float[Tensor, "k z"]) -> GaussianMixture:
    blocks = [density.mixture(block) for block in latents.split(16)]
    return GaussianMixture(
        torch.cat([block.centres for block in blocks]).cpu(),
        blocks[0].scales.cpu(),
        torch.cat([block.amplitudes for block in blocks]).cpu(),
    )

"""A first map from images whose poses nobody knows: stochastic expectation–maximisation from random poses."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from morphem.core.rotations import random_rotations
from morphem.core.types import Volume
from morphem.engine import ranks
from morphem.engine.signals import Interrupted, stop_requests
from morphem.inference.expectation import Expectation, expected
from morphem.inference.hypotheses import half_spread, search_grid
from morphem.inference.maps import Tables, empty_sums, solved, summed
from morphem.inference.store import Coefficients, Store
from morphem.inference.templates import plane_of
from morphem.physics.masks import soft_ball

_INSERTED = 2048  # slices at a time
_MEMORY = 0.6  # share of the last step's sums that stays
_SHARE = 0.97  # signal's share of a map that the filter reckons with
_RADIUS, _EDGE = 0.45, 0.05  # of the ball that the molecule is in, fractions of the box
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class Phase:
    """Steps of equal fineness.

    Attributes:
        limit: Frequency pixels.
        rotations: How many are searched, turned as a whole at every step.
        steps: How many.
        batch: Images a step.
    """

    limit: int
    rotations: int
    steps: int
    batch: int


FIRST = (Phase(8, 4608, 15, 300), Phase(10, 4608, 15, 200))
FINER = (Phase(12, 4608, 40, 150), Phase(14, 4608, 60, 150))


@torch.no_grad()
def random_start(
    store: Store,
    rows: Int[Tensor, "m"],
    reach: float,
    seed: int,
    phases: tuple[Phase, ...] = FIRST,
    volume: Volume | None = None,
) -> Volume:
    """Map of the last phase's limit, from random poses of random images among ``rows``, or from a map.

    Each step scores a few hundred images against slices of the last map at evenly spread rotations and all
    shifts, and inserts them at all of these with their posterior weights, tempered as long as the map leaves
    more than noise of them; old sums fade. Cost: about 0.2 GFLOP an image of the last phase.

    Args:
        store: The images.
        rows: Those to use.
        reach: Largest shift searched, Å.
        seed: Of the poses at the start, of which images come when, and of the rotations.
        phases: Steps to take.
        volume: Map to go on from.
    """
    generator = torch.Generator().manual_seed(seed)
    most = max(len(rows) // 2, 50)  # a batch that is all images would always say the same
    doubt = 1.0
    with stop_requests() as stop:
        for phase in phases:
            sums: Tables | None = None
            for _ in range(phase.steps):
                chosen = rows[torch.randint(len(rows), (min(phase.batch, most),), generator=generator)]
                fresh, doubt = _step(store, chosen, (volume, phase, reach, 1 / doubt), generator)
                sums = fresh if sums is None else sums.plus(fresh, _MEMORY)
                volume = _within_ball(solved(sums, store.disc.grid, phase.limit, _SHARE))
                # processes are told at different times, and one that left would fail the others' sums
                if code := ranks.largest(stop.code):
                    _LOG.warning("stopped; the same command begins this start again")
                    raise Interrupted(code)
    assert volume is not None
    return volume


def _step(
    store: Store,
    rows: Int[Tensor, "b"],
    state: tuple[Volume | None, Phase, float, float],
    generator: torch.Generator,
) -> tuple[Tables, float]:
    """Tables of images at all poses, and what the likeliest leave of them, in units of the noise.

    Both summed over processes. A poor map leaves more than noise; that its images are then told apart less
    sharply is what keeps clean ones from settling at once.
    """
    volume, phase, reach, warmth = state
    turn = random_rotations(1, generator)[0]
    half = half_spread(phase.rotations)
    drawn = torch.randint(2 * len(half), (len(rows),), generator=generator)
    mine = slice(ranks.rank(), None, ranks.world())
    images = store.read(rows[mine], phase.limit)
    if volume is None:
        found = _at_random(images, drawn[mine], len(half))
    else:
        grid = search_grid(store, volume, phase.limit, phase.rotations, reach, turn)
        found = expected(images, grid.slices, grid.moves, warmth)
    sums, plane, turned = (
        empty_sums(store.disc.grid, phase.limit),
        plane_of(store.disc, phase.limit),
        half @ turn,
    )
    for part in torch.arange(len(turned)).split(_INSERTED):
        sums.add(found.numerator[None, part], found.weight[None, part], turned[part], plane)
    power = torch.view_as_real(images.values).square().sum((1, 2))
    left = torch.stack([(power - found.best).sum(), power.new_tensor(images.values.numel())])
    ranks.sum_tensors([left])
    return summed(sums), max(float(left[0] / left[1]), 1.0)


def _at_random(images: Coefficients, drawn: Int[Tensor, "b"], rotations: int) -> Expectation:
    """Each image at one of the rotations or, where ``drawn`` is beyond the last, at its half turn."""
    upright = (drawn < rotations)[:, None]
    values = torch.where(upright, images.values, images.values.conj()) * images.transfer
    shape = rotations, values.shape[1]
    numerator = torch.zeros(shape, dtype=values.dtype).index_add_(0, drawn % rotations, values)
    weight = torch.zeros(shape).index_add_(0, drawn % rotations, images.transfer.square())
    return Expectation(numerator, weight, torch.zeros(len(images)))


def _within_ball(volume: Volume) -> Volume:
    extent = volume.grid.extent
    return Volume(volume.voxels * soft_ball(volume.grid, _RADIUS * extent, _EDGE * extent), volume.grid)

"""A first map from images whose poses nobody knows: stochastic expectation–maximisation from random poses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import random_rotations
from morphem.core.so3_grids import super_fibonacci
from morphem.core.types import Poses, Volume
from morphem.engine import ranks
from morphem.engine.signals import Interrupted, StopRequest
from morphem.inference.maps import Tables, empty_sums, insert_images, solved, summed
from morphem.inference.search import Hypotheses, ramps, search, shift_lattice
from morphem.inference.store import Store
from morphem.inference.templates import template
from morphem.physics.masks import soft_ball

_KEPT = 16  # rotations of an image that have a say
_INSERTED = 4096  # slices at a time
_SLIGHT = 1e-3  # posterior that is not worth a slice
_MEMORY = 0.6  # share of the last step's sums that stays
_SHARE = 0.9  # signal's share of a map that the filter reckons with
_COLD = 0.3  # inverse temperature at the first step; it rises to 1
_RADIUS, _EDGE = 0.45, 0.05  # of the ball that the molecule is in, fractions of the box


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


PHASES = (Phase(6, 3072, 15, 300), Phase(8, 4608, 15, 300), Phase(10, 4608, 10, 300))


@torch.no_grad()
def random_start(
    store: Store, rows: Int[Tensor, "m"], reach: float, seed: int, stop: StopRequest | None = None
) -> Volume:
    """Map of :data:`PHASES`' last limit, from random poses of random images among ``rows``.

    Each step scores a few hundred images against slices of the last map at evenly spread rotations and all
    shifts, and inserts them at their likeliest with posterior weights, tempered at first and as long as the
    map leaves more than noise of them; old sums fade. Cost: about 0.1 GFLOP an image of the last phase.

    Args:
        store: The images.
        rows: Those to use.
        reach: Largest shift searched, Å.
        seed: Of the poses at the start, of which images come when, and of the rotations.
        stop: Looked at between steps.
    """
    generator = torch.Generator().manual_seed(seed)
    most = max(len(rows) // 2, 50)  # a batch that is all images would always say the same
    total, done = sum(phase.steps for phase in PHASES), 0
    volume, doubt = None, 1.0
    for phase in PHASES:
        sums: Tables | None = None
        for _ in range(phase.steps):
            chosen = rows[torch.randint(len(rows), (min(phase.batch, most),), generator=generator)]
            warmth = (_COLD + (1 - _COLD) * done / total) / doubt
            fresh, doubt = _expected(store, chosen, (volume, phase, reach, warmth), generator)
            sums = fresh if sums is None else sums.plus(fresh, _MEMORY)
            volume = _within_ball(solved(sums, store.disc.grid, phase.limit, _SHARE))
            done += 1
            if stop is not None and stop.code:
                raise Interrupted(stop.code)
    assert volume is not None
    return volume


def shifts(store: Store, limit: int, reach: float) -> Float[Tensor, "t 2"]:
    """Shifts (Å) within ``reach``, a quarter of a wave apart at ``limit``."""
    return shift_lattice(reach, store.disc.grid.extent / limit / 4)


def _expected(
    store: Store,
    rows: Int[Tensor, "b"],
    state: tuple[Volume | None, Phase, float, float],
    generator: torch.Generator,
) -> tuple[Tables, float]:
    """Tables of images at their likely poses, and what the likeliest leave of them, in units of the noise.

    Both summed over processes. A poor map leaves more than noise; that its images are then told apart less
    sharply is what keeps clean ones from settling at once.
    """
    volume, phase, reach, warmth = state
    turned = super_fibonacci(phase.rotations) @ random_rotations(1, generator)[0]
    lattice = shifts(store, phase.limit, reach)
    drawn = torch.randint(phase.rotations, (len(rows), 1), generator=generator)
    mine = slice(ranks.rank(), None, ranks.world())
    own = rows[mine]
    images = store.read(own, phase.limit)
    if volume is None:
        nothing = torch.zeros_like(drawn[mine])
        found = Hypotheses(drawn[mine], nothing, nothing.float())
    else:
        slices = template(volume, store.disc, phase.limit).slices(turned)[0]
        moves = ramps(store.disc, phase.limit, lattice)
        found = search(images, slices, moves, _KEPT)
    weight = (warmth * found.score).softmax(1)
    image, rank = (weight > _SLIGHT).nonzero(as_tuple=True)
    poses = Poses(turned[found.rotation[image, rank]], lattice[found.shift[image, rank]])
    sums, weights = empty_sums(store.disc.grid, phase.limit), weight[image, rank]
    for part in torch.arange(len(image)).split(_INSERTED):
        factors = weights[part].expand(2, -1)
        insert_images(sums, store, own[image[part]], poses[part], factors, phase.limit)
    power = torch.view_as_real(images.values).square().sum((1, 2))
    left = torch.stack([(power - found.score[:, 0]).sum(), power.new_tensor(images.values.numel())])
    ranks.sum_tensors([left])
    return summed(sums), max(float(left[0] / left[1]), 1.0)


def _within_ball(volume: Volume) -> Volume:
    extent = volume.grid.extent
    return Volume(volume.voxels * soft_ball(volume.grid, _RADIUS * extent, _EDGE * extent), volume.grid)

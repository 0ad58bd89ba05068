"""From images alone to a first map, and from a first map to poses of all images."""

from __future__ import annotations

import logging
import math
from dataclasses import astuple, dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import PerParticle, Poses, Volume
from morphem.data.stack import order
from morphem.engine import ranks
from morphem.engine.run import Run
from morphem.inference.hypotheses import ahead, search_grid, searched
from morphem.inference.passes import blocks, put, remembered, shared
from morphem.inference.refine import Fit, map_products
from morphem.inference.seeds import FINER, FIRST, Phase, random_start
from morphem.inference.store import Store
from morphem.inference.templates import working_grid
from morphem.metrics.poses import align_poses, pose_errors

_BLOCK = 128  # images refined at a time
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class SeedConfig:
    """Starts from random poses."""

    least: int = 2
    """How many are made."""
    coarse: int = 3
    """How many are made of low frequencies alone, if no two of the best agree."""
    most: int = 6
    """How many are made if the best of those, gone on with at finer frequencies, do not agree either."""
    images: int = 20_000
    """Images used, drawn at random."""
    judges: int = 300
    """Images of those by which starts are judged."""
    agreement: float = 15.0
    """Degrees; two starts agree if half of the judges' rotations differ by less."""
    rotations: int = 9216
    """Rotations searched for every image in the first map."""
    hypotheses: int = 3
    """Of each image, refined against each other."""
    reach: float = 0.06
    """Largest shift searched, fraction of the box."""


@dataclass(frozen=True)
class Start:
    """A first map.

    Attributes:
        volume: On a working grid, in grey values.
        limit: Frequency pixels of the map.
        scores: Mean log-likelihood of the judges, start by start.
        agreement: Median angle (rad) between the best start's judges and each start's, hands apart.
    """

    volume: Volume
    limit: int
    scores: list[float]
    agreement: list[float]


@dataclass(frozen=True)
class Found(PerParticle):
    """Poses of a search.

    Attributes:
        fit: Of each image.
        lead: Log-likelihood above that of the best pose elsewhere that was tried.
    """

    fit: Fit
    lead: Float[Tensor, "n"]


def first_map(store: Store, config: SeedConfig, seed: int, run: Run) -> Start:
    """The likeliest of several maps that started from random poses.

    Two starts that end in the same map are taken to be right. Where no two do, all go on to finer
    frequencies, which tell more images apart; then more are made, up to ``config.most``.
    """
    starts = _Starts(store, config, seed, run)
    coarse = min(config.coarse, config.most)
    while len(starts.maps) < config.least or (not starts.agreed and len(starts.maps) < coarse):
        starts.add(FIRST)
    if not starts.agreed:
        starts.refine()
    while not starts.agreed and len(starts.maps) < config.most:
        starts.add(FIRST + FINER)
    best = starts.ranked[0]
    agreement = [difference(starts.poses[best], each) for each in starts.poses]
    return Start(starts.maps[best], starts.limit, starts.scores, agreement)


class _Starts:
    """Maps from random poses, and what a few images say of each."""

    def __init__(self, store: Store, config: SeedConfig, seed: int, run: Run) -> None:
        self.store, self.config, self.seed, self.run = store, config, seed, run
        rows = order(len(store), seed, 7)[: config.images]
        self.judges, self.rest = rows[: config.judges], rows[min(config.judges, len(rows) // 5) :]
        self.maps: list[Volume] = []
        self.poses: list[Poses] = []
        self.scores: list[float] = []
        self.limit = min(FIRST[-1].limit, store.disc.limit)

    @property
    def ranked(self) -> list[int]:
        """Starts by falling likelihood."""
        return sorted(range(len(self.scores)), key=self.scores.__getitem__, reverse=True)

    @property
    def agreed(self) -> bool:
        """Whether the best two see the judges alike; the only one agrees with itself."""
        if len(self.maps) == 1:
            return self.config.least == 1
        best, second = (self.poses[each] for each in self.ranked[:2])
        alike = difference(best, second) < math.radians(self.config.agreement)
        return bool(ranks.largest(int(alike)))

    def add(self, phases: tuple[Phase, ...]) -> None:
        """Make another, from random poses."""
        number = len(self.maps)
        self._judge(number, self._made(number, phases, None))

    def refine(self) -> None:
        """Go on with each, a phase finer."""
        before, self.limit = self.maps, min(FINER[-1].limit, self.store.disc.limit)
        self.maps, self.poses, self.scores = [], [], []
        for number, volume in enumerate(before):
            self._judge(number, self._made(number, FINER, volume))

    def _made(self, number: int, phases: tuple[Phase, ...], volume: Volume | None) -> Volume:
        seed, grid = self.seed + number, self.store.disc.grid
        phases = tuple(replace(each, limit=min(each.limit, self.store.disc.limit)) for each in phases)
        stage = self.run.stage(f"start-{number + 1}" + ("-finer" if volume is not None else ""))
        identity = {"seed": seed, "phases": [astuple(phase) for phase in phases]}
        reach = self.config.reach * grid.extent

        def make() -> dict[str, Tensor]:
            return {"voxels": random_start(self.store, self.rest, reach, seed, phases, volume).voxels}

        voxels = remembered(stage, identity, make)["voxels"]
        return Volume(voxels, working_grid(grid, phases[-1].limit))

    def _judge(self, number: int, volume: Volume) -> None:
        found = global_pass(self.store, self.judges, (volume, self.limit), self.config)[self.judges].fit
        self.maps.append(volume)
        self.poses.append(found.poses)
        self.scores.append(float(found.score.mean()))
        _LOG.info("start %d: log-likelihood %.1f an image", number + 1, self.scores[-1])


def global_pass(
    store: Store,
    rows: Int[Tensor, "m"],
    start: tuple[Volume, int],
    config: SeedConfig,
    run: Run | None = None,
) -> Found:
    """Poses of images ``rows`` in a map, from a search of all rotations and a few steps of refinement.

    Rows of other images are zero.

    Args:
        store: The images.
        rows: Which.
        start: The map and its limit, frequency pixels.
        config: How many rotations, and how far shifts reach.
        run: Where progress is told.
    """
    volume, limit = start
    grid = search_grid(store, volume, limit, config.rotations, config.reach * store.disc.grid.extent)
    model = map_products(volume, store.disc, limit)
    found = nothing_found(len(store))
    for block in blocks(rows, _BLOCK, run, "search"):
        images = store.read(block, limit)
        put(found, block, Found(*ahead(images, model, searched(images, grid, config.hypotheses), 4)))
    return shared(found)


def empty_fit(n: int) -> Fit:
    """A fit of ``n`` images, zero."""
    poses = Poses(torch.zeros(n, 3, 3), torch.zeros(n, 2))
    return Fit(poses, torch.zeros(n), torch.zeros(n), torch.zeros(n, 5, 5))


def nothing_found(n: int) -> Found:
    """What is found of ``n`` images, zero."""
    return Found(empty_fit(n), torch.zeros(n))


def difference(a: Poses, b: Poses) -> float:
    """Median angle (rad) between two sets of rotations after one change of frame, of either hand."""
    return float(pose_errors(b, a, align_poses(b, a)).rotation.median())

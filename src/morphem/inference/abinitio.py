"""From images alone to a first map, and from a first map to poses of all images."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from morphem.core.types import Poses, Volume
from morphem.data.stack import order
from morphem.engine.run import Run
from morphem.engine.signals import stop_requests
from morphem.inference.hypotheses import likeliest, search_grid, searched
from morphem.inference.passes import blocks, put, remembered, shared
from morphem.inference.refine import Fit, map_products
from morphem.inference.seeds import PHASES, random_start
from morphem.inference.store import Store
from morphem.inference.templates import working_grid
from morphem.metrics.poses import align_poses, pose_errors

_LIMIT = PHASES[-1].limit
_BLOCK = 64  # images refined at a time
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class SeedConfig:
    """Starts from random poses."""

    least: int = 3
    """How many are made."""
    most: int = 8
    """How many are made if no two of the best agree."""
    images: int = 20_000
    """Images used, drawn at random."""
    judges: int = 500
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
        scores: Mean log-likelihood of the judges, start by start.
        agreement: Median angle (rad) between the best start's judges and each start's, hands apart.
    """

    volume: Volume
    scores: list[float]
    agreement: list[float]


def first_map(store: Store, config: SeedConfig, seed: int, run: Run) -> Start:
    """The likeliest of several maps that started from random poses.

    More starts are made until the best two agree, up to ``config.most``.
    """
    grid = store.disc.grid
    rows = order(len(store), seed, 7)[: config.images]
    judges, rest = rows[: config.judges], rows[min(config.judges, len(rows) // 5) :]
    reach = config.reach * grid.extent
    maps: list[Volume] = []
    poses: list[Poses] = []
    scores: list[float] = []
    while len(maps) < config.least or (len(maps) < config.most and not _agreed(poses, scores, config)):
        number = len(maps)
        stage = run.stage(f"start-{number + 1}")
        made = remembered(
            stage, {"seed": seed + number}, lambda n=number: _started(store, rest, reach, seed + n)
        )
        maps.append(Volume(made["voxels"], working_grid(grid, _LIMIT)))
        found, score = _judge(store, judges, maps[-1], config)
        poses.append(found)
        scores.append(score)
        _LOG.info("start %d: log-likelihood %.1f an image", number + 1, score)
    best = max(range(len(scores)), key=scores.__getitem__)
    return Start(maps[best], scores, [difference(poses[best], each) for each in poses])


def global_pass(
    store: Store, rows: Int[Tensor, "m"], volume: Volume, config: SeedConfig, run: Run | None = None
) -> Fit:
    """Poses of images ``rows`` in a map, from a search of all rotations and a few steps of refinement.

    Rows of other images are zero.
    """
    grid = search_grid(store, volume, _LIMIT, config.rotations, config.reach * store.disc.grid.extent)
    model = map_products(volume, store.disc, _LIMIT)
    fit = empty_fit(len(store))
    for block in blocks(rows, _BLOCK, run, "search"):
        images = store.read(block, _LIMIT)
        put(fit, block, likeliest(images, model, searched(images, grid, config.hypotheses), 4))
    return shared(fit)


def empty_fit(n: int) -> Fit:
    """A fit of ``n`` images, zero."""
    poses = Poses(torch.zeros(n, 3, 3), torch.zeros(n, 2))
    return Fit(poses, torch.zeros(n), torch.zeros(n), torch.zeros(n, 5, 5))


def difference(a: Poses, b: Poses) -> float:
    """Median angle (rad) between two sets of rotations after one change of frame, of either hand."""
    return float(pose_errors(b, a, align_poses(b, a)).rotation.median())


def _agreed(poses: list[Poses], scores: list[float], config: SeedConfig) -> bool:
    best, second = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:2]
    return difference(poses[best], poses[second]) < math.radians(config.agreement)


def _started(store: Store, rows: Int[Tensor, "m"], reach: float, seed: int) -> dict[str, Tensor]:
    with stop_requests() as stop:
        return {"voxels": random_start(store, rows, reach, seed, stop).voxels}


def _judge(store: Store, rows: Int[Tensor, "m"], volume: Volume, config: SeedConfig) -> tuple[Poses, float]:
    """Poses of a few images in a map, and their mean log-likelihood."""
    found = global_pass(store, rows, volume, config)[rows]
    return found.poses, float(found.score.mean())

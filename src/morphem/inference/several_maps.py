"""Poses sought in maps of several typical shapes: where parts move far, one rigid map misleads.

Of a molecule whose parts move far, the map of all particles shows the largest part and a blur, in which some
images look likelier from a wrong side, and surely so. In a map of nearly their own shape they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import geodesic_distance, random_rotations
from morphem.core.types import Poses, Volume
from morphem.engine.run import Run
from morphem.inference.hypotheses import search_grid, searched
from morphem.inference.joint import Joint, empty_joint, jointly
from morphem.inference.latents import prototypes
from morphem.inference.passes import blocks, put, remembered, shared
from morphem.inference.refine import Fit, best_rows, chosen
from morphem.inference.subspace import Latents, Setting, Subspace
from morphem.inference.templates import tables_of

_BLOCK = 64  # images searched at a time
_STEPS = 3  # of a pose and its z from each start
_MOVED = math.radians(10)  # to another pose


@dataclass(frozen=True)
class SeveralConfig:
    """Poses sought in maps of several typical shapes."""

    rounds: int = 3
    """Searches at most, each followed by directions anew; 0: none."""
    maps: int = 6
    """Typical shapes."""
    rotations: int = 4608
    """Tried in the map of each."""
    hypotheses: int = 2
    """Poses of each map that are refined."""
    limit: int = 12
    """Finest frequency of a search, frequency pixels."""
    sample: int = 500
    """Images searched first."""
    least: float = 0.01
    """Share of these that must find another pose; else no more are searched."""


@dataclass(frozen=True)
class SearchRule:
    """How a search goes.

    Attributes:
        config: Its size.
        reach: Å that particles may be off the centres of their images.
        spread: Standard deviation of images' contrast about 1.
        seed: Of the rotations tried.
    """

    config: SeveralConfig
    reach: float
    spread: float
    seed: int


def found_elsewhere(
    where: Setting, rows: Int[Tensor, "m"], model: tuple[Subspace, Latents], how: SearchRule, run: Run
) -> Fit | None:
    """Poses and contrasts of images ``rows`` once typical shapes were searched; None where few would change.

    Each image keeps what is likeliest, z free: where it was, or a pose of one of the maps. Cost: per image
    and map a search over ``rotations``, and ``hypotheses`` refinements at a mean map and all directions.

    Args:
        where: Poses to begin with, and the limit of refinement.
        rows: Images searched.
        model: Directions, and where images are along them.
        how: The search.
        run: Stage that remembers what was found.
    """
    identity = {"limit": where.limit, "maps": how.config.maps, "seed": how.seed}

    def make() -> dict[str, Tensor]:
        search = _Search(where, model, how)
        some = rows[:: max(1, len(rows) // how.config.sample)]
        moved = moved_share(where.fit.poses[some], search.best(some, run).fit.poses[some])
        share = {"share": torch.tensor(moved)}
        if moved < how.config.least:
            return share
        fit = search.best(rows, run).fit
        contrast = fit.contrast / fit.contrast[rows].mean()
        rest = {"contrast": contrast, "score": fit.score, "information": fit.information}
        return {**share, **vars(fit.poses), **rest}

    kept = remembered(run, identity, make)
    if "rotation" not in kept:
        return None
    poses = Poses(kept["rotation"], kept["shift"])
    return Fit(poses, kept["contrast"], kept["score"], kept["information"])


def moved_share(before: Poses, after: Poses) -> float:
    """Share of images whose view is another one."""
    return float((geodesic_distance(before.rotation, after.rotation) > _MOVED).float().mean())


class _Search:
    """Maps of typical shapes, and the tables in which poses and z are refined together."""

    def __init__(self, where: Setting, model: tuple[Subspace, Latents], how: SearchRule) -> None:
        self._where, self._how = where, how
        space, self._latents = model
        self._shapes = prototypes(self._latents.mean, how.config.maps)
        self._coarse = min(how.config.limit, where.limit)
        turn = random_rotations(1, torch.Generator().manual_seed(how.seed))[0]
        store, rotations = where.store, how.config.rotations
        self._grids = [
            search_grid(store, shape_of(space, z), self._coarse, rotations, how.reach, turn)
            for z in self._shapes
        ]
        maps = [Volume(each, space.grid) for each in (space.mean, *space.directions)]
        self._tables = tables_of(maps, store.disc, where.limit)

    def best(self, rows: Int[Tensor, "m"], run: Run) -> Joint:
        """The likeliest poses and latents of images ``rows``; zero elsewhere."""
        found = empty_joint(*self._latents.mean.shape)
        for block in blocks(rows, _BLOCK, run, "search in several maps"):
            put(found, block, self._of(block))
        return shared(found)

    @torch.no_grad()
    def _of(self, rows: Int[Tensor, "b"]) -> Joint:
        where, spread = self._where, self._how.spread
        images, coarse = (where.store.read(rows, limit) for limit in (where.limit, self._coarse))
        own = where.fit.poses[rows], self._latents.mean[rows]
        best = jointly(images, self._tables, own, _STEPS, spread)
        count = self._how.config.hypotheses
        owner = torch.arange(len(rows)).repeat_interleave(count)
        for z, grid in zip(self._shapes, self._grids, strict=True):
            start = searched(coarse, grid, count), z.repeat(len(owner), 1)
            tried = jointly(images[owner], self._tables, start, _STEPS, spread)
            rival = tried[best_rows(tried.fit.score, count)]
            best = chosen(rival.fit.score > best.fit.score, rival, best)
        return best


def shape_of(space: Subspace, z: Float[Tensor, "q"]) -> Volume:
    """The map at one place of a subspace."""
    return Volume(space.mean + torch.einsum("q,qzyx->zyx", z, space.directions), space.grid)

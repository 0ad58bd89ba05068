"""Maps and poses in turn: half sets apart, finer as the halves agree."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import geodesic_distance, random_rotations
from morphem.core.types import Poses, Volume
from morphem.engine import ranks
from morphem.engine.run import Run
from morphem.inference.abinitio import Found, SeedConfig, nothing_found
from morphem.inference.hypotheses import (
    SearchGrid,
    ahead,
    likeliest,
    pseudo_symmetries,
    search_grid,
    searched,
    side_by_side,
    with_mates,
)
from morphem.inference.maps import Halves, agreement, assemble, filtered_halves
from morphem.inference.passes import blocks, put, remembered, shared
from morphem.inference.refine import Fit, map_products
from morphem.inference.search import ramps
from morphem.inference.store import Coefficients, Store
from morphem.inference.templates import template
from morphem.metrics.fsc import crossing

_BLOCK = 128  # images refined at a time
_JUDGED = 1000  # images of a half set, at most, from which the noise is measured
_STEPS, _NEAR_STEPS = 4, 3  # of refinement a round, of poses that may be far off and of those that are near
_SEARCH_LIMIT = 14  # frequency pixels of a search, at most
_KNOWN = 0.5  # correlation of the halves up to which their maps are joined
_USEFUL = 0.2  # correlation beyond which frequencies say nothing of poses
_SYMMETRY_LIMIT = 8  # frequency pixels within which a map is compared with itself
_STILL = 0.25  # of a pose's standard deviation: moves below are noise
_SETTLED = 1.0  # likewise: moves below do not keep the next limit waiting
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class RoundConfig:
    """Refinement of poses against the maps that they make."""

    most: int = 6
    """Rounds at one resolution before the next."""
    growth: float = 1.5
    """Factor on the resolution once poses stand still."""
    contrast_spread: float = 0.3
    """Standard deviation of images' contrast that is reckoned with."""
    mates: int = 2
    """Resolutions at which look-alike poses are tried."""
    doubted: float = 6.0
    """Lead in log-likelihood over the next pose below which all rotations are searched again."""
    hypotheses: int = 16
    """Poses of such a search that are refined against each other."""


@dataclass(frozen=True)
class PoseConfig:
    """How poses are found."""

    starts: SeedConfig = SeedConfig()
    """Starts from random poses."""
    rounds: RoundConfig = RoundConfig()
    """Refinement of poses."""
    limit: int = 40
    """Finest frequency used, frequency pixels; Nyquist where that is less."""


@dataclass(frozen=True)
class Refined:
    """Where refinement ended.

    Attributes:
        fit: Of every image.
        halves: Maps of the half sets.
        limit: Frequency pixels used.
        store: The images, with the noise that was left of them.
        log: One record a round.
    """

    fit: Fit
    halves: Halves
    limit: int
    store: Store
    log: list[dict[str, float]]


def refine_poses(
    store: Store,
    start: Found,
    half_sets: tuple[Tensor, Tensor],
    config: PoseConfig,
    run: Run,
    first: int = 10,
) -> Refined:
    """Maps of both half sets and poses in them in turn, finer step by step.

    At one limit until poses move by less than what the data leave open, at the last by less than a quarter of
    it; as long as the halves agree at the limit, the next is half as fine again. Look-alikes (half turns,
    views from behind, the map's own pseudo-symmetries) are tried at the first limits. At each limit, images
    whose pose hardly leads over another are searched again in the maps that are known by then.

    Args:
        store: The images.
        start: Poses and contrasts to begin with, and their leads.
        half_sets: Rows of each.
        config: How long, and how images are searched.
        run: One stage a round.
        first: Frequency pixels to begin with.
    """
    found, limit, log, rule = start, first, [], config.rounds
    rounds = raises = 0
    while True:
        mates = raises < rule.mates and rounds == 0
        doubted = rule.doubted if rounds == 0 else -math.inf
        turn = _Turn(store, found, half_sets, limit, mates, doubted, len(log))
        stage = run.stage(f"round-{len(log) + 1}")
        identity = {"limit": limit, "mates": mates}
        kept = remembered(stage, identity, lambda turn=turn: _round(turn, config, run))
        found, store = _unpacked(kept), store.with_noise(kept["noise"])
        fit, moved = found.fit, float(kept["moved"])
        rounds += 1
        doubtful = float((found.lead < rule.doubted).float().mean())
        log.append({"limit": limit, "score": float(fit.score.mean()), "moved": moved, "doubtful": doubtful})
        _LOG.info("round %d: %s", len(log), log[-1])
        wider = next_limit(kept["fsc"], limit, store.disc.limit, rule.growth)
        if moved >= (_STILL if wider == limit else _SETTLED) and rounds < rule.most:
            continue
        if wider == limit:
            halves = half_maps(store, fit, half_sets, limit, run)
            return Refined(fit, halves, limit, store, log)
        limit, rounds, raises = wider, 0, raises + 1


def half_maps(
    store: Store, fit: Fit, half_sets: tuple[Tensor, Tensor], limit: int, run: Run | None
) -> Halves:
    """Maps of both half sets at the poses found, joined at the frequencies that both know well."""
    found = fit.poses, fit.contrast
    one, two = (assemble(store, rows, found, limit, run) for rows in half_sets)
    known = agreement((one, two), store.disc.grid, limit)
    return filtered_halves((one, two), store.disc.grid, limit, known, common_shell(known[0]))


def common_shell(fsc: Float[Tensor, "s"]) -> int:
    """Shell up to which both half sets see the maps of all images."""
    return int(crossing(fsc, _KNOWN))


def next_limit(fsc: Float[Tensor, "s"], limit: int, last: int, growth: float) -> int:
    """How fine to go on: as it is once the halves differ at the limit, or at the finest there is."""
    useful = crossing(fsc[: limit + 1], _USEFUL)
    if useful < limit - 1:
        return limit
    return min(last, max(limit + 2, int(limit * growth)))


def movement(before: Poses, fit: Fit) -> float:
    """Median angle by which rotations changed, in the standard deviations that the data leave open."""
    information = fit.information[:, :3, :3].double()
    spread = information.diagonal(dim1=1, dim2=2).clamp(min=1e-12).reciprocal().sum(1).sqrt()
    return float((geodesic_distance(before.rotation, fit.poses.rotation) / spread).median())


@dataclass(frozen=True)
class _Turn:
    """What a round begins with."""

    store: Store
    found: Found
    half_sets: tuple[Tensor, Tensor]
    limit: int
    mates: bool
    doubted: float
    number: int


def _round(turn: _Turn, config: PoseConfig, run: Run) -> dict[str, Tensor]:
    """Maps of the poses, then poses in the maps; and the noise that they leave."""
    store, limit, before = turn.store, turn.limit, turn.found.fit
    halves = half_maps(store, before, turn.half_sets, limit, run)
    found, power = nothing_found(len(store)), Residual(store, limit)
    turns = pseudo_symmetries(halves.mean(), _SYMMETRY_LIMIT) if turn.mates else None
    for volume, rows in zip(halves.volumes, turn.half_sets, strict=True):
        tried = _Tried(turn, volume, turns, config)
        for block in blocks(rows, _BLOCK, run, f"poses to {store.disc.grid.extent / limit:.1f} Å"):
            doubted = turn.found.lead[block] < turn.doubted
            for part, best in ((block[~doubted], tried.refined), (block[doubted], tried.searched)):
                if len(part):
                    put(found, part, best(part))
        power.add(volume, found.fit, rows[:: -(-len(rows) // _JUDGED)])
    found = shared(found)
    fit = replace(found.fit, contrast=found.fit.contrast / found.fit.contrast.mean())
    found, moved = replace(found, fit=fit), torch.tensor(movement(before.poses, fit))
    return {**_packed(found), "noise": power.spectra(), "fsc": halves.fsc, "moved": moved}


class _Tried:
    """Poses tried for images of a half set in its map."""

    def __init__(
        self, turn: _Turn, volume: Volume, turns: Float[Tensor, "s 3 3"] | None, config: PoseConfig
    ) -> None:
        store, search = turn.store, config.starts
        self._turn, self._turns, self._rule = turn, turns, config.rounds
        self._model = map_products(volume, store.disc, turn.limit)
        self._coarse = min(turn.limit, _SEARCH_LIMIT)
        self._grid: SearchGrid | None = None
        if bool((turn.found.lead < turn.doubted).any()):
            between = random_rotations(1, torch.Generator().manual_seed(turn.number))[0]
            reach = search.reach * store.disc.grid.extent
            self._grid = search_grid(store, volume, self._coarse, search.rotations, reach, between)

    def refined(self, rows: Int[Tensor, "b"]) -> Found:
        """From the poses that they have, and those of look-alikes."""
        images, own = self._read(rows)
        steps = _NEAR_STEPS if self._turns is None else _STEPS
        fit = likeliest(images, self._model, own, steps, self._rule.contrast_spread)
        return Found(fit, self._turn.found.lead[rows])

    def searched(self, rows: Int[Tensor, "b"]) -> Found:
        """From these, and the best of all rotations."""
        assert self._grid is not None
        images, own = self._read(rows)
        coarse = self._turn.store.read(rows, self._coarse)
        anywhere = searched(coarse, self._grid, self._rule.hypotheses)
        tried = side_by_side(own, anywhere, len(rows))
        return Found(*ahead(images, self._model, tried, _STEPS, self._rule.contrast_spread))

    def _read(self, rows: Int[Tensor, "b"]) -> tuple[Coefficients, Poses]:
        """Images, and the poses that they have, with their look-alikes where those are tried."""
        poses = self._turn.found.fit.poses[rows]
        own = poses if self._turns is None else with_mates(poses, self._turns)
        return self._turn.store.read(rows, self._turn.limit), own


class Residual:
    """Noise by group and shell, as what is left of stored images once their model is taken off."""

    def __init__(self, store: Store, limit: int) -> None:
        self.store, self.limit, self.shells = store, limit, store.disc.shells(limit)
        self.power = torch.zeros_like(store.noise, dtype=torch.float64)
        self.count = torch.zeros_like(self.power)

    def add(self, volume: Volume, fit: Fit, rows: Int[Tensor, "m"]) -> None:
        """Add what a map leaves of images ``rows``, those that this process has fitted."""
        store, maps = self.store, template(volume, self.store.disc, self.limit)
        for block in rows[fit.contrast[rows] > 0].split(_BLOCK):
            images, poses = store.read(block, self.limit), fit.poses[block]
            filtered = images.transfer * ramps(store.disc, self.limit, poses.shift)
            left = images.values - fit.contrast[block, None] * filtered * maps.slices(poses.rotation)[0]
            power = (left.real.square() + left.imag.square()).double()
            noise = store.noise[store.group[block]][:, self.shells]
            place = store.group[block][:, None] * self.power.shape[1] + self.shells
            self.power.view(-1).index_add_(0, place.flatten(), (power * noise).flatten())
            self.count.view(-1).index_add_(0, place.flatten(), torch.ones_like(power).flatten())

    def spectra(self) -> Float[Tensor, "o s"]:
        """Spectra of all processes' residuals; as before where there were none."""
        ranks.sum_tensors([self.power, self.count])
        return torch.where(
            self.count > 0, self.power / self.count.clamp(min=1), self.store.noise.double()
        ).float()


def _packed(found: Found) -> dict[str, Tensor]:
    fit = found.fit
    return {
        "rotation": fit.poses.rotation,
        "shift": fit.poses.shift,
        "contrast": fit.contrast,
        "score": fit.score,
        "information": fit.information,
        "lead": found.lead,
    }


def _unpacked(tensors: dict[str, Tensor]) -> Found:
    poses = Poses(tensors["rotation"], tensors["shift"])
    fit = Fit(poses, tensors["contrast"], tensors["score"], tensors["information"])
    return Found(fit, tensors["lead"])

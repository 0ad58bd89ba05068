"""From poses in one map to poses and latents in a mean map and the directions in which particles differ."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from morphem.core.types import Poses
from morphem.engine.run import Run
from morphem.inference.joint import together
from morphem.inference.modes import ModeConfig, Modes, find_modes
from morphem.inference.rounds import PoseConfig, Refined, common_shell, half_maps
from morphem.inference.several_maps import SearchRule, SeveralConfig, found_elsewhere
from morphem.inference.subspace import setting


@dataclass(frozen=True)
class ShapeRule:
    """How directions, and poses with them, are found.

    Attributes:
        poses: How poses in one map were found.
        modes: Directions.
        several: Poses sought in maps of typical shapes.
        seed: Of everything random.
    """

    poses: PoseConfig
    modes: ModeConfig
    several: SeveralConfig
    seed: int

    @property
    def spread(self) -> float:
        """Standard deviation of images' contrast about 1."""
        return self.poses.rounds.contrast_spread


def poses_and_modes(
    refined: Refined, half_sets: tuple[Tensor, Tensor], rule: ShapeRule, run: Run
) -> tuple[Refined, Poses, Modes]:
    """Directions at the poses found; where there are any, poses and latents found together at finer limits.

    Before that, images are searched again in maps of typical shapes, and directions found anew at their
    poses, as long as that changes some of them. Maps are no finer than the halves agree.

    Returns:
        Poses in one map, those that a search changed among them; poses and directions found together.
    """
    modes = _modes_at(refined, half_sets, rule, run)
    if not rule.modes.joint:
        return refined, refined.fit.poses, modes
    for number in range(1, rule.several.rounds + 1):
        again = _elsewhere(refined, half_sets, modes, rule, run.stage(f"elsewhere-{number}"))
        if again is None:
            break
        refined = again
        modes = _modes_at(refined, half_sets, rule, run.stage(f"anew-{number}"))
    if not len(modes.space):
        return refined, refined.fit.poses, modes
    return refined, *together(refined, half_sets, modes, (rule.modes, rule.spread), run)


def _modes_at(refined: Refined, half_sets: tuple[Tensor, Tensor], rule: ShapeRule, run: Run) -> Modes:
    limit = min(rule.modes.limit, refined.limit)
    halves = half_maps(refined.store, refined.fit, half_sets, limit, run)
    where = setting(refined.store, refined.fit, halves, limit)
    return find_modes(where, half_sets, rule.modes, rule.seed, run)


def _elsewhere(
    refined: Refined, half_sets: tuple[Tensor, Tensor], modes: Modes, rule: ShapeRule, run: Run
) -> Refined | None:
    """Poses sought in typical shapes, and the half maps at them; None if few would change."""
    if not len(modes.space):
        return None
    limit = min(modes.limit, max(common_shell(refined.halves.fsc), rule.several.limit))
    where = setting(refined.store, refined.fit, refined.halves, limit)
    rows = torch.cat(half_sets).sort().values
    reach = rule.poses.starts.reach * refined.store.disc.grid.extent
    how = SearchRule(rule.several, reach, rule.spread, rule.seed)
    fit = found_elsewhere(where, rows, (modes.space, modes.latents), how, run)
    if fit is None:
        return None
    halves = half_maps(refined.store, fit, half_sets, refined.limit, run)
    return replace(refined, fit=fit, halves=halves)

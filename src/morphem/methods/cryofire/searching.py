"""cryoFIRE by search: poses from stochastic expectation–maximisation, then refined exactly."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.data.stack import ParticleStack
from morphem.engine.files import write_json
from morphem.engine.half_maps import write_half_maps
from morphem.engine.insertion import backproject
from morphem.engine.ranks import is_main
from morphem.engine.reconstruction import Reconstruction, write_spread
from morphem.engine.run import Run
from morphem.inference.abinitio import SeedConfig, Start
from morphem.inference.frozen import Reckoning, freeze, write_model
from morphem.inference.modes import ModeConfig, Modes
from morphem.inference.posing import PoseConfig, find_poses
from morphem.inference.rounds import Refined, RoundConfig
from morphem.inference.several_maps import SeveralConfig
from morphem.inference.shapes import ShapeRule, poses_and_modes
from morphem.inference.soundness import warnings_of
from morphem.inference.subspace import Subspace
from morphem.models.density import LinearDensity

_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class SearchConfig:
    """Poses by search and refinement."""

    starts: SeedConfig = SeedConfig()
    """Starts from random poses."""
    rounds: RoundConfig = RoundConfig()
    """Refinement of poses."""
    modes: ModeConfig = ModeConfig()
    """Directions in which particles differ."""
    several: SeveralConfig = SeveralConfig()
    """Poses sought in maps of several typical shapes."""
    limit: int = 40
    """Finest frequency used for poses, frequency pixels; Nyquist where that is less."""


def reconstruct_by_search(stack: ParticleStack, config: SearchConfig, seed: int, run: Run) -> Reconstruction:
    """Poses, then maps at full resolution."""
    how = PoseConfig(config.starts, config.rounds, config.limit)
    found = find_poses(stack, "abinit", how, seed, run)
    start, refined = found.start, found.refined
    assert start is not None
    rule = ShapeRule(how, config.modes, config.several, seed)
    refined, poses, modes = poses_and_modes(refined, stack.halves(seed), rule, run)
    posed = replace(stack, poses=poses, has_poses=True)
    maps = backproject(posed, run, seed=seed)
    write_half_maps(maps, run.root)
    write_model(run, freeze(refined, modes, Reckoning(config.starts, config.rounds)))
    warnings = warnings_of(start, refined, config.starts)
    for warning in warnings:
        _LOG.warning("%s", warning)
    _write_report((start, refined, modes), warnings, run)
    write_spread(run.root, modes.latents.covariance)
    return Reconstruction(
        poses=posed.poses,
        latents=modes.latents.mean,
        density=LinearDensity.of(maps.mean, _in_full(modes.space, stack.grid)),
        grid=stack.grid,
        history={"poses": refined.log},
        provenance=run.provenance(),
    )


def _in_full(space: Subspace, grid: Grid) -> Float[Tensor, "q d d d"]:
    """Directions on the images' grid."""
    full = [resize_map(each, grid.box) for each in space.directions]
    return torch.stack(full) if full else torch.zeros(0, grid.box, grid.box, grid.box)


def _write_report(found: tuple[Start, Refined, Modes], warnings: list[str], run: Run) -> None:
    """What is known of the result's soundness, as ``abinitio.json``."""
    start, refined, modes = found
    degrees = [math.degrees(angle) for angle in start.agreement]
    facts = {
        "warnings": warnings,
        "starts": {"log_likelihood": start.scores, "degrees_from_the_best": degrees},
        "rounds": refined.log,
        "fsc": refined.halves.fsc.tolist(),
        "directions": {"kept": len(modes.space), "gain": modes.gain, "standard_error": modes.error},
        "hand": "not determined: images of a molecule and of its mirror image are the same",
    }
    if is_main():
        write_json(run.root / "abinitio.json", facts)

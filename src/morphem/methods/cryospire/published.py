"""CryoSPIRE as published: mixtures, networks and latents all descend together."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from morphem.core.types import Poses
from morphem.data.mrc import write_map
from morphem.data.stack import ParticleStack
from morphem.engine.descend import descend
from morphem.engine.half_maps import HalfMaps, write_half_maps
from morphem.engine.insertion import backproject
from morphem.engine.parts import write_parts
from morphem.engine.ranks import is_main
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.inference.density_poses import Sight, refine_in_density
from morphem.inference.passes import remembered
from morphem.methods.cryospire.objectives import AbstractMixtureObjective, MixtureObjective, noise_precision
from morphem.methods.cryospire.settings import Config
from morphem.methods.cryospire.starting import anchored, initial_latents, initial_parts, start_map
from morphem.metrics.fsc import crossing

_COARSEST = 8  # frequency pixels that poses are refined with at least


def reconstruct_published(stack: ParticleStack, config: Config, run: Run) -> Reconstruction:
    """Discover parts with a coarse mixture, then fit a fine one tied to their anchors."""
    maps = consensus(stack, config, run)
    start, precision = start_map(maps, config), noise_precision(maps, config)
    latents = initial_latents(stack.n_particles, config)
    parts = initial_parts(start, replace(config, latent=latents.rows.shape[1]))
    coarse = MixtureObjective(parts, latents, precision, config)
    descend(coarse, stack, config.parts_descent, run.stage("parts"))
    fine = anchored(parts, latents.rows, start.grid, config)
    finer = MixtureObjective(fine, latents, precision, config)
    descend(finer, stack, config.fine_descent, run.stage("fine"))
    for number in range(1, config.rounds_of(stack) + 1):
        stack = posed_in(finer, stack, sight(maps, config), run, number)
        descend(finer, stack, config.pose_descent, run.stage(f"fine-{number}"))
    write_parts(fine, latents.rows, stack.grid, run.root)
    return Reconstruction(stack.poses, latents.rows, fine, stack.grid, run.history(), run.provenance())


def consensus(stack: ParticleStack, config: Config, run: Run) -> HalfMaps:
    """Half maps of all particles as if they were alike, which the run keeps with their mean."""
    maps = backproject(stack, run, seed=config.seed)
    write_half_maps(maps, run.root)
    if is_main():
        write_map(run.root / "consensus.mrc", maps.mean)
    return maps


def sight(maps: HalfMaps, config: Config) -> Sight:
    """Noise that poses are refined with, and the finest frequency: where the consensus's halves still agree.

    Beyond it the mixture knows little but the noise of the very images.
    """
    grid = maps.mean.grid
    noise = torch.ones_like(maps.noise) if config.noise == "white" else maps.noise
    known = int(crossing(maps.fsc_corrected, 0.143))
    return Sight(noise, min(max(known, _COARSEST), grid.box // 2 - 1))


def posed_in(
    fitted: AbstractMixtureObjective, stack: ParticleStack, by: Sight, run: Run, number: int
) -> ParticleStack:
    """The particles with poses refined in a fitted mixture, once a run and round."""

    def found() -> dict[str, Tensor]:
        poses = refine_in_density(fitted.density, fitted.latents.rows, stack, by, run)
        return dict(vars(poses))

    kept = remembered(run.stage(f"fine-{number}-poses"), {"limit": by.limit}, found)
    return replace(stack, poses=Poses(kept["rotation"], kept["shift"]))

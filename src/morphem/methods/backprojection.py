"""One rigid map at the given poses: half maps, their correlation, the Wiener-filtered mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from morphem.data.stack import ParticleStack
from morphem.engine.half_maps import write_half_maps
from morphem.engine.insertion import backproject
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.models.density import VoxelDensity


@dataclass(frozen=True)
class Config:
    """Back-projection."""

    noise_passes: int = 0
    """How often to measure the noise again, from residuals; each costs two more passes over the images."""
    seed: int = 0
    """Of the half sets, where the particle file names none, and of randomised phases."""

    def __post_init__(self) -> None:
        if self.noise_passes < 0:
            raise ValueError(f"noise_passes is {self.noise_passes}; 0 or more passes can be made")


def reconstruct(stack: ParticleStack, config: Config, run: Run) -> Reconstruction:
    """The filtered mean as a density; the half maps, their mask and correlations go into the run's folder."""
    maps = backproject(stack, run, seed=config.seed, noise_passes=config.noise_passes)
    write_half_maps(maps, run.root)
    return Reconstruction(
        poses=stack.poses,
        latents=torch.zeros(stack.n_particles, 0),
        density=VoxelDensity.of(maps.mean),
        grid=stack.grid,
        provenance=run.provenance(),
    )

"""A small objective with everything that must survive a kill: weights, buffers, rows and random numbers."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from morphem.core.grid import Grid
from morphem.core.types import Optics, Particles
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.engine.descend import AbstractObjective
from morphem.engine.sweep import AbstractStatistic
from morphem.models.table import ParticleTable

WIDTH = 3


class ToyObjective(AbstractObjective):
    """Images as a linear function of a row per particle, with noise added to the row."""

    def __init__(self, particles: int, noise: float = 0.1, pause: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.noise, self.pause = noise, pause
        self.maps = nn.Parameter(torch.randn(WIDTH, 64, generator=generator))
        self.level = nn.Parameter(torch.zeros(64))
        self.register_buffer("power", torch.zeros(()))
        self.latents = ParticleTable(torch.randn(particles, WIDTH, generator=generator), 0.1)

    def terms(self, batch: Particles, seen: int) -> dict[str, Tensor]:
        time.sleep(self.pause)
        z = self.latents.read(batch.particle)
        blurred = z + self.noise * torch.randn(z.shape)
        residual = blurred @ self.maps + self.level - batch.images.flatten(1)
        return {"image": residual.square().mean(), "latent": 0.1 * z.square().sum(1).mean()}

    def parameter_groups(self) -> list[dict[str, object]]:
        return [{"params": [self.maps], "lr": 0.02}, {"params": [self.level], "lr": 0.01}]

    def tables(self) -> dict[str, ParticleTable]:
        return {"latents": self.latents}


def toy_stack(images: int = 61, tilts: int = 1) -> ParticleStack:
    """Images of 8² pixels, ``tilts`` of each particle."""
    generator = torch.Generator().manual_seed(0)
    one = torch.ones(images)
    optics = Optics(1e4 * one, 1e4 * one, 0 * one, 300 * one, 2.7 * one, 0.1 * one, 0 * one, 0 * one, one)
    pixels = torch.randn(images, 8, 8, generator=generator)
    return stack_in_memory(pixels, Grid(8, 2.0), optics, particle=torch.arange(images) // tilts)


class ToyMean(AbstractStatistic):
    """Mean image; each pass after the first subtracts what the last one found."""

    batch_size = 5

    def __init__(self) -> None:
        self.mean = torch.zeros(8, 8)
        self._sums = [torch.zeros(8, 8), torch.zeros(())]

    def gather(self, batch: Particles) -> None:
        self._sums[0] += (batch.images - self.mean).sum(0)
        self._sums[1] += len(batch)

    def tensors(self) -> list[Tensor]:
        return self._sums

    def solve(self) -> None:
        self.mean = self.mean + 0.5 * self._sums[0] / self._sums[1]
        self._sums = [torch.zeros(8, 8), torch.zeros(())]

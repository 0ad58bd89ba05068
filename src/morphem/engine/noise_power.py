"""Noise spectra of optics groups, measured over a particle set."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import radial_mean, to_fourier
from morphem.core.grid import Grid
from morphem.core.types import Particles, Volume
from morphem.data.stack import ParticleStack
from morphem.engine.sweep import AbstractStatistic
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import phase_ramp
from morphem.physics.masks import soft_disk
from morphem.physics.noise import background_power, residual_power
from morphem.physics.slices import prepare_transform, sample_slices

_POOLED_IMAGES = 10  # of the whole set, that the spectrum of a group is averaged with
_RADIUS = 0.4  # of the disk that holds the particle, fraction of the box
_EDGE = 0.05  # of that disk, fraction of the box


class AbstractNoisePower(AbstractStatistic):
    """Noise power by optics group and shell; solved as ``spectra``.

    1 is what white noise of variance 1 per pixel has. Noise of a premultiplied image went through the
    contrast transfer with the signal, so its power is divided by CTF². A group of few images leans on the
    whole set.
    """

    def __init__(self, stack: ParticleStack) -> None:
        self.grid, self.premultiplied = stack.grid, stack.premultiplied
        self.batch_size = images_per_batch(stack.grid)
        self.power = torch.zeros(stack.n_groups, stack.grid.half, dtype=torch.float64)
        self.white = torch.zeros_like(self.power)

    @abstractmethod
    def noise(self, batch: Particles, transfer: Float[Tensor, "b d h"]) -> Float[Tensor, "b d h"]:
        """Power of what is noise in each image."""

    def gather(self, batch: Particles) -> None:
        """Add each image's noise, and what white noise would have had, to the sums of its group."""
        transfer = contrast_transfer(batch.optics, self.grid)
        done = self.premultiplied[batch.index][:, None, None]
        white = torch.where(done, transfer.square(), torch.ones_like(transfer))
        power = radial_mean(self.noise(batch, transfer), self.grid)
        self.power.index_add_(0, batch.group, power.double())
        self.white.index_add_(0, batch.group, radial_mean(white, self.grid).double())

    def tensors(self) -> list[Tensor]:
        """The two sums."""
        return [self.power, self.white]

    def solve(self) -> None:
        """Divide."""
        overall = self.power.sum(0) / self.white.sum(0)
        overall[0] = overall[1]  # the background's mean was taken off
        # blank images would otherwise weigh infinitely
        overall = overall.clamp(min=1e-6 * float(overall.max()))
        power = self.power + _POOLED_IMAGES * overall
        self.spectra = (power / (self.white + _POOLED_IMAGES)).float()
        self.spectra[:, 0] = self.spectra[:, 1]


class BackgroundPower(AbstractNoisePower):
    """Noise outside the particle's disk."""

    def __init__(self, stack: ParticleStack) -> None:
        AbstractNoisePower.__init__(self, stack)
        extent = self.grid.extent
        self.disk = soft_disk(self.grid, _RADIUS * extent, _EDGE * extent)

    def noise(self, batch: Particles, transfer: Float[Tensor, "b d h"]) -> Float[Tensor, "b d h"]:
        """Power of the images without their disk."""
        return background_power(batch.images, self.disk)


class ResidualPower(AbstractNoisePower):
    """Noise as what images differ by from those of a map."""

    def __init__(self, stack: ParticleStack, volume: Volume) -> None:
        AbstractNoisePower.__init__(self, stack)
        self.transform = prepare_transform(volume)

    def noise(self, batch: Particles, transfer: Float[Tensor, "b d h"]) -> Float[Tensor, "b d h"]:
        """Power of the residuals."""
        done = self.premultiplied[batch.index][:, None, None]
        filtered = transfer * torch.where(done, transfer, torch.ones_like(transfer))
        projection = sample_slices(self.transform, batch.poses.rotation, self.grid)
        model = projection * filtered * phase_ramp(batch.poses.shift, self.grid)
        return residual_power(to_fourier(batch.images) - model)


def images_per_batch(grid: Grid) -> int:
    """Images whose half planes hold about four million numbers together."""
    return max(16, 2**22 // (grid.box * grid.half))

"""Weighted back-projection of particles with known poses."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import to_fourier
from morphem.core.types import Particles
from morphem.data.errors import DataError
from morphem.data.stack import ParticleStack
from morphem.engine.half_maps import HalfMaps, judge_halves
from morphem.engine.noise_power import BackgroundPower, ResidualPower, images_per_batch
from morphem.engine.run import Run
from morphem.engine.sweep import AbstractStatistic, sweep
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import phase_ramp
from morphem.physics.noise import whitening_filter
from morphem.physics.slices import insert_weighted

PADDING = 2
NOISE_IMAGES = 2000  # of a set, from which the background's spectrum is measured


def backproject(
    stack: ParticleStack,
    run: Run | None = None,
    rows: Int[Tensor, "m"] | None = None,
    seed: int = 0,
    noise_passes: int = 0,
) -> HalfMaps:
    """Half maps of the particles at their poses, each image weighted by CTF² over its group's noise power.

    The noise is that outside the particle's disk. One pass over the images fills both halves.

    Args:
        stack: Bright protein on background zero; premultiplied images are taken as such.
        run: Says how far the work is.
        rows: Images to use; all by default.
        seed: Of the half sets, where the particle file names none, and of randomised phases.
        noise_passes: How often to measure the noise again, as what images differ by from the mean map;
            each costs two more passes over the images.
    """
    if not stack.has_poses:
        raise DataError("POSE-005", "back-projection needs poses; give a particle file of a refinement")
    used = torch.arange(len(stack)) if rows is None else rows
    half = _half_labels(stack, used, seed)
    noise = background_noise(stack, used, run)
    insertion = sweep(Insertion(stack, half, noise, seed), stack, 1, run, used)
    for _ in range(noise_passes):
        residual = ResidualPower(stack, insertion.maps.mean)
        noise = sweep(residual, stack, 1, run, used).spectra
        insertion = sweep(Insertion(stack, half, noise, seed), stack, 1, run, used)
    return insertion.maps


class Insertion(AbstractStatistic):
    """Slices summed in one padded transform per half set, solved as :class:`HalfMaps`.

    Memory: 24 bytes × (2d)³ for both halves of a box of d pixels; cost of a batch, one padded transform more.
    """

    def __init__(
        self, stack: ParticleStack, half: Int[Tensor, "n"], noise: Float[Tensor, "o s"], seed: int = 0
    ) -> None:
        """Empty sums.

        Args:
            stack: Whose images will be gathered.
            half: Half set, 0 or 1, of each image of the stack.
            noise: Noise power by optics group and shell.
            seed: Of randomised phases.
        """
        self.grid, self.half, self.noise, self.seed = stack.grid, half, noise, seed
        self.precision = whitening_filter(noise, stack.grid).square()
        self.premultiplied = stack.premultiplied
        self.batch_size = images_per_batch(stack.grid)
        edge, quarter = PADDING * stack.grid.box + 1, PADDING * stack.grid.box // 2 + 1
        self.numerator = torch.zeros(2, edge, edge, quarter, dtype=torch.complex64)
        self.weight = torch.zeros(2, edge, edge, quarter)

    def gather(self, batch: Particles) -> None:
        """Insert ``CTF · image / σ²`` and ``CTF² / σ²`` of each image in the tables of its half set."""
        slices, weights = self._weighted(batch)
        for half in range(2):
            own = self.half[batch.index] == half
            if not own.any():
                continue
            rotation = batch.poses.rotation[own]
            numerator, weight = insert_weighted(slices[own], weights[own], rotation, self.grid, PADDING)
            self.numerator[half] += numerator
            self.weight[half] += weight

    def tensors(self) -> list[Tensor]:
        """The two tables."""
        return [torch.view_as_real(self.numerator), self.weight]

    def solve(self) -> None:
        """Divide, compare the halves, filter their mean."""
        self.maps = judge_halves(self.numerator, self.weight, self.grid, self.noise, self.seed)

    def _weighted(self, batch: Particles) -> tuple[Complex[Tensor, "b d h"], Float[Tensor, "b d h"]]:
        transfer = contrast_transfer(batch.optics, self.grid)
        precision = self.precision[batch.group]
        done = self.premultiplied[batch.index][:, None, None]
        centred = to_fourier(batch.images) * phase_ramp(-batch.poses.shift, self.grid)
        once = torch.where(done, torch.ones_like(transfer), transfer)
        return centred * (once * precision), transfer.square() * precision


def _half_labels(stack: ParticleStack, rows: Int[Tensor, "m"], seed: int) -> Int[Tensor, "n"]:
    """Half set, 0 or 1, of each image; both must occur among ``rows``."""
    half = torch.zeros(len(stack), dtype=torch.long)
    half[stack.halves(seed)[1]] = 1
    if len(half[rows].unique()) < 2:
        particles = len(stack.particle[rows].unique())
        raise DataError("COUNT-003", f"{particles} particles of one half set; half maps need both halves")
    return half


def background_noise(stack: ParticleStack, rows: Int[Tensor, "m"], run: Run | None) -> Float[Tensor, "o s"]:
    """Noise of each optics group, from images spread over the set."""
    sample = rows[:: max(1, len(rows) // NOISE_IMAGES)]
    return sweep(BackgroundPower(stack), stack, 1, run, sample).spectra

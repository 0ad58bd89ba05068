"""The low frequencies of all images, whitened, in memory: what poses are found with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.core.types import Optics, Particles, PerParticle
from morphem.data.stack import ParticleStack
from morphem.engine import ranks
from morphem.engine.run import Run
from morphem.engine.sweep import AbstractStatistic, sweep
from morphem.physics.ctf import transfer_at

_LARGEST = 6e4  # float16 ends at 65504


@dataclass(frozen=True)
class Disc:
    """Frequencies of a half plane by rising radius, each pair of mates once, without DC.

    The first :meth:`count` of them are the disc of a smaller radius.

    Attributes:
        places: ``(x, y)`` in frequency pixels, x ≥ 0.
        grid: Of the images.
    """

    places: Int[Tensor, "m 2"]
    grid: Grid

    @property
    def limit(self) -> int:
        """Largest radius held, frequency pixels."""
        return int(self.places[:, 1].abs().max())

    def count(self, limit: int) -> int:
        """How many lie within ``limit`` frequency pixels."""
        return int((self.places.square().sum(1) <= limit**2).sum())

    def frequencies(self, limit: int) -> Float[Tensor, "k 2"]:
        """1/Å, those within ``limit``."""
        return self.places[: self.count(limit)] / self.grid.extent

    def shells(self, limit: int) -> Int[Tensor, "k"]:
        """Shell ``round(|k|)`` of those within ``limit``."""
        return self.places[: self.count(limit)].double().square().sum(1).sqrt().round().long()


def disc(grid: Grid, limit: int) -> Disc:
    """All frequencies within ``limit`` frequency pixels, below Nyquist."""
    if not 1 <= limit < grid.box // 2:
        raise ValueError(
            f"limit {limit} frequency pixels; images of {grid.box} have 1 to {grid.box // 2 - 1}"
        )
    line = torch.arange(-limit, limit + 1)
    x, y = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="xy"))
    squared = x.square() + y.square()
    kept = ((x > 0) | ((x == 0) & (y > 0))) & (squared <= limit**2)
    places = torch.stack([x[kept], y[kept]], 1)
    return Disc(places[squared[kept].sort(stable=True).indices], grid)


def low_frequencies(images: Float[Tensor, "b d d"], places: Disc, limit: int) -> Complex[Tensor, "b m"]:
    """Transforms of images within ``limit``, over the box: noise of variance 1 per pixel has power 1."""
    box = images.shape[-1]
    x, y = places.places[: places.count(limit)].T
    return to_fourier(images)[:, y % box, x] / box


@dataclass(frozen=True)
class Coefficients(PerParticle):
    """Low frequencies of a batch: ``values = contrast · transfer · ramp(shift) · slice + noise``.

    Attributes:
        values: Transform of each image over ``d · σ``, so that its noise has ``E|n|² = 1``.
        transfer: CTF over σ, the noise's standard deviation.
    """

    values: Complex[Tensor, "b m"]
    transfer: Float[Tensor, "b m"]


@dataclass(frozen=True)
class Store:
    """Low frequencies of all images.

    Memory: 4 bytes a coefficient, 1.6 kB an image at 16 frequency pixels.

    Attributes:
        values: Real and imaginary parts, float16, in the order of ``disc``.
        disc: Which frequencies.
        optics: Of each image.
        group: Optics group of each image.
        noise: Power by group and shell; 1 is white noise of variance 1 per pixel.
    """

    values: Float[Tensor, "n m 2"]
    disc: Disc
    optics: Optics
    group: Int[Tensor, "n"]
    noise: Float[Tensor, "o s"]

    def __len__(self) -> int:
        return len(self.values)

    def read(self, rows: Int[Tensor, "b"], limit: int, device: torch.device | str = "cpu") -> Coefficients:
        """Images ``rows`` within ``limit`` frequency pixels, on a device."""
        values, whitening = self.whitened(rows, limit, device)
        transfer = transfer_at(self.optics[rows].to(device), self.disc.frequencies(limit).to(device))
        return Coefficients(values, transfer * whitening)

    def whitened(
        self, rows: Int[Tensor, "b"], limit: int, device: torch.device | str = "cpu"
    ) -> tuple[Complex[Tensor, "b m"], Float[Tensor, "b m"]]:
        """Coefficients of images ``rows``, and the factor that gave their noise a power of 1."""
        # a product of real numbers: complex ones are divided ten times slower
        whitening = self.noise.rsqrt()[:, self.disc.shells(limit)].to(device)[self.group[rows].to(device)]
        values = self.values[rows, : self.disc.count(limit)].to(device).float() * whitening[..., None]
        return torch.view_as_complex(values), whitening

    def select(self, rows: Int[Tensor, "b"]) -> Store:
        """Only these images, in this order."""
        return replace(self, values=self.values[rows], optics=self.optics[rows], group=self.group[rows])

    def with_noise(self, noise: Float[Tensor, "o s"]) -> Store:
        """The same images, weighed by another noise spectrum."""
        return replace(self, noise=noise)


class Collection(AbstractStatistic):
    """Fills a store with the images of a stack; each process has all of it in the end."""

    def __init__(self, stack: ParticleStack, limit: int) -> None:
        self.disc = disc(stack.grid, limit)
        self.values = torch.zeros(len(stack), len(self.disc.places), 2, dtype=torch.float16)

    def gather(self, batch: Particles) -> None:
        """Take a batch's low frequencies."""
        spectra = low_frequencies(batch.images, self.disc, self.disc.limit)
        self.values[batch.index] = torch.view_as_real(spectra).clamp(-_LARGEST, _LARGEST).half()

    def tensors(self) -> list[Tensor]:
        """The coefficients, zero where another process has them."""
        return [self.values]

    def solve(self) -> None:
        """Nothing is left to do."""


def collect(stack: ParticleStack, limit: int, noise: Float[Tensor, "o s"], run: Run | None = None) -> Store:
    """Store of a stack, filled in one pass over its images.

    Args:
        stack: Prepared images: protein bright, background zero.
        limit: Frequency pixels to keep.
        noise: Power of each optics group by shell.
        run: Where progress is told.
    """
    kept = sweep(Collection(stack, limit), stack, 1, run)
    ranks.barrier()
    return Store(kept.values, kept.disc, stack.optics, stack.group, noise)

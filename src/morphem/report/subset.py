"""Mean maps of some particles from their images alone: what the data say, whatever the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import resize_images, to_fourier
from morphem.core.types import Particles, Poses, Volume
from morphem.data.errors import DataError
from morphem.data.feed import feed
from morphem.data.images import AbstractImages
from morphem.data.stack import ParticleStack, order
from morphem.engine.half_maps import HalfMaps, judge_halves
from morphem.engine.noise_power import BackgroundPower
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import phase_ramp
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.noise import whitening_filter
from morphem.physics.slices import disc

_NOISE_IMAGES = 500  # from which the background's spectrum is measured
_BATCH = 128  # images: few enough that their spectra stay in cache
_PADDING = 2


@dataclass(frozen=True)
class SubsetMap:
    """What some images say.

    Attributes:
        volume: Mean map, Wiener-filtered.
        resolution: Å at which the half maps still agree (FSC 0.143, corrected for the mask); None where they
            have nothing in common.
        used: Images that went into it.
        asked: Images that were asked for.
        halves: Maps of either half set, unfiltered.
        mask: Around the molecule, soft.
        fsc: Of the halves, corrected for the mask, by shell.
    """

    volume: Volume
    resolution: float | None
    used: int
    asked: int
    halves: tuple[Volume, Volume]
    mask: Float[Tensor, "d d d"]
    fsc: Float[Tensor, "s"]


class CroppedImages(AbstractImages):
    """Images of a stack on a coarser grid of the same extent, cropped as they are read."""

    def __init__(self, images: AbstractImages, box: int) -> None:
        self.images, self.box = images, box

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows``, float32."""
        return resize_images(self.images.read(rows), self.box)

    def select(self, rows: Int[Tensor, "b"]) -> CroppedImages:
        """Only these images; nothing is read."""
        return CroppedImages(self.images.select(rows), self.box)

    def name(self, row: int) -> str:
        """What the uncropped image is called."""
        return self.images.name(row)

    def fingerprint(self) -> str:
        """That of the uncropped images, and the box."""
        return f"{self.images.fingerprint()}-{self.box}"


def subset_map(
    stack: ParticleStack,
    poses: Poses,
    rows: Int[Tensor, "m"],
    limit: int = 5000,
    seed: int = 0,
    box: int = 128,
) -> SubsetMap:
    """Weighted back-projection of some images, half sets apart; no model is asked.

    Cost: 2,000 images of 64 pixels take about a second.

    Args:
        stack: Bright protein on background zero.
        poses: Of every image of the stack.
        rows: Images to use; their particles' half sets are those of the whole stack.
        limit: Of the images used; where there are more, these are drawn by ``seed``.
        seed: Of that draw, of half sets that no file names, and of randomised phases.
        box: Images are cropped to so many pixels in Fourier space, at most.

    Raises:
        DataError: If the images are of fewer than two particles, or of one half set alone.
    """
    chosen = rows if len(rows) <= limit else rows[order(len(rows), seed, 0)[:limit]]
    chosen = chosen.sort().values
    small = _on_coarser_grid(replace(stack, poses=poses, has_poses=True), box)
    half = torch.zeros(len(stack), dtype=torch.long)
    half[stack.halves(seed)[1]] = 1
    if len(half[chosen].unique()) < 2:
        met = f"{len(chosen)} images of one half set or none were asked for"
        raise DataError("COUNT-003", f"{met}; half maps need images of both, choose more particles")
    found = _halves_of(small, chosen, half, seed)
    best = found.resolution if math.isfinite(found.resolution) else None
    halves = found.half1, found.half2
    return SubsetMap(found.mean, best, len(chosen), len(rows), halves, found.mask, found.fsc_corrected)


def rows_of_particles(stack: ParticleStack, particles: Int[Tensor, "k"]) -> Int[Tensor, "m"]:
    """All images of some particles, in rising order."""
    wanted = torch.zeros(stack.n_particles, dtype=torch.bool)
    wanted[particles] = True
    return wanted[stack.particle].nonzero().flatten()


def _on_coarser_grid(stack: ParticleStack, box: int) -> ParticleStack:
    if stack.grid.box <= box:
        return stack
    return replace(stack, images=CroppedImages(stack.images, box), grid=stack.grid.resized(box))


def _halves_of(stack: ParticleStack, rows: Int[Tensor, "m"], half: Int[Tensor, "n"], seed: int) -> HalfMaps:
    """As :func:`morphem.engine.insertion.backproject`, in one pass by the compiled sums, saying nothing."""
    noise = _noise(stack, rows)
    precision, inside = whitening_filter(noise, stack.grid).square(), disc(stack.grid)
    plane = stack.grid.frequencies()[inside] / stack.grid.nyquist
    sums = [InsertedSlices(_PADDING * stack.grid.box) for _ in range(2)]
    for batch in feed(stack, rows.split(_BATCH)):
        slices, weights = _weighted(batch, precision[batch.group], stack.premultiplied[batch.index])
        for number, total in enumerate(sums):
            own = half[batch.index] == number
            if own.any():
                rotation = batch.poses.rotation[own]
                total.add(slices[own][None, :, inside], weights[own][None, :, inside], rotation, plane)
    numerator = torch.stack([total.numerators()[0] for total in sums])
    weight = torch.stack([total.densities()[0] for total in sums])
    return judge_halves(numerator, weight, stack.grid, noise, seed)


def _noise(stack: ParticleStack, rows: Int[Tensor, "m"]) -> Float[Tensor, "o s"]:
    """Noise of each optics group, from some of the images."""
    power = BackgroundPower(stack)
    for batch in feed(stack, rows[:: max(1, len(rows) // _NOISE_IMAGES)].split(_BATCH)):
        power.gather(batch)
    power.solve()
    return power.spectra


def _weighted(
    batch: Particles, precision: Float[Tensor, "b d h"], premultiplied: Bool[Tensor, "b"]
) -> tuple[Complex[Tensor, "b d h"], Float[Tensor, "b d h"]]:
    """``CTF · image / σ²`` and ``CTF² / σ²``, entries that the half plane holds twice at one half."""
    transfer = contrast_transfer(batch.optics, batch.grid)
    once = torch.where(premultiplied[:, None, None], torch.ones_like(transfer), transfer)
    centred = to_fourier(batch.images) * phase_ramp(-batch.poses.shift, batch.grid)
    share = precision.clone()
    share[..., 0] *= 0.5
    return centred * (once * share), transfer.square() * share

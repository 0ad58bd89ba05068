"""A sample of a particle set at low resolution, whitened, for tests that run over it many times."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import radial_mean, resize_map, to_fourier
from morphem.core.grid import Grid
from morphem.core.types import Optics, Poses, Volume
from morphem.data.stack import ParticleStack
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import phase_ramp
from morphem.physics.masks import soft_ball, soft_disk
from morphem.physics.noise import background_power, band_weights, spectrum_by_group, whitening_filter
from morphem.physics.slices import insert_weighted, prepare_transform, sample_slices, solve_insertion

BATCH = 500


@dataclass(frozen=True)
class Sample:
    """Images of a set in Fourier space, divided by the power of their noise.

    Attributes:
        grid: Sampling.
        observed: Spectra over noise power.
        precision: One over noise power.
        poses: As declared, or as a test has changed them.
        optics: Likewise.
        half: Half set of each image, 0 or 1.
        premultiplied: Whether images were multiplied by their contrast transfer beforehand.
        mask: Of the molecule, soft.
        recorded_pixel: Å, before images were cropped in Fourier space.
    """

    grid: Grid
    observed: Complex[Tensor, "n d h"]
    precision: Float[Tensor, "n d h"]
    poses: Poses
    optics: Optics
    half: Int[Tensor, "n"]
    premultiplied: bool
    mask: Float[Tensor, "d d d"]
    recorded_pixel: float

    def __len__(self) -> int:
        return len(self.half)

    def first(self, count: int) -> Sample:
        """Its first images; rows of a sample are in random order."""
        return replace(
            self,
            observed=self.observed[:count],
            precision=self.precision[:count],
            poses=self.poses[:count],
            optics=self.optics[:count],
            half=self.half[:count],
        )

    def cropped(self, box: int) -> Sample:
        """The same images without frequencies beyond the Nyquist frequency of ``box`` pixels."""
        if box >= self.grid.box:
            return self
        ball = Volume(self.mask, self.grid)
        return replace(
            self,
            grid=self.grid.resized(box),
            observed=_crop(self.observed, box),
            precision=_crop(self.precision, box),
            mask=resized(ball, self.grid.resized(box)).voxels.clamp(0, 1),
        )

    def with_poses(self, rotation: Float[Tensor, "n 3 3"], shift: Float[Tensor, "n 2"]) -> Sample:
        """The same images at other poses."""
        return replace(self, poses=Poses(rotation, shift))

    def transfer(
        self, rows: slice | Int[Tensor, "b"], optics: Optics | None = None
    ) -> Float[Tensor, "b d h"]:
        """Contrast transfer of some images."""
        return contrast_transfer((optics or self.optics)[rows], self.grid)

    def matched(
        self, rows: slice | Int[Tensor, "b"]
    ) -> tuple[Complex[Tensor, "b d h"], Float[Tensor, "b d h"]]:
        """``CTF · image / σ²`` and ``CTF² / σ²`` of some images."""
        transfer = self.transfer(rows)
        observed = self.observed[rows]
        return observed if self.premultiplied else observed * transfer, transfer.square() * self.precision[
            rows
        ]

    def batches(self) -> list[slice]:
        """Its rows, a few hundred at a time."""
        return [slice(start, min(start + BATCH, len(self))) for start in range(0, len(self), BATCH)]


def draw_sample(
    stack: ParticleStack, images: Float[Tensor, "n e e"], rows: Int[Tensor, "n"], radius: float
) -> Sample:
    """A sample from images of the stack's rows, already cropped in Fourier space.

    Args:
        stack: Where they come from.
        images: Grey values, protein bright or dark.
        rows: Of the images.
        radius: Of the particle, Å; noise is measured outside.
    """
    grid = stack.grid.resized(images.shape[-1])
    optics = stack.optics[rows]
    disk = soft_disk(grid, radius, 0.05 * grid.extent)
    level = (images * (1 - disk)).sum((-2, -1)) / (1 - disk).sum()
    images = images - level[:, None, None]
    premultiplied = bool(stack.premultiplied[rows].any())
    spectrum = spectrum_by_group(background_power(images, disk), stack.group[rows], stack.n_groups, grid)
    if premultiplied:
        transfer = radial_mean(contrast_transfer(optics, grid).square(), grid).mean(0)
        spectrum = spectrum / transfer.clamp(min=1e-3)
    floor = 1e-6 * float(images.var()) + 1e-30  # projections of a model have no noise
    precision = whitening_filter(spectrum.clamp(min=floor), grid).square()[stack.group[rows]]
    first, _ = stack.halves()
    half = torch.ones(len(stack), dtype=torch.long).index_fill(0, first, 0)[rows]
    ball = soft_ball(grid, radius, 0.08 * grid.extent)
    return Sample(
        grid=grid,
        observed=to_fourier(images) * precision,
        precision=precision,
        poses=stack.poses[rows],
        optics=optics,
        half=half,
        premultiplied=premultiplied,
        mask=ball,
        recorded_pixel=stack.grid.pixel_size,
    )


def half_maps(sample: Sample) -> tuple[Volume, Volume]:
    """Masked back-projections of the two half sets at the sample's poses."""
    return _half_map(sample, 0), _half_map(sample, 1)


def _half_map(sample: Sample, label: int) -> Volume:
    e = 2 * sample.grid.box
    numerator = torch.zeros(e + 1, e + 1, e // 2 + 1, dtype=torch.complex64)
    weight = torch.zeros(e + 1, e + 1, e // 2 + 1)
    for rows in (sample.half == label).nonzero().flatten().split(BATCH):
        value, share = sample.matched(rows)
        centred = value * phase_ramp(-sample.poses.shift[rows], sample.grid)
        parts = insert_weighted(centred, share, sample.poses.rotation[rows], sample.grid)
        numerator += parts[0]
        weight += parts[1]
    solved = solve_insertion(numerator, weight, sample.grid)
    return Volume(solved.voxels * sample.mask, sample.grid)


def expectations(sample: Sample, references: tuple[Volume, Volume], rows: slice) -> Complex[Tensor, "b d h"]:
    """Centred projections that images of each half set are held against, before contrast transfer."""
    transforms = [prepare_transform(reference) for reference in references]
    rotation, half = sample.poses.rotation[rows], sample.half[rows]
    slices = torch.zeros(len(rotation), sample.grid.box, sample.grid.half, dtype=torch.complex64)
    for label, transform in enumerate(transforms):
        slices[half == label] = sample_slices(transform, rotation[half == label], sample.grid)
    return slices


def agreements(sample: Sample, references: tuple[Volume, Volume]) -> Float[Tensor, "n"]:
    """How many standard deviations of noise each image leans towards its expected projection.

    ``Σ CTF y x* / σ² / sqrt(Σ CTF² |x|² / σ²)``: the matched filter, whose noise has variance one. Images of
    the first half set are held against the first reference.
    """
    weights = band_weights(sample.grid)
    found = []
    for rows in sample.batches():
        expected = expectations(sample, references, rows) * phase_ramp(sample.poses.shift[rows], sample.grid)
        value, share = sample.matched(rows)
        product = ((value * expected.conj()).real * weights).sum((-2, -1))
        power = (share * expected.abs().square() * weights).sum((-2, -1))
        found.append(product / power.clamp(min=1e-30).sqrt())
    return torch.cat(found)


def resized(volume: Volume, grid: Grid) -> Volume:
    """A map brought to a grid: padded or cropped to its extent, then cropped in Fourier space."""
    step = volume.grid.pixel_size
    box = max(2, 2 * round(grid.extent / step / 2))
    return Volume(resize_map(_centred(volume.voxels, box), grid.box), grid)


def mirrored(volume: Volume) -> Volume:
    """The mirror image of a map: z to −z about the rotation centre."""
    return Volume(volume.voxels.flip(0).roll(1, 0), volume.grid)


def _centred(voxels: Float[Tensor, "d d d"], box: int) -> Float[Tensor, "e e e"]:
    """A map cropped or zero-padded about its rotation centre."""
    old = voxels.shape[0]
    out = voxels.new_zeros(box, box, box)
    low, high = max(-(box // 2), -(old // 2)), min(box - box // 2, old - old // 2)
    new, source = slice(low + box // 2, high + box // 2), slice(low + old // 2, high + old // 2)
    out[new, new, new] = voxels[source, source, source]
    return out


def _crop(spectra: Tensor, box: int) -> Tensor:
    """Half planes of a smaller box; its Nyquist row and column are zero."""
    half = box // 2
    out = spectra.new_zeros(len(spectra), box, half + 1)
    out[:, :half, :half] = spectra[:, :half, :half]
    out[:, 1 - half :, :half] = spectra[:, 1 - half :, :half]
    return out

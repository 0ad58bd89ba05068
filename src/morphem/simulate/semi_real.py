"""Particles simulated onto the rows of a particle file: its poses, optics and noise, our molecule."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights
from morphem.core.grid import Grid
from morphem.core.types import Optics, Poses
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.metadata import Metadata, read_metadata
from morphem.data.stack import open_stack
from morphem.physics.masks import soft_disk
from morphem.physics.noise import background_power, spectrum_by_group
from morphem.simulate.particles import NoiseSpectra, Truth

_SAMPLE = 1024  # images whose background is looked at
_BLOCK = 64  # of them in memory at a time


@dataclass(frozen=True)
class Rows:
    """What a particle file says of how particles were seen.

    Attributes:
        path: The file.
        grid: Box and pixel size of its images.
        poses: None where it has none.
        optics: One row per image.
        group: Optics group.
        noise: Measured from its images; None where they were not looked at.
    """

    path: Path
    grid: Grid
    poses: Poses | None
    optics: Optics
    group: Int[Tensor, "n"]
    noise: NoiseSpectra | None = None

    def __len__(self) -> int:
        return len(self.group)


def read_rows(path: Path | str, box: int | None = None, measure_noise: bool = False) -> Rows:
    """Poses, optics and, if asked, the noise of a RELION, cryoSPARC or cryoDRGN particle file.

    Images are only needed to measure the noise.

    Args:
        path: The particle file.
        box: Pixels of the images to simulate, over the same extent; the file's own by default.
        measure_noise: Whether to read images and measure their background.
    """
    metadata = read_metadata(path)
    grid = _grid(metadata, Path(path), box)
    poses = metadata.poses if metadata.has_poses else None
    optics = Optics(**{name: column.float() for name, column in vars(metadata.optics).items()})
    group = torch.from_numpy(metadata.group).long()
    noise = _measured_noise(path, grid) if measure_noise else None
    return Rows(Path(path), grid, poses, optics, group, noise)


def onto(truth: Truth, rows: Rows) -> Truth:
    """The same particles, image i as row i says; poses stay random where the file has none.

    Those of a calibration, whose numbers are negative, are spread over all rows.
    """
    spread = (-1 - truth.number) * max(1, len(rows) // len(truth)) % len(rows)
    row = torch.where(truth.number < 0, spread, truth.number)
    if int(row.max()) >= len(rows):
        raise ValueError(f"{int(row.max()) + 1} images asked for, the particle file has {len(rows)} rows")
    optics = replace(rows.optics[row], scale=rows.optics.scale[row] * truth.optics.scale)
    poses = truth.poses if rows.poses is None else rows.poses[row]
    group, source = rows.group[row], str(rows.path)
    return replace(truth, poses=poses, optics=optics, group=group, noise=rows.noise, source=source)


def _grid(metadata: Metadata, path: Path, box: int | None) -> Grid:
    """Sampling of the file's first optics group; images of the others are simulated on it too."""
    own = int(metadata.box[0])
    if not own and box is None:
        raise DataError("BOX-003", f"{path} does not say how many pixels its images have; state the box")
    sizes = np.unique(metadata.pixel_size)
    if len(sizes) > 1:
        met = ", ".join(f"{size:g}" for size in sizes)
        warnings.warn(
            f"{path}: pixels of {met} Å; all is simulated on the first's", MetadataWarning, stacklevel=3
        )
    own = own or int(box or 0)
    wanted = box or own - own % 2
    return Grid(wanted, float(metadata.pixel_size[0]) * own / wanted)


def _measured_noise(path: Path | str, grid: Grid) -> NoiseSpectra:
    """Mean power outside the particle by optics group, on the shells of ``grid``, with a mean of 1."""
    stack = open_stack(path)
    chosen = torch.linspace(0, len(stack) - 1, min(_SAMPLE, len(stack))).long()
    disk = soft_disk(stack.grid, 0.42 * stack.grid.extent, 0.05 * stack.grid.extent)
    power = torch.cat([background_power(stack.read(rows).images, disk) for rows in chosen.split(_BLOCK)])
    spectra = spectrum_by_group(power, stack.group[chosen], stack.n_groups, stack.grid)
    return NoiseSpectra(_normalised(_resampled(spectra, stack.grid, grid), grid))


def _resampled(spectra: Float[Tensor, "k s"], old: Grid, new: Grid) -> Float[Tensor, "k s2"]:
    """Linear interpolation at the frequencies of the new grid's shells."""
    wanted = torch.arange(new.half) / new.extent * old.extent
    low = wanted.floor().long().clamp(max=old.half - 2)
    return torch.lerp(spectra[:, low], spectra[:, low + 1], (wanted - low).clamp(0, 1))


def _normalised(spectra: Float[Tensor, "k s"], grid: Grid) -> Float[Tensor, "k s"]:
    """Each group's mean power over the whole plane is 1."""
    shell = (grid.frequencies().norm(dim=-1) * grid.extent).round().long().clamp(max=grid.half - 1)
    weight = half_plane_weights(grid.box) / grid.box**2
    return spectra / (spectra[:, shell] * weight).sum((-2, -1))[:, None]

"""The grid that all maps of a scene share: cropped to the molecule, no finer than its budget, in bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.models.seeding import bright_level

_MARGIN = 0.08  # of the molecule's width, left empty around it
_SHARE = 0.3  # of the mean of the brightest 0.1 % of voxels: the contour to begin with
_NOISE = 4.0  # standard deviations outside the molecule's ball: the contour lies above
_FAINT = 0.6  # of the contour: what is brighter in any map must lie in the crop
_LONE = 64  # voxels of the whole crop a plane may have above that and still be noise: one in so many
_CROWD = 5  # of a voxel and the 26 around it, that must be bright: fewer are noise
_CLIPPED = 1e-4  # of the voxels in the crop, brighter than the brightest code
_STEEP = 5.0  # times the contour that codes reach, at most: few would be left for the surface


@dataclass(frozen=True)
class Frame:
    """Where maps of a scene lie, and what their bytes mean (``MapFrame`` of ``web/src/scene.ts``).

    A map is uint8 ``[shape]``, z slowest; its value is ``low + (high − low) q / 255``. Voxel i of axis a lies
    at ``(first[a] + i − box / 2) pixel`` Å from the molecule's origin.

    Attributes:
        box: Voxels along a side of the whole map.
        pixel: Å.
        first: Of the crop, along z, y, x.
        shape: Of the crop, likewise.
        low: Value of code 0.
        high: Value of code 255.
        level: The contour to begin with, in the maps' units.
    """

    box: int
    pixel: float
    first: tuple[int, int, int]
    shape: tuple[int, int, int]
    low: float
    high: float
    level: float

    @property
    def grid(self) -> Grid:
        """Of the whole maps, before the crop."""
        return Grid(self.box, self.pixel)

    @property
    def crop(self) -> tuple[slice, slice, slice]:
        """What of a whole map is kept."""
        z, y, x = (slice(start, start + count) for start, count in zip(self.first, self.shape, strict=True))
        return z, y, x

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def frame_of(volumes: Sequence[Volume], box: int = 128) -> Frame:
    """The frame of maps that are shown together: a cube around all that stands out of any of them.

    The contour is three tenths of the mean of the brightest 0.1 % of voxels of their mean, or what four
    standard deviations of the background are where that is more.

    Args:
        volumes: All of one extent.
        box: Fourier-crop maps to at most so many voxels a side.
    """
    if not volumes:
        raise ValueError("a frame needs a map; there are none")
    side = min(box - box % 2, *(volume.grid.box for volume in volumes))
    grid = volumes[0].grid.resized(side)
    level = contour(_mean(volumes, side), grid)
    first, count = _cube_around(volumes, side, _FAINT * level)
    crop = tuple(slice(start, start + count) for start in first)
    high = max(_clipped_peak(resize_map(volume.voxels, side)[crop]) for volume in volumes)
    high = min(max(high, 1.5 * level), _STEEP * level)
    return Frame(side, grid.pixel_size, first, (count, count, count), 0.0, high, level)


def encode(volume: Volume, frame: Frame) -> np.ndarray:
    """A map as bytes [shape] of the frame; values beyond its ends take the code of the end."""
    voxels = resize_map(volume.voxels.detach().cpu().float(), frame.box)[frame.crop]
    codes = (voxels - frame.low) * (255 / (frame.high - frame.low))
    return codes.round().clamp(0, 255).to(torch.uint8).contiguous().numpy()


def encode_labels(labels: Int[Tensor, "d d d"], frame: Frame) -> np.ndarray:
    """Numbers of parts, on the grid ``frame.grid``, as bytes [shape]."""
    return labels[frame.crop].clamp(0, 255).to(torch.uint8).contiguous().numpy()


def decode(codes: np.ndarray, frame: Frame) -> Float[Tensor, "z y x"]:
    """The map that bytes stand for, within half a step of code."""
    return frame.low + (frame.high - frame.low) / 255 * torch.from_numpy(codes.astype(np.float32))


def contour(voxels: Float[Tensor, "d d d"], grid: Grid) -> float:
    """The level to begin with: inside the molecule's surface, above the noise around it."""
    background = voxels[_radius(grid) > 0.48 * grid.extent]
    noise = _NOISE * float(background.std()) if len(background) > 1 else 0.0
    return max(_SHARE * bright_level(voxels), min(noise, 0.8 * bright_level(voxels)), 1e-12)


def _mean(volumes: Sequence[Volume], side: int) -> Float[Tensor, "d d d"]:
    total = torch.zeros(side, side, side)
    for volume in volumes:
        total += resize_map(volume.voxels.detach().cpu().float(), side)
    return total / len(volumes)


def _cube_around(volumes: Sequence[Volume], side: int, faint: float) -> tuple[tuple[int, int, int], int]:
    """First voxel along z, y, x, and the side, of a cube around what exceeds ``faint`` in any map."""
    low, high = torch.full((3,), side), torch.zeros(3, dtype=torch.long)
    for volume in volumes:
        bright = resize_map(volume.voxels.detach().cpu().float(), side) > faint
        around = torch.nn.functional.avg_pool3d(bright[None, None].float(), 3, 1, 1)[0, 0] * 27
        bright &= around > _CROWD - 0.5
        for axis in range(3):
            counts = bright.movedim(axis, 0).flatten(1).sum(1)
            # a few voxels of noise in a plane do not make the molecule larger
            there = (counts > counts.max() / _LONE).nonzero().flatten()
            if len(there):
                low[axis], high[axis] = min(low[axis], there[0]), max(high[axis], there[-1] + 1)
    if bool((high <= low).any()):
        return (0, 0, 0), side
    count = min(side, math.ceil((1 + 2 * _MARGIN) * int((high - low).max())) + 2)
    z, y, x = (low + high - count).div(2, rounding_mode="floor").clamp(0, side - count).tolist()
    return (z, y, x), count


def _clipped_peak(voxels: Float[Tensor, "z y x"]) -> float:
    """A value that all but one in ten thousand voxels are below."""
    values = voxels.flatten()
    return float(values.topk(max(1, int(_CLIPPED * len(values)))).values[-1])


def _radius(grid: Grid) -> Float[Tensor, "d d d"]:
    """Distance of each voxel from the origin, Å."""
    squared = grid.axis().square()
    return (squared[:, None, None] + squared[:, None] + squared).sqrt()

"""States held against their own images: what half maps of those say, and whether the model's map agrees."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.metrics.fsc import resolution, shell_correlation
from morphem.metrics.maps import deviation_fsc
from morphem.report.scene.shown import Shown
from morphem.report.subset import SubsetMap, rows_of_particles, subset_map

_LEAST = 100  # images from which half maps say something
_COMPARED = 64  # voxels a side, at which differences between states are compared
_SEEN = 0.143
_AGREED = 0.5
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class Measured:
    """A state's map beside its images.

    Attributes:
        resolution: Å at which the half maps of its images still agree (0.143); None where nowhere.
        agreement: Å to which its map agrees with their mean (0.5); None where nowhere.
        used: Images that were looked at.
        frequency: Of the shells, 1/Å.
        halves: Correlation of the half maps, by shell.
        model: Correlation of the state's map with their mean, by shell.
    """

    resolution: float | None
    agreement: float | None
    used: int
    frequency: list[float]
    halves: list[float]
    model: list[float]


@dataclass(frozen=True)
class Differences:
    """What tells states apart: in the model's maps, and in maps of their images alone.

    Attributes:
        correlation: Of both, mean over the shells that the images know.
        ceiling: What it could be at most, given the images' noise.
        reach: Å to which half sets agree on the differences (0.143); None where nowhere.
    """

    correlation: float
    ceiling: float
    reach: float | None


def measure_states(
    shown: Shown, member: Int[Tensor, "p"], maps: Sequence[Volume], images: int
) -> tuple[list[Measured | None], Differences | None]:
    """Each state's map against half maps of its particles; None for one of few images.

    Args:
        shown: A result with its images.
        member: State of each particle.
        maps: Of the states.
        images: To look at, all states together.
    """
    if shown.stack is None or shown.poses is None or not images:
        return [None] * len(maps), None
    found: list[SubsetMap | None] = []
    for state in range(len(maps)):
        rows = rows_of_particles(shown.stack, (member == state).nonzero().flatten())
        found.append(_subset(shown, rows, max(_LEAST, images // len(maps))))
    measured = [
        None if subset is None else _measured(subset, volume)
        for subset, volume in zip(found, maps, strict=True)
    ]
    return measured, differences(found, maps, torch.bincount(member, minlength=len(maps)))


def differences(
    found: Sequence[SubsetMap | None], maps: Sequence[Volume], particles: Int[Tensor, "k"]
) -> Differences | None:
    """How far the model's differences between states are in the images; None for fewer than two states."""
    kept = [k for k, subset in enumerate(found) if subset is not None]
    pairs = [(subset, maps[k]) for k, subset in enumerate(found) if subset is not None]
    if len(pairs) < 2:
        return None
    grid = pairs[0][0].volume.grid
    box = min(_COMPARED, grid.box)
    mask = torch.stack([resize_map(subset.mask, box) for subset, _ in pairs]).amax(0).clamp(0, 1)
    model = torch.stack([mask * resize_map(volume.voxels.cpu(), box) for _, volume in pairs])
    first, second = (
        torch.stack([mask * resize_map(subset.halves[half].voxels, box) for subset, _ in pairs])
        for half in range(2)
    )
    weight = particles[torch.tensor(kept)].float()
    apart = deviation_fsc(first, second, weight)
    together = deviation_fsc(model, (first + second) / 2, weight)
    reach = resolution(apart, grid.resized(box), _SEEN)
    shells = slice(1, max(2, 1 + int(grid.extent / reach) if math.isfinite(reach) else 2))
    ceiling = (2 * apart.clamp(min=0) / (1 + apart.clamp(min=0))).sqrt()
    best = reach if math.isfinite(reach) else None
    return Differences(float(together[shells].mean()), float(ceiling[shells].mean()), best)


def _subset(shown: Shown, rows: Int[Tensor, "m"], limit: int) -> SubsetMap | None:
    if len(rows) < _LEAST or shown.stack is None or shown.poses is None:
        return None
    try:
        return subset_map(shown.stack, shown.poses, rows, limit)
    except (DataError, OSError) as error:
        _LOG.warning("a state's images could not be averaged: %s", error)
        return None


def _measured(subset: SubsetMap, volume: Volume) -> Measured:
    grid = subset.volume.grid
    mean = Volume((subset.halves[0].voxels + subset.halves[1].voxels) / 2, grid)
    model = _on(volume, grid.box)
    curve = shell_correlation(Volume(model, grid), mean, subset.mask)
    reach = resolution(curve, grid, _AGREED)
    return Measured(
        resolution=subset.resolution,
        agreement=reach if math.isfinite(reach) else None,
        used=subset.used,
        frequency=grid.shell_frequencies().tolist(),
        halves=subset.fsc.tolist(),
        model=curve.tolist(),
    )


def _on(volume: Volume, box: int) -> Float[Tensor, "d d d"]:
    return resize_map(volume.voxels.detach().cpu().float(), box)

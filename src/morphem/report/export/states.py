"""Which maps of a run an export shows, and the contour that they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from morphem.core.types import Volume
from morphem.data.mrc import read_origin
from morphem.engine.reconstruction import Reconstruction
from morphem.report.scene.frame import contour
from morphem.report.scene.states import states_of
from morphem.report.volumes import Places, along_component


@dataclass(frozen=True)
class Views:
    """Points of latent space to show of some particles.

    Attributes:
        states: Where the particles are dense, the largest group first; the one map where a run knows one.
        along: Points along the first principal component; None where latents do not vary.
    """

    states: Places
    along: Places | None


def views_of(
    found: Reconstruction, rows: Int[np.ndarray, "m"] | None, states: int = 0, steps: int = 10
) -> Views:
    """States and first component of the particles ``rows`` alone, or of all.

    Args:
        found: A finished run.
        rows: Particles; all if None.
        states: How many; as many as a page shows by default.
        steps: Points along the component.
    """
    latents = (found.latents if rows is None else found.latents[torch.from_numpy(rows)]).detach().cpu()
    if latents.shape[1] == 0:
        return Views(Places(("mean",), latents[:1], torch.tensor([len(latents)])), None)
    dense = states_of(latents, states)
    places = Places(dense.names, dense.latents, torch.tensor(dense.counts()))
    varies = len(latents) > 1 and bool(latents.std(0).max() > 0)
    return Views(places, along_component(latents, 1, steps) if varies else None)


def share_lines(places: Places) -> list[str]:
    """``34 % of particles`` for each place."""
    total = max(int(places.support.sum()), 1)
    return [f"{100 * int(count) / total:.0f} % of particles" for count in places.support]


def common_level(volumes: list[Volume]) -> float:
    """The contour of the mean of maps, to be used for each: what is missing in a state is then seen to be."""
    total = torch.stack([volume.voxels for volume in volumes]).mean(0)
    return contour(total, volumes[0].grid)


def enclosed(volume: Volume, level: float) -> float:
    """Volume above a level, Å³."""
    return float((volume.voxels > level).sum()) * volume.grid.pixel_size**3


def origin_of(like: Path | None) -> tuple[float, float, float]:
    """Where the first voxel is to lie, x, y, z in Å: as in the map ``like``, else at zero."""
    return (0.0, 0.0, 0.0) if like is None else read_origin(like)

"""What speaks against a result from images alone, said in words."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import shells_3d, to_fourier_3d, to_real_3d
from morphem.core.types import Poses, Volume
from morphem.data.errors import DataError
from morphem.inference.abinitio import SeedConfig, Start
from morphem.inference.hypotheses import pseudo_symmetries
from morphem.inference.rounds import Refined
from morphem.inference.store import Store
from morphem.metrics.fsc import cross_power, crossing

FEWEST = 100  # images
_DARK = -0.3  # skewness of the grey values within the mask: protein is heavier on the bright side
_ALIKE = 0.75  # correlation of a map with itself turned, from which poses may be mistaken
_ONE_SIDED = 0.5  # share of the directions of view that hardly any image has
_CELLS = 96  # directions among which views are counted
_LOOKED_AT = 64  # images


def refuse_few(images: int) -> None:
    """Raise an error for fewer images than poses can come from."""
    if images < FEWEST:
        met = f"{images} images; poses cannot be found from fewer than {FEWEST}"
        raise DataError("COUNT-004", f"{met}. Give more images, or poses and another method")


def refuse_alike(store: Store) -> None:
    """Raise an error for images that differ in nothing."""
    n = len(store)
    sample = store.values[torch.linspace(0, n - 1, _LOOKED_AT).long()].float()
    if float(sample.var(0).sum()) <= 1e-6 * float(sample.square().mean(0).sum()):
        raise DataError("IMG-002", f"the {n} images are all alike; is the particle file one image, repeated?")


def warnings_of(start: Start, refined: Refined, config: SeedConfig) -> list[str]:
    """Sentences, none where nothing speaks against the result."""
    grid = refined.store.disc.grid
    mean = refined.halves.mean()
    found = []
    others = sorted(start.agreement)[1:]
    if others and math.degrees(others[0]) > config.agreement:
        found.append(
            f"{len(start.agreement)} starts from random poses led to different maps (the nearest to the best "
            f"is {math.degrees(others[0]):.0f}° off), so these images do not determine one: do not trust the "
            "map; remove junk, or give more images"
        )
    if skewness(mean, refined.halves.mask) < _DARK:
        found.append(
            "the map is dark where matter is dense: the images probably have the other sign (see --sign)"
        )
    turns = pseudo_symmetries(flattened(mean), min(refined.limit, 12), _ALIKE)
    if len(turns):
        angle = math.degrees(float(torch.arccos(((turns[0].trace() - 1) / 2).clamp(-1, 1))))
        found.append(
            f"the map resembles itself after a turn by {angle:.0f}°: poses may be mistaken for their mates"
        )
    if one_sided(refined.fit.poses) > _ONE_SIDED:
        found.append(
            "more than half of all directions of view are hardly seen; the map may be smeared along some"
        )
    if crossing(refined.halves.fsc, 0.143) < 4:
        found.append(f"the half maps agree to {grid.extent / 4:.0f} Å at best: there may be no particle here")
    return found


def flattened(volume: Volume) -> Volume:
    """The map with the same power on every shell, so that its fine features count as the coarse ones do."""
    spectrum = to_fourier_3d(volume.voxels)
    power = cross_power(spectrum, spectrum).clamp(min=1e-30)
    shells = shells_3d(volume.grid.box)
    factor = torch.where(shells < len(power), power[shells.clamp(max=len(power) - 1)].rsqrt(), 0)
    return Volume(to_real_3d(spectrum * factor.float()), volume.grid)


def skewness(volume: Volume, mask: Float[Tensor, "d d d"]) -> float:
    """Skewness of the grey values within a mask; positive where few voxels are bright and many faint."""
    values = volume.voxels[mask > 0.5].double()
    centred = values - values.median()
    return float(centred.pow(3).mean() / centred.square().mean().clamp(min=1e-30).pow(1.5))


def one_sided(poses: Poses) -> float:
    """Share of the directions of view, opposite ones alike, that have less than a tenth of the mean count."""
    k = torch.arange(_CELLS) + 0.5
    height, turn = 1 - k / _CELLS, math.pi * (1 + 5**0.5) * k
    across = (1 - height.square()).sqrt()
    cells = torch.stack([across * turn.cos(), across * turn.sin(), height], 1)
    nearest = (poses.rotation[:, 2] @ cells.T).abs().argmax(1)
    count = torch.bincount(nearest, minlength=_CELLS)
    return float((count < 0.1 * len(poses) / _CELLS).float().mean())

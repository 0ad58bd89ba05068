"""What a finished search leaves for images to come: its maps, directions and noise, in one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import shells_3d, to_fourier_3d, to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.engine.files import read_tensors, write_tensors
from morphem.engine.ranks import is_main
from morphem.engine.run import Run
from morphem.inference.abinitio import SeedConfig
from morphem.inference.maps import Halves
from morphem.inference.modes import Modes
from morphem.inference.rounds import Refined, RoundConfig
from morphem.inference.subspace import Subspace

MODEL = "model.safetensors"


@dataclass(frozen=True)
class FrozenModel:
    """What poses and latents of unseen images are read with.

    Attributes:
        mean: Filtered map of all particles on a working grid, in grey values of the images.
        limit: Frequency pixels to which poses are refined in it.
        space: Mean and directions of latents.
        space_limit: Frequency pixels that latents are read with.
        noise: Power of the images that the maps were made of, by optics group and shell.
        spread: Standard deviation of images' contrast about its mean.
        reach: Largest shift to be searched, fraction of the box.
        grid: Of the images.
    """

    mean: Volume
    limit: int
    space: Subspace
    space_limit: int
    noise: Float[Tensor, "o s"]
    spread: float
    reach: float
    grid: Grid


@dataclass(frozen=True)
class Reckoning:
    """What the search reckoned with.

    Attributes:
        starts: Its starts, for the reach.
        rounds: Its refinement, for the contrast.
    """

    starts: SeedConfig
    rounds: RoundConfig


def freeze(refined: Refined, modes: Modes, by: Reckoning) -> FrozenModel:
    """The model that a search ended with; both half maps join in one."""
    return FrozenModel(
        mean=joined(refined.halves),
        limit=refined.limit,
        space=modes.space,
        space_limit=modes.limit,
        noise=refined.store.noise,
        spread=by.rounds.contrast_spread,
        reach=by.starts.reach,
        grid=refined.store.disc.grid,
    )


def joined(halves: Halves) -> Volume:
    """Mean of two half maps, filtered as a map of all images is.

    With correlation F of the halves, each was multiplied by F; of all images, 2F/(1 + F) is signal.
    """
    mean = halves.mean()
    factor = 2 / (1 + halves.fsc.clamp(0, 1))
    shells = shells_3d(mean.grid.box).clamp(max=len(factor) - 1)
    spectrum = to_fourier_3d(mean.voxels) * factor[shells]
    return Volume(to_real_3d(spectrum), mean.grid)


def write_model(run: Run, model: FrozenModel) -> None:
    """Keep a model in the run's folder."""
    tensors = {
        "mean": model.mean.voxels,
        "space_mean": model.space.mean,
        "directions": model.space.directions,
        "noise": model.noise,
    }
    record = {
        "grid": asdict(model.grid),
        "limit": model.limit,
        "space_limit": model.space_limit,
        "spread": model.spread,
        "reach": model.reach,
    }
    if is_main():
        run.root.mkdir(parents=True, exist_ok=True)
        write_tensors(run.root / MODEL, tensors, record)


def read_model(folder: Path) -> FrozenModel:
    """The model in a run's folder."""
    if not (folder / MODEL).exists():
        fix = "give the command that made it once more: finished stages are not repeated"
        raise DataError("RUN-003", f"{folder} holds no {MODEL}, which new images are read with; {fix}")
    tensors, record = read_tensors(folder / MODEL)
    grid = Grid(**record["grid"])
    space_grid = grid.resized(tensors["space_mean"].shape[-1])
    return FrozenModel(
        mean=Volume(tensors["mean"], grid.resized(tensors["mean"].shape[-1])),
        limit=record["limit"],
        space=Subspace(tensors["space_mean"], tensors["directions"], space_grid),
        space_limit=record["space_limit"],
        noise=tensors["noise"],
        spread=record["spread"],
        reach=record["reach"],
        grid=grid,
    )


def homogeneous(volume: Volume, limit: int, noise: Float[Tensor, "o s"], grid: Grid) -> FrozenModel:
    """A model of one map and no directions, with the search's usual reckoning.

    Args:
        volume: In grey values of the images, on a grid of their extent.
        limit: Frequency pixels.
        noise: By optics group and shell.
        grid: Of the images.
    """
    box = volume.grid.box
    space = Subspace(volume.voxels, torch.zeros(0, box, box, box), volume.grid)
    usual = RoundConfig().contrast_spread, SeedConfig().reach
    return FrozenModel(volume, limit, space, limit, noise, *usual, grid)

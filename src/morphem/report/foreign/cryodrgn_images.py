"""The particle images that a cryoDRGN run looked at, where they still are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from morphem.core.types import Poses
from morphem.data.errors import DataError
from morphem.data.foreign import read_arrays
from morphem.data.options import MetadataOptions
from morphem.data.stack import ParticleStack, open_stack
from morphem.report.foreign.map_series import LARGEST
from morphem.report.scene.columns import (
    file_columns,
    first_images,
    optics_columns,
    pose_columns,
    set_columns,
)
from morphem.report.scene.images import ready_images
from morphem.report.scene.shown import Column


@dataclass(frozen=True)
class Images:
    """What could be found of a run's images.

    Attributes:
        told: Where they are, or why they are not at hand.
        stack: The images, with bright protein; None where they are not at hand.
        poses: That the run took or found.
        pixel_size: Of the maps, Å, as the optics say; None where they do not.
        columns: What is known of each particle without the images.
    """

    told: str
    stack: ParticleStack | None = None
    poses: Poses | None = None
    pixel_size: float | None = None
    columns: tuple[Column, ...] = ()


def images_of(
    folder: Path, epoch: int | None, settings: dict[str, str], count: int, particles: Path | None
) -> Images:
    """Images, poses and optics of a run, as far as its files are where its settings say.

    Args:
        folder: Of the run; poses that it found lie there, and files that have moved may.
        epoch: Of those poses.
        settings: Of ``config.yaml``.
        count: Particles that have a latent.
        particles: The particle file, if it is elsewhere now; then what is wrong with it is an error.
    """
    optics = _optics(folder, settings)
    pixel_size = _pixel_size(optics, settings)
    kept = _kept(folder, settings)
    columns = _defocus(optics if kept is None or optics is None else optics[kept], count)
    path = particles or _found(folder, settings.get("dataset_args.particles"))
    if path is None:
        named = settings.get("dataset_args.particles")
        told = "config.yaml does not name their file" if named is None else f"{named} is not there"
        return Images(told, None, None, pixel_size, columns)
    try:
        found = images_in(folder, path, _opened(path, folder, epoch, settings, count))
    except (DataError, OSError) as error:
        if particles is not None:
            raise
        return Images(str(error), None, None, pixel_size, columns)
    return replace(found, pixel_size=pixel_size)


def images_in(folder: Path, path: Path, recorded: ParticleStack) -> Images:
    """Images of a stack that was opened from ``path``, made ready to be looked at."""
    side = min(recorded.grid.box, LARGEST)
    stack = ready_images(folder, recorded, recorded.grid.resized(side))
    return Images(str(path), stack, stack.poses if stack.has_poses else None, None, _columns_of(stack))


def _opened(
    path: Path, folder: Path, epoch: int | None, settings: dict[str, str], count: int
) -> ParticleStack:
    """The stack with the run's own optics and poses in place of the file's."""
    own = folder / ("pose.pkl" if epoch is None else f"pose.{epoch}.pkl")
    given = _found(folder, settings.get("dataset_args.poses"))
    chosen = settings.get("dataset_args.ind", "")
    datadir = settings.get("dataset_args.datadir")
    options = MetadataOptions(
        datadir=Path(datadir) if datadir and Path(datadir).is_dir() else None,
        ctf=_found(folder, settings.get("dataset_args.ctf")),
        poses=own if own.is_file() else given,
        indices=None if chosen.isdigit() else _found(folder, chosen),
    )
    stack = open_stack(path, options)
    if chosen.isdigit():
        stack = stack.select(torch.arange(min(int(chosen), len(stack))))
    if stack.n_particles != count:
        met = f"{path} has {stack.n_particles} particles, the latents are of {count}"
        raise DataError("COUNT-001", f"{met}; give the file that cryoDRGN was trained on (--particles)")
    return stack


def _found(folder: Path, name: str | None) -> Path | None:
    """A file that the settings name: there, or of the same name beside the run or in it."""
    if not name:
        return None
    path = Path(name)
    places = (path, folder / path.name, folder.resolve().parent / path.name)
    return next((place for place in places if place.is_file()), None)


def _optics(folder: Path, settings: dict[str, str]) -> Float[np.ndarray, "n 9"] | None:
    path = _found(folder, settings.get("dataset_args.ctf"))
    table = None if path is None else read_arrays(path)
    return table if isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == 9 else None


def _pixel_size(optics: Float[np.ndarray, "n 9"] | None, settings: dict[str, str]) -> float | None:
    """Å of the images as they were trained on; the optics are of the images before any resizing."""
    side = settings.get("lattice_args.D", "")
    if optics is None or not len(optics) or not side.isdigit():
        return None
    box, size = (float(values[0]) for values in optics.T[:2])
    return box * size / (int(side) - 1)


def _kept(folder: Path, settings: dict[str, str]) -> np.ndarray | slice | None:
    """Rows of the particle file that were trained on; None for all."""
    chosen = settings.get("dataset_args.ind", "")
    if chosen.isdigit():
        return slice(int(chosen))
    path = _found(folder, chosen)
    rows = None if path is None else read_arrays(path)
    return rows if isinstance(rows, np.ndarray) else None


def _defocus(optics: Float[np.ndarray, "n 9"] | None, count: int) -> tuple[Column, ...]:
    if optics is None or len(optics) != count:
        return ()
    return (Column("defocus", "defocus", optics[:, 2:4].mean(1).astype(np.float32), "Å"),)


def _columns_of(stack: ParticleStack) -> tuple[Column, ...]:
    """How each particle was seen, by its first image, and what its file says."""
    rows = first_images(stack.particle)
    poses = pose_columns(stack.poses[rows]) if stack.has_poses else ()
    columns = (*poses, *optics_columns(stack.optics[rows]))
    if stack.metadata is None:
        return columns
    chosen = rows.numpy()
    return (*columns, *set_columns(stack.metadata, chosen), *file_columns(stack.metadata, chosen))

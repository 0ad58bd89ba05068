"""What cryoSPARC's 3D Variability leaves in a job's folder: a mean map, components, how much of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Volume
from morphem.data.cs import load_dataset
from morphem.data.errors import DataError
from morphem.data.stack import open_stack
from morphem.report.foreign.cryodrgn_images import Images, images_in
from morphem.report.foreign.map_series import MapFile, read_maps
from morphem.report.scene.shown import Shown

_COMPONENT = re.compile(r"(.+)_component_(\d+)\.mrc")
_CITED = (
    "Punjani, Fleet: 3D variability analysis: Resolving continuous flexibility and discrete heterogeneity "
    "from single particle cryo-EM. J. Struct. Biol. 213, 107702 (2021)"
)


@dataclass(frozen=True)
class Job:
    """Files of a job.

    Attributes:
        mean: Its map.
        components: Maps that are added to it, in the order of their numbers.
        particles: The dataset that says how much of each component a particle has.
    """

    mean: Path
    components: tuple[Path, ...]
    particles: Path


def find_job(folder: Path) -> Job | None:
    """The job that a folder is, if it has ``X_map.mrc``, ``X_component_K.mrc`` and ``X_particles.cs``."""
    matches = [match for path in folder.iterdir() if (match := _COMPONENT.fullmatch(path.name))]
    for name in sorted({match[1] for match in matches}):
        numbers = sorted(int(match[2]) for match in matches if match[1] == name)
        maps = tuple(folder / f"{name}_component_{number}.mrc" for number in numbers)
        job = Job(folder / f"{name}_map.mrc", maps, folder / f"{name}_particles.cs")
        if all(path.is_file() for path in (job.mean, *maps, job.particles)):
            return job
    return None


def shown_variability(folder: Path, job: Job, particles: Path | None = None) -> Shown:
    """A job as a page shows it: the density of a latent is the mean and its share of each component.

    Args:
        folder: Of the job.
        job: In it.
        particles: A particle file with the same rows, where the job's own does not lead to its images.

    Raises:
        DataError: If a file is not what its name says.
    """
    latents = _values(job)
    maps = read_maps([MapFile(path.stem, path) for path in (job.mean, *job.components)])
    mean, grid = maps[0].volume.voxels, maps[0].volume.grid
    modes = torch.stack([each.volume.voxels for each in maps[1:]])
    images = _images(folder, job, len(latents), particles)
    return Shown(
        title=folder.resolve().name,
        subtitle=f"cryoSPARC 3D Variability, {len(modes)} components",
        latents=latents,
        grid=grid,
        decode=lambda z: Volume(mean + torch.tensordot(z, modes, 1), grid),
        columns=images.columns,
        stack=images.stack,
        poses=images.poses,
        summary=(
            ("latents", job.particles.name),
            ("maps", f"{job.mean.name} and components of it"),
            ("particle images", images.told),
        ),
        record={
            "provenance": {"program": "cryoSPARC 3D Variability"},
            "citations": [_CITED],
            "images": "" if images.stack is not None else images.told,
        },
    )


def _values(job: Job) -> Float[Tensor, "p z"]:
    """How much of each component each particle has."""
    dataset = load_dataset(job.particles)
    names = [f"components_mode_{number}/value" for number in range(len(job.components))]
    lacking = [name for name in names if name not in (dataset.dtype.names or ())]
    if lacking:
        met = f"{job.particles} has no {lacking[0]}, and {job.components[-1].name} is there"
        raise DataError("MAPS-003", f"{met}; is it the dataset of another job?")
    return torch.from_numpy(np.stack([dataset[name] for name in names], 1).astype(np.float32))


def _images(folder: Path, job: Job, count: int, particles: Path | None) -> Images:
    path = particles or job.particles
    try:
        recorded = open_stack(path)
        if recorded.n_particles != count:
            met = f"{path} has {recorded.n_particles} particles, {job.particles.name} {count}"
            raise DataError("COUNT-001", f"{met}; give the file that the job was run on (--particles)")
        return images_in(folder, path, recorded)
    except (DataError, OSError) as error:
        if particles is not None:
            raise
        return Images(str(error))

"""A run's particles with what was found for each, ready to be written in the format they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from morphem.core.types import Poses
from morphem.data.errors import DataError
from morphem.data.images import DiskImages
from morphem.data.record import Metadata
from morphem.data.stack import ParticleStack
from morphem.engine.files import read_json, read_tensors
from morphem.engine.source import reopen
from morphem.report.selection import particles_of


@dataclass(frozen=True)
class Chosen:
    """Images of the chosen particles, in the order of the file they came from.

    Attributes:
        stack: All images of the run, at their full size on disk.
        metadata: What the particle file says of them.
        images: Rows of ``stack`` that show a chosen particle, rising.
        particle: Whose image each is, in the run's numbering.
        latents: Of each image's particle.
        spread: Standard deviation of each latent; None where the run has none.
        poses: Of each image, as the run found or took them.
        defocus: Both of each image, Å, where the run corrected them.
    """

    stack: ParticleStack
    metadata: Metadata
    images: Int[np.ndarray, "n"]
    particle: Int[np.ndarray, "n"]
    latents: Float[np.ndarray, "n z"]
    spread: Float[np.ndarray, "n z"] | None
    poses: Poses
    defocus: Float[np.ndarray, "n 2"] | None

    def defoci(self) -> dict[str, np.ndarray]:
        """Columns of corrected defoci, where the run corrected them and the file has a place for them."""
        names = self.metadata.source.defocus_columns
        return {} if self.defocus is None or names is None else dict(zip(names, self.defocus.T, strict=True))

    @property
    def originals(self) -> list[Path]:
        """Files that the particles came from, none of which may be replaced."""
        opened = self.stack.opened
        options = [] if opened is None else [opened.path, *opened.options.passthrough]
        stacks = self.stack.images.stacks if isinstance(self.stack.images, DiskImages) else ()
        beside = self.metadata.source.path.parent.glob("*passthrough*.cs")
        return [self.metadata.source.path, *options, *beside, *(header.path for header in stacks)]


def chosen_particles(run: Path, rows: Int[np.ndarray, "m"] | None, particles: Path | None) -> Chosen:
    """The particles ``rows`` of a run, found again in the file they came from.

    Args:
        run: A finished run.
        rows: Particles in the run's order; all if None.
        particles: Where the particle file is now, if it has moved.

    Raises:
        DataError: If the file is gone, holds other particles, or has no table that could be written back.
    """
    count = particles_of(run)
    stack = found_again(run, particles)
    if stack.n_particles != count or stack.metadata is None:
        met = f"the particle file has {stack.n_particles} particles, {run} found {count}"
        raise DataError("PATH-006", f"{met}; give the file that it was made of (--particles)")
    rows = np.arange(count) if rows is None else np.unique(rows)
    if not len(rows) or rows[0] < 0 or rows[-1] >= count:
        met = "no particle" if not len(rows) else f"particles {rows[0]} to {rows[-1]}"
        raise DataError("SELECT-002", f"{met} to export, of a run of {count}; select some of them")
    particle = stack.particle.numpy()
    images = np.flatnonzero(np.isin(particle, rows))
    tensors, _ = read_tensors(run / "poses.safetensors")
    if len(tensors["rotation"]) != len(particle):
        met = f"the particle file has {len(particle)} images, {run} has {len(tensors['rotation'])} poses"
        raise DataError("PATH-006", f"{met}; give the file that it was made of (--particles)")
    spread, defocus = run / "latents_std.npy", run / "defocus.npy"
    return Chosen(
        stack=stack,
        metadata=stack.metadata,
        images=images,
        particle=particle[images],
        latents=_rows(run / "latents.npy", particle[images]),
        spread=_rows(spread, particle[images]) if spread.is_file() else None,
        poses=Poses(tensors["rotation"], tensors["shift"])[stack.particle.new_tensor(images)],
        defocus=_rows(defocus, images) if defocus.is_file() else None,
    )


def found_again(run: Path, particles: Path | None) -> ParticleStack:
    """The particles of a run, or an error that says how to point to them.

    Raises:
        DataError: ``PATH-005`` where the file or its images are not where they were.
    """
    try:
        return reopen(run, particles)
    except DataError as error:
        if particles is not None or error.code not in ("PATH-001", "CS-002"):
            raise
        was = read_json(run / "run.json").get("source", {}).get("path", "the particle file")
        message = f"{run} was made of {was}, which cannot be opened any more ({error})"
        raise DataError(
            "PATH-005", f"{message}. If it has moved, say where it is now (--particles)"
        ) from error


def _rows(path: Path, chosen: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n z"]:
    return np.load(path, allow_pickle=False)[chosen]

"""What a method finds: poses, a latent for every particle, a density for every latent."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Poses, Volume
from morphem.data.atomic import atomic_path
from morphem.data.errors import DataError
from morphem.data.mrc import write_map
from morphem.data.record import Metadata, write_metadata
from morphem.data.stack import ParticleStack
from morphem.engine import ranks
from morphem.engine.files import read_json, read_tensors, write_json, write_tensors
from morphem.models.density import AbstractDensity, load_density, save_density

_LOG = logging.getLogger("morphem")


def write_spread(folder: Path, covariance: Float[Tensor, "p z z"]) -> None:
    """Standard deviations of latents as ``latents_std.npy``."""
    if ranks.is_main():
        with atomic_path(folder / "latents_std.npy") as temporary:
            np.save(temporary, covariance.diagonal(dim1=1, dim2=2).sqrt().numpy(), allow_pickle=False)


@dataclass(frozen=True)
class Reconstruction:
    """What a method finds in a particle set.

    Attributes:
        poses: One per image.
        latents: One row per particle; of width 0 for a method that knows one state.
        density: Density of any latent.
        grid: On which maps are made.
        history: Mean of each term by epoch, for every stage.
        provenance: Settings, version, command and hashes of the particles.
        defocus: Both defoci of each image, Å, where the method corrected them.
    """

    poses: Poses
    latents: Float[Tensor, "p z"]
    density: AbstractDensity
    grid: Grid
    history: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    defocus: Float[Tensor, "n 2"] | None = None

    def volume(self, z: Float[Tensor, "z"]) -> Volume:
        """Density of one latent."""
        return self.density.volume(z, self.grid)

    def mean(self) -> Volume:
        """Density of the mean latent."""
        return self.volume(self.latents.mean(0))

    def save(self, folder: Path | str, stack: ParticleStack) -> None:
        """Write maps, latents, density and the particle file of ``stack`` with a latent in every row.

        Poses and defoci in the particle file stay as they were, unless the method changed them.
        """
        if ranks.is_main():
            self._save(Path(folder), stack)
        ranks.barrier()

    @classmethod
    def load(cls, folder: Path | str) -> Reconstruction:
        """What :meth:`save` wrote."""
        folder = Path(folder)
        summary = read_json(folder / "summary.json")
        poses, _ = read_tensors(folder / "poses.safetensors")
        return cls(
            poses=Poses(poses["rotation"], poses["shift"]),
            latents=torch.from_numpy(np.load(folder / "latents.npy", allow_pickle=False)),
            density=load_density(folder / "density.safetensors"),
            grid=Grid(**summary["grid"]),
            history=summary["history"],
            provenance=summary["provenance"],
            defocus=_defocus(folder / "defocus.npy"),
        )

    def _save(self, folder: Path, stack: ParticleStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "density.safetensors") as temporary:
            save_density(self.density, temporary)
        with atomic_path(folder / "latents.npy") as temporary:
            np.save(temporary, self.latents.detach().cpu().numpy(), allow_pickle=False)
        if self.defocus is not None:
            with atomic_path(folder / "defocus.npy") as temporary:
                np.save(temporary, self.defocus.numpy(), allow_pickle=False)
        write_tensors(folder / "poses.safetensors", dict(vars(self.poses)), {})
        write_map(folder / "mean.mrc", self.mean())
        if stack.metadata is not None:
            self._write_particles(folder, stack, stack.metadata)
        # last: a folder with a summary is complete
        write_json(folder / "summary.json", self._summary())

    def _write_particles(self, folder: Path, stack: ParticleStack, metadata: Metadata) -> None:
        path = folder / f"particles{metadata.source.path.suffix}"
        latents = self.latents.detach().cpu()[stack.particle].numpy()
        columns = {"morphemLatent": latents} if latents.shape[1] else {}
        if self.defocus is not None and metadata.source.defocus_columns is not None:
            columns |= dict(zip(metadata.source.defocus_columns, self.defocus.T.numpy(), strict=True))
        kept = all(torch.equal(vars(self.poses)[name], value) for name, value in vars(stack.poses).items())
        try:
            write_metadata(metadata, path, extra=columns, poses=None if kept else self.poses)
        except DataError as error:
            # a bare stack has no table to extend: no reason to lose the maps
            _LOG.warning("%s", error)

    def _summary(self) -> dict[str, Any]:
        return {
            "particles": len(self.latents),
            "images": len(self.poses),
            "latent": self.latents.shape[1],
            "density": type(self.density).__name__,
            "grid": asdict(self.grid),
            "history": self.history,
            "provenance": self.provenance,
        }


def _defocus(path: Path) -> Tensor | None:
    return torch.from_numpy(np.load(path, allow_pickle=False)) if path.exists() else None

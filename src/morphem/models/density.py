"""Densities that depend on a latent, and their files."""

from __future__ import annotations

import importlib
import inspect
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import safetensors.torch
import torch
from jaxtyping import Complex, Float
from safetensors import safe_open
from torch import Tensor, nn

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.physics.slices import central_slices

# Every density that may be in a file, and where it lives. A new one is added here.
DENSITIES = {
    "VoxelDensity": "morphem.models.density",
    "LinearDensity": "morphem.models.density",
    "PartMixture": "morphem.models.gaussian_density",
    "AnchoredMixture": "morphem.models.gaussian_density",
    "HartleyField": "morphem.models.neural_density",
}

Density = TypeVar("Density", bound="AbstractDensity")


class AbstractDensity(nn.Module, ABC):
    """A density for every latent.

    Constructors take numbers, strings and tuples of them, nothing else: they are written into the file.
    ``later`` names buffers that files of earlier versions lack: these keep their start.
    """

    later: ClassVar[tuple[str, ...]] = ()
    arguments: dict[str, Any]

    def __new__(cls: type[Density], *args: Any, **kwargs: Any) -> Density:
        """Remember what it is constructed with, so that each density can be saved without code of its own."""
        density = nn.Module.__new__(cls)
        # partial: copying constructs without arguments, and copies these afterwards
        given = inspect.signature(cls).bind_partial(*args, **kwargs)
        given.apply_defaults()
        object.__setattr__(density, "arguments", dict(given.arguments))
        return density

    @abstractmethod
    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Spectra of the projections of each latent's density, each at its rotation."""

    @abstractmethod
    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        """Density of one latent, without gradients."""


class VoxelDensity(AbstractDensity):
    """One map for every latent.

    Args:
        box: Voxels along a side.
        pixel_size: Å.
    """

    def __init__(self, box: int, pixel_size: float) -> None:
        super().__init__()
        self.grid = Grid(box, pixel_size)
        self.voxels = nn.Parameter(torch.zeros(box, box, box))

    @classmethod
    def of(cls, volume: Volume) -> VoxelDensity:
        """The density that a map shows."""
        density = cls(volume.grid.box, volume.grid.pixel_size)
        density.voxels.data = volume.voxels.detach().clone()
        return density

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Central slices of the map."""
        return central_slices(Volume(_resized(self.voxels, grid.box), grid), rotation)

    @torch.no_grad()
    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        """The map."""
        return Volume(_resized(self.voxels, grid.box).clone(), grid)


class LinearDensity(AbstractDensity):
    """A mean map and one map for each number of the latent, ``V₀ + Σ_j z_j V_j``.

    Args:
        box: Voxels along a side.
        pixel_size: Å.
        latent: Width of the latent; 0 is one map for all.
    """

    def __init__(self, box: int, pixel_size: float, latent: int) -> None:
        super().__init__()
        self.grid = Grid(box, pixel_size)
        self.mean = nn.Parameter(torch.zeros(box, box, box))
        self.directions = nn.Parameter(torch.zeros(latent, box, box, box))

    @classmethod
    def of(cls, mean: Volume, directions: Float[Tensor, "z d d d"]) -> LinearDensity:
        """The density of a mean map and directions on its grid."""
        density = cls(mean.grid.box, mean.grid.pixel_size, len(directions))
        density.mean.data = mean.voxels.detach().clone()
        density.directions.data = directions.detach().clone()
        return density

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Central slices of each latent's map; cost of one slice a direction."""
        total = central_slices(Volume(_resized(self.mean, grid.box), grid), rotation)
        for amount, voxels in zip(z.T, self.directions, strict=True):
            slices = central_slices(Volume(_resized(voxels, grid.box), grid), rotation)
            total = total + amount[:, None, None] * slices
        return total

    @torch.no_grad()
    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        """Map of one latent."""
        return Volume(_resized(self.mean + torch.einsum("j,jzyx->zyx", z, self.directions), grid.box), grid)


def _resized(voxels: Float[Tensor, "d d d"], box: int) -> Float[Tensor, "e e e"]:
    return voxels if voxels.shape[-1] == box else resize_map(voxels, box)


def save_density(density: AbstractDensity, path: Path) -> None:
    """Write a density: its tensors, and in the header its class and constructor arguments as JSON."""
    name = type(density).__name__
    if name not in DENSITIES:
        raise ValueError(f"{name} is not in morphem.models.density.DENSITIES; add it there to save it")
    tensors = {key: value.detach().cpu().contiguous() for key, value in density.state_dict().items()}
    # one entry: safetensors writes several in an order that differs from process to process
    header = {"density": json.dumps({"class": name, "arguments": density.arguments})}
    safetensors.torch.save_file(tensors, path, header)


def load_density(path: Path) -> AbstractDensity:
    """Read a density; only the classes of ``DENSITIES`` are ever constructed."""
    with safe_open(path, "pt") as file:
        header = json.loads((file.metadata() or {}).get("density", "{}"))
    name = header.get("class", "")
    if name not in DENSITIES:
        raise ValueError(f"{path} holds a density {name or 'without a name'}; known: {', '.join(DENSITIES)}")
    kind = getattr(importlib.import_module(DENSITIES[name]), name)
    density = kind(**{key: _frozen(value) for key, value in header["arguments"].items()})
    later = {name: density.get_buffer(name) for name in density.later}
    density.load_state_dict({**later, **safetensors.torch.load_file(path)})
    return density


def _frozen(value: Any) -> Any:
    """JSON knows no tuples."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value

"""Molecules that are given as maps: central slices of the voxels by the non-uniform FFT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import finufft
import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map, to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import Frame, Volume
from morphem.simulate.ensembles import AbstractEnsemble, Bodies, Coordinate
from morphem.simulate.motions import drawn, nearest

_ERROR = 1e-6  # relative, of sums over voxels


@dataclass(frozen=True)
class MapEnsemble(AbstractEnsemble):
    """States that are maps; a slice sums every voxel, at any frequency, without interpolation.

    Attributes:
        name: How to call it.
        voxels: One map a state.
        pixel_size: Of the maps, Å.
        shares: How often each state is met; they sum to 1.
        kind: ``linear`` if the maps are a series, ``label`` if their order means nothing.
    """

    name: str
    voxels: Float[Tensor, "k d d d"]
    pixel_size: float
    shares: Float[Tensor, "k"]
    kind: Literal["linear", "label"] = "label"

    @property
    def coordinates(self) -> tuple[Coordinate, ...]:
        """The map's number, from 0."""
        return (Coordinate("map", self.kind),)

    @property
    def labels(self) -> Int[Tensor, "g"]:
        """A map has no points."""
        return torch.zeros(0, dtype=torch.long)

    def projections(
        self, state: Float[Tensor, "b q"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Slices of each state's map within the ball that both Nyquist frequencies leave."""
        index = nearest(state, torch.arange(len(self.voxels)).to(state))
        plane = grid.frequencies()
        inside = _inside(plane.norm(dim=-1), self._nyquist(grid))
        frequency = plane[inside] @ rotation[:, :2]
        values = torch.zeros(frequency.shape[:2], dtype=torch.complex64)
        for k in index.unique().tolist():
            values[index == k] = self._spectrum(k, frequency[index == k])
        out = torch.zeros(len(state), *inside.shape, dtype=torch.complex64)
        out[:, inside] = values * (self.pixel_size**3 / grid.pixel_size**2)
        return out

    def map(self, state: Float[Tensor, "q"], grid: Grid, frame: Frame | None = None) -> Volume:
        """The map on another grid; in another frame by its transform there, not by interpolation."""
        k = int(nearest(state[None], torch.arange(len(self.voxels)).to(state)))
        box = self.voxels.shape[-1]
        same = math.isclose(grid.extent, box * self.pixel_size, rel_tol=1e-6)
        if frame is None and same:
            return Volume(resize_map(self.voxels[k], grid.box), grid)
        return self._placed(k, grid, frame or Frame(torch.eye(3), torch.zeros(3)))

    def points(self, state: Float[Tensor, "b q"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """None."""
        return torch.zeros(len(state), 0, 3), torch.zeros(len(state), 0)

    def bodies(self, state: Float[Tensor, "b q"]) -> Bodies | None:
        """None: what moves in a map is not known."""
        return None

    def body_map(self, body: int, grid: Grid) -> Volume:
        """Not known."""
        raise ValueError("a molecule made of maps has no rigid bodies")

    def states(self, uniform: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
        """Maps in their shares."""
        return drawn(uniform, torch.arange(len(self.voxels)).to(uniform), self.shares)

    def landmarks(self, count: int) -> tuple[Float[Tensor, "k q"], Float[Tensor, "k"]]:
        """Every map."""
        return torch.arange(len(self.voxels)).float()[:, None], self.shares

    def _nyquist(self, grid: Grid) -> float:
        return min(grid.nyquist, 0.5 / self.pixel_size)

    def _spectrum(self, k: int, frequency: Float[Tensor, "*b 3"]) -> Complex[Tensor, "*b"]:
        """``Σ voxel exp(−2πi k·r)`` at frequencies (x, y, z) in 1/Å."""
        turn = (2 * math.pi * self.pixel_size * frequency.double()).reshape(-1, 3).numpy()
        x, y, z = np.ascontiguousarray(turn.T)
        voxels = self.voxels[k].numpy().astype(np.complex128)
        values = finufft.nufft3d2(z, y, x, voxels, isign=-1, eps=_ERROR, nthreads=1)
        return torch.from_numpy(values).to(torch.complex64).reshape(frequency.shape[:-1])

    def _placed(self, k: int, grid: Grid, frame: Frame) -> Volume:
        """``V'(x') = V(x)`` with ``x' = M x + o``: the transform at k is the old one at Mᵀk, shifted."""
        full = torch.fft.fftfreq(grid.box, grid.pixel_size)
        half = torch.fft.rfftfreq(grid.box, grid.pixel_size)
        z, y, x = torch.meshgrid(full, full, half, indexing="ij")
        frequency = torch.stack([x, y, z], -1)
        inside = _inside(frequency.norm(dim=-1), self._nyquist(grid))
        kept = frequency[inside]
        shift = torch.exp(-2j * math.pi * (kept @ frame.offset))
        spectrum = torch.zeros(frequency.shape[:3], dtype=torch.complex64)
        spectrum[inside] = self._spectrum(k, kept @ frame.matrix) * shift
        return Volume(to_real_3d(spectrum) * (self.pixel_size / grid.pixel_size) ** 3, grid)


def _inside(radius: Float[Tensor, "*k"], nyquist: float) -> Tensor:
    """Which frequencies lie below Nyquist."""
    return radius < nyquist * (1 - 1e-6)

"""Atoms as scatterers: sums over atoms by the non-uniform FFT, nothing rasterised, nothing interpolated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import finufft
import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.atoms import Atoms
from morphem.data.errors import DataError
from morphem.simulate.ensembles import AbstractMatter

_IMAGE_ERROR = 1e-6  # relative, of sums in float64
_MAP_ERROR = 1e-8
# oversampled 1.25 times, which float64 bears: the FFT is a quarter of that at twice, and is most of the cost
_TRANSFORM: dict[str, Any] = {"isign": -1, "modeord": 1, "nthreads": 1, "upsampfac": 1.25}


@dataclass(frozen=True)
class AtomicMatter(AbstractMatter):
    """Atoms with a scattering factor ``Σ_t weight_t exp(−width_t k²/4)`` by kind of atom.

    Attributes:
        kind: Row of the tables, 0 … kinds − 1, of each atom.
        occupancy: Factor on each atom.
        weights: Å for electrons.
        widths: Å²; a B factor adds to every width.
    """

    kind: Int[Tensor, "g"]
    occupancy: Float[Tensor, "g"]
    weights: Float[Tensor, "e t"]
    widths: Float[Tensor, "e t"]

    def projections(
        self,
        positions: Float[Tensor, "b g 3"],
        presence: Float[Tensor, "b g"],
        rotation: Float[Tensor, "b 3 3"],
        grid: Grid,
    ) -> Complex[Tensor, "b d h"]:
        """``Σ f(k) exp(−2πi k·[R r]_xy)`` per pixel area, cut at (and without) Nyquist on each axis."""
        plan = finufft.Plan(1, (grid.box,) * 2, eps=_IMAGE_ERROR, spread_sort=0, **_TRANSFORM)
        factors = self._factors(grid)[:, _squares(grid.box, 2)] / grid.pixel_size**2
        view = (positions @ (rotation[:, :2].mT * (2 * math.pi / grid.extent))).double().numpy()
        there, pairs = presence.double().numpy(), self._pairs()
        return torch.stack([self._image(plan, *one, pairs, factors) for one in zip(view, there, strict=True)])

    def map(self, positions: Float[Tensor, "g 3"], presence: Float[Tensor, "g"], grid: Grid) -> Volume:
        """Density on voxels whose central slices are :meth:`projections`."""
        x, y, z = (positions.double() * (2 * math.pi / grid.extent)).numpy().T.copy()
        there, size, squares = presence.double().numpy(), (grid.box,) * 3, _squares(grid.box, 3)
        spectrum = torch.zeros(size, dtype=torch.complex128)
        for (own, strength), factor in zip(self._pairs(), self._factors(grid), strict=True):
            points, weights = (z[own], y[own], x[own]), strength * there[own]
            sums = finufft.nufft3d1(*points, weights, size, eps=_MAP_ERROR, **_TRANSFORM)
            spectrum += torch.from_numpy(sums) * factor[squares]
        density = to_real_3d(_hermitian(spectrum)) / grid.pixel_size**3
        return Volume(density.to(positions.dtype), grid)

    def _pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of the atoms of two kinds at a time; one has real strengths, the other imaginary ones."""
        kind, occupancy = self.kind.numpy(), self.occupancy.numpy()
        rows = [np.flatnonzero((kind == k) | (kind == k + 1)) for k in range(0, len(self.weights), 2)]
        return [(own, (occupancy[own] * np.where(kind[own] % 2, 1j, 1))) for own in rows]

    def _image(
        self,
        plan: finufft.Plan,
        view: Float[np.ndarray, "g 2"],
        there: Float[np.ndarray, "g"],
        pairs: list[tuple[np.ndarray, np.ndarray]],
        factors: Complex[Tensor, "m d d"],
    ) -> Complex[Tensor, "d h"]:
        """Spectrum of one projection."""
        spectrum, modes = torch.zeros_like(factors[0]), torch.empty_like(factors[0])
        x, y = view[:, 0].copy(), view[:, 1].copy()
        for (own, strength), factor in zip(pairs, factors, strict=True):
            present = there[own]
            if not present.all():
                own, strength, present = own[present != 0], strength[present != 0], present[present != 0]
            if len(own):
                points = y[own], x[own]  # the plan keeps no copy
                plan.setpts(*points)
                plan.execute(strength * present, out=modes.numpy())
                spectrum.addcmul_(modes, factor)
        return _hermitian(spectrum.to(torch.complex64))

    def _factors(self, grid: Grid) -> Complex[Tensor, "m s"]:
        """``(f_even − i f_odd) / 2`` of each pair of kinds, by the square of the frequency in pixels."""
        square = torch.arange(3 * (grid.box // 2) ** 2 + 1, dtype=torch.float64) / (4 * grid.extent**2)
        waves = torch.exp(-self.widths.double()[..., None] * square)
        form = (self.weights.double()[..., None] * waves).sum(1) / 2
        odd = torch.zeros_like(form[::2])
        odd[: len(form) // 2] = form[1::2]
        return torch.complex(form[::2], -odd)


def electron_matter(atoms: Atoms, b_factor: float = 0.0) -> AtomicMatter:
    """Atoms as electrons see them (International Tables for Crystallography C, table 4.3.2.2).

    Args:
        atoms: Of elements that the table holds.
        b_factor: Of every atom, Å²; it blurs the true maps too, unlike the envelope of the optics.
    """
    import gemmi

    numbers, kind = np.unique(atoms.element, return_inverse=True)
    tables = [gemmi.Element(int(number)).c4322 for number in numbers]
    unknown = [str(number) for number, table in zip(numbers, tables, strict=True) if not (number and table)]
    if unknown:
        message = f"no electron scattering factor is known for atomic numbers {', '.join(unknown)}"
        raise DataError("ATOMS-004", f"{atoms.path}: {message}; leave these atoms out, or use Gaussian ones")
    return AtomicMatter(
        torch.from_numpy(kind),
        torch.from_numpy(atoms.occupancy).float(),
        torch.tensor([list(table.a) for table in tables]),
        torch.tensor([list(table.b) for table in tables]) + b_factor,
    )


def gaussian_atoms(atoms: Atoms, sigma: float) -> AtomicMatter:
    """Atoms as Gaussians of standard deviation ``sigma`` (Å) that scatter by their atomic number."""
    width = 8 * math.pi**2 * sigma**2
    return AtomicMatter(
        torch.zeros(len(atoms), dtype=torch.long),
        torch.from_numpy(atoms.occupancy * atoms.element).float(),
        torch.ones(1, 1),
        torch.full((1, 1), width),
    )


def _squares(box: int, dimensions: int) -> Int[Tensor, "*d d"]:
    """|k|² of each frequency in FFT order, in frequency pixels."""
    square = (torch.fft.fftfreq(box) * box).round().long().square()
    out = square
    for _ in range(dimensions - 1):
        out = out[..., None] + square
    return out


def _hermitian(spectrum: Complex[Tensor, "*d d"]) -> Complex[Tensor, "*d h"]:
    """``F(k) + F*(−k)`` on the half space, without Nyquist, where a real image cannot hold a shifted wave.

    So two kinds of atoms share a transform, one with real strengths s, one with imaginary ones: with
    ``F = (f_even − i f_odd)/2 · Σ s exp(−2πi k·r)`` each kind keeps its own factor, the other's cancels.
    """
    box, half = spectrum.shape[-1], spectrum.shape[-1] // 2 + 1
    mirror = -torch.arange(box) % box
    opposite = spectrum
    for axis in range(spectrum.ndim - 1):
        opposite = opposite.index_select(axis, mirror)
    out = spectrum[..., :half] + opposite[..., mirror[:half]].conj()
    for axis in range(out.ndim):
        out.select(axis, box // 2).zero_()
    return out

"""Atoms as scatterers: sums over atoms by the non-uniform FFT, nothing rasterised, nothing interpolated."""

from __future__ import annotations

import math
from dataclasses import dataclass

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

_IMAGE_ERROR = 1e-6  # relative, of sums in float32
_MAP_ERROR = 1e-8  # relative, of sums in float64


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
        plan = finufft.Plan(
            1, (grid.box, grid.box), isign=-1, eps=_IMAGE_ERROR, dtype="complex64", nthreads=1, modeord=1
        )
        form = self._form(grid.frequencies().norm(dim=-1)) / grid.pixel_size**2
        view = ((positions @ rotation[:, :2].mT) * (2 * math.pi / grid.extent)).float().numpy()
        there = presence.float().numpy()
        pairs = self._pairs()
        spectra = [self._image(plan, *one, pairs) for one in zip(view, there, strict=True)]
        return torch.stack([_combined(modes, form) for modes in spectra])

    def map(self, positions: Float[Tensor, "g 3"], presence: Float[Tensor, "g"], grid: Grid) -> Volume:
        """Density on voxels whose central slices are :meth:`projections`."""
        form = self._form(_distances(grid)) / grid.pixel_size**3
        x, y, z = (positions.double() * (2 * math.pi / grid.extent)).numpy().T.copy()
        there, modes = presence.double().numpy(), []
        for own, strength in self._pairs():
            points, weights = (z[own], y[own], x[own]), (strength * there[own]).astype(np.complex128)
            sums = finufft.nufft3d1(
                *points, weights, (grid.box,) * 3, isign=-1, eps=_MAP_ERROR, nthreads=1, modeord=1
            )
            modes.append(torch.from_numpy(sums))
        spectrum = _combined(torch.stack(modes), form)
        return Volume(to_real_3d(spectrum).to(positions.dtype), grid)

    def _pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of the atoms of two kinds at a time; one has real strengths, the other imaginary ones."""
        kind, occupancy = self.kind.numpy(), self.occupancy.numpy()
        rows = [np.flatnonzero((kind == k) | (kind == k + 1)) for k in range(0, len(self.weights), 2)]
        return [(own, (occupancy[own] * np.where(kind[own] % 2, 1j, 1)).astype(np.complex64)) for own in rows]

    def _image(
        self,
        plan: finufft.Plan,
        view: Float[np.ndarray, "g 2"],
        there: Float[np.ndarray, "g"],
        pairs: list[tuple[np.ndarray, np.ndarray]],
    ) -> Complex[Tensor, "m d d"]:
        """Sums over the atoms of each pair of kinds, kinds not yet parted."""
        modes = torch.zeros(len(pairs), *plan.n_modes, dtype=torch.complex64)
        x, y = view[:, 0].copy(), view[:, 1].copy()
        for (own, strength), sums in zip(pairs, modes, strict=True):
            present = there[own]
            if not present.all():
                own, strength, present = own[present != 0], strength[present != 0], present[present != 0]
            if len(own):
                points = y[own], x[own]  # the plan keeps no copy
                plan.setpts(*points)
                plan.execute(strength * present, out=sums.numpy())
        return modes

    def _form(self, k: Float[Tensor, "*k"]) -> Float[Tensor, "e *k"]:
        """Scattering factor of each kind at frequencies k (1/Å)."""
        square = k.square() / 4
        wide = (-1, *[1] * k.ndim)
        out = torch.zeros((len(self.weights), *k.shape), dtype=k.dtype)
        for weight, width in zip(self.weights.T.to(k), self.widths.T.to(k), strict=True):
            out += weight.reshape(wide) * torch.exp(-width.reshape(wide) * square)
        return out


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


def _combined(modes: Complex[Tensor, "m *d d"], form: Float[Tensor, "e *d h"]) -> Complex[Tensor, "*d h"]:
    """Two kinds of atoms from one transform: real and imaginary strengths part by Hermitian symmetry."""
    half, axes = form.shape[-1], tuple(range(1, modes.ndim))
    mirror = modes.flip(axes).roll((1,) * len(axes), axes)[..., :half].conj()
    modes = modes[..., :half]
    out = (form[::2] * (modes + mirror)).sum(0) / 2
    second = form[1::2]
    out += (second * (modes - mirror)[: len(second)]).sum(0) / 2j
    return _without_nyquist(out, modes.shape[-2])


def _distances(grid: Grid) -> Float[Tensor, "d d h"]:
    """|k| of each half-space frequency, 1/Å, float64."""
    full = torch.fft.fftfreq(grid.box, grid.pixel_size, dtype=torch.float64)
    half = torch.fft.rfftfreq(grid.box, grid.pixel_size, dtype=torch.float64)
    return (full[:, None, None] ** 2 + full[:, None] ** 2 + half**2).sqrt()


def _without_nyquist(spectrum: Complex[Tensor, "*d d h"], box: int) -> Complex[Tensor, "*d d h"]:
    """Zero at Nyquist on every axis, where a real image cannot hold a shifted wave."""
    spectrum[..., -1] = 0
    for axis in range(spectrum.ndim - 1):
        spectrum.select(axis, box // 2).zero_()
    return spectrum

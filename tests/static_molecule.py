"""A rigid molecule of known Gaussians and its exact images, written from the equations alone.

Nothing of ``morphem.physics`` is used, so that what is judged does not also make the truth. Float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Optics, Poses
from morphem.data.stack import ParticleStack, stack_in_memory


@dataclass(frozen=True)
class Molecule:
    """Isotropic Gaussians of one width; no mirror image of itself."""

    centres: Float[Tensor, "g 3"]
    weights: Float[Tensor, "g"]
    width: float

    def map(self, grid: Grid) -> Float[Tensor, "d d d"]:
        """Density whose integral along a line, in Å, is the projection."""
        x = grid.axis().double()
        bells = [torch.exp(-((x - c[:, None]) ** 2) / (2 * self.width**2)) for c in self.centres.T]
        density = torch.einsum("g,gz,gy,gx->zyx", self.weights, bells[2], bells[1], bells[0])
        return (density / (self.width * math.sqrt(2 * math.pi))).float()

    def spectra(self, rotation: Float[Tensor, "n 3 3"], grid: Grid) -> Complex[Tensor, "n d h"]:
        """Fourier transforms of the projections, summed over pixels."""
        seen = self.centres @ rotation[:, :2].double().transpose(1, 2)
        fy = torch.fft.fftfreq(grid.box, grid.pixel_size, dtype=torch.float64)
        fx = torch.fft.rfftfreq(grid.box, grid.pixel_size, dtype=torch.float64)
        wave_x = torch.exp(-2j * math.pi * seen[:, :, :1] * fx)
        wave_y = torch.exp(-2j * math.pi * seen[:, :, 1:] * fy) * self.weights[:, None]
        squared = fy[:, None] ** 2 + fx**2
        envelope = 2 * math.pi * self.width**2 * torch.exp(-2 * math.pi**2 * self.width**2 * squared)
        return torch.einsum("ngy,ngx->nyx", wave_y, wave_x) * envelope / grid.pixel_size**2


def three_arms(extent: float) -> Molecule:
    """A chain with arms of differing length along differing directions."""
    generator = torch.Generator().manual_seed(5)
    steps = torch.randn(40, 3, generator=generator, dtype=torch.float64) * 0.035 * extent
    arm = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    bend = torch.cat([0.22 * arm, 0.16 * arm**2, -0.10 * torch.sin(3 * arm)], 1) * extent
    centres = bend + steps
    weights = torch.linspace(0.6, 1.4, 40, dtype=torch.float64)
    return Molecule(centres - centres.mean(0), weights, 0.018 * extent)


def optics_of(n: int, generator: torch.Generator) -> Optics:
    """300 kV, Cs 2.7 mm, 7 % amplitude contrast, defocus 1–2 µm with astigmatism."""
    defocus = 10000 + 10000 * torch.rand(n, generator=generator)
    ones = torch.ones(n)
    return Optics(
        defocus_u=defocus + 150,
        defocus_v=defocus - 150,
        astigmatism=math.pi * torch.rand(n, generator=generator),
        voltage_kv=300 * ones,
        cs_mm=2.7 * ones,
        amplitude_contrast=0.07 * ones,
        phase_shift=0 * ones,
        b_factor=0 * ones,
        scale=ones,
    )


def transfer(optics: Optics, grid: Grid) -> Float[Tensor, "n d h"]:
    """RELION's contrast transfer; no envelope, no phase plate."""
    fy = torch.fft.fftfreq(grid.box, grid.pixel_size, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(grid.box, grid.pixel_size, dtype=torch.float64)
    squared, angle = fx**2 + fy**2, torch.atan2(fy, fx)
    column = {name: value.double()[:, None, None] for name, value in vars(optics).items()}
    volts = column["voltage_kv"] * 1e3
    wavelength = 12.2642596 / torch.sqrt(volts * (1 + 0.97847538e-6 * volts))
    u, v = column["defocus_u"], column["defocus_v"]
    defocus = ((u + v) + (u - v) * torch.cos(2 * (angle - column["astigmatism"]))) / 2
    spherical = math.pi / 2 * column["cs_mm"] * 1e7 * wavelength**3 * squared**2
    contrast = torch.asin(column["amplitude_contrast"])
    return -torch.sin(spherical - math.pi * wavelength * defocus * squared - contrast)


def photograph(
    molecule: Molecule, grid: Grid, n: int, noise: float, seed: int = 0, spread: float = 4.0
) -> ParticleStack:
    """Images at random poses, shifted by ``spread`` Å (standard deviation), unit-variance noise × ``noise``.

    The signal is scaled to a mean variance of 1 per pixel before noise is added.
    """
    generator = torch.Generator().manual_seed(seed)
    rotation = random_rotations(n, generator)
    shift = spread * torch.randn(n, 2, generator=generator)
    optics = optics_of(n, generator)
    fy = torch.fft.fftfreq(grid.box, grid.pixel_size, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(grid.box, grid.pixel_size, dtype=torch.float64)
    moved = shift.double()
    phase = fx * moved[:, 0, None, None] + fy * moved[:, 1, None, None]
    spectra = molecule.spectra(rotation, grid) * transfer(optics, grid)
    spectra = spectra * torch.exp(-2j * math.pi * phase)
    images = torch.fft.fftshift(torch.fft.irfft2(spectra, s=(grid.box, grid.box)), dim=(-2, -1))
    images = images / images.var(dim=(-2, -1)).mean().sqrt()
    images = images + noise * torch.randn(images.shape, generator=generator)
    return stack_in_memory(images.float(), grid, optics, Poses(rotation, shift))


def correlation_by_shell(a: Float[Tensor, "d d d"], b: Float[Tensor, "d d d"]) -> Float[Tensor, "s"]:
    """Fourier shell correlation from its definition, shells round(|k|), over the full transform."""
    box = a.shape[0]
    fa, fb = (torch.fft.fftn(torch.fft.ifftshift(v.double())) for v in (a, b))
    k = torch.fft.fftfreq(box, 1 / box, dtype=torch.float64)
    shell = (k[:, None, None] ** 2 + k[:, None] ** 2 + k**2).sqrt().round().long().flatten()

    def total(values: Tensor) -> Tensor:
        return torch.bincount(shell, values.flatten())[: box // 2 + 1]

    cross = total((fa * fb.conj()).real)
    return (cross / (total(fa.abs() ** 2) * total(fb.abs() ** 2)).sqrt()).float()

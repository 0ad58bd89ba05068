"""Fourier transforms of centred images and maps, and what is counted on their shells.

A transform is the plain sum ``F(k) = Σ_p f(p) exp(−2πi k·p)`` over pixels ``p`` measured from the origin
(index ``d // 2`` on every axis), kept on the half plane of real data.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.grid import Grid


def to_fourier(images: Float[Tensor, "*b d d"]) -> Complex[Tensor, "*b d h"]:
    """Transform of centred images."""
    return torch.fft.rfft2(torch.fft.ifftshift(images, dim=(-2, -1)))


def to_real(spectra: Complex[Tensor, "*b d h"]) -> Float[Tensor, "*b d d"]:
    """Centred images of half-plane spectra; inverse of :func:`to_fourier`."""
    box = spectra.shape[-2]
    return torch.fft.fftshift(torch.fft.irfft2(spectra, s=(box, box)), dim=(-2, -1))


def to_fourier_3d(voxels: Float[Tensor, "*b d d d"]) -> Complex[Tensor, "*b d d h"]:
    """Transform of centred maps."""
    return torch.fft.rfftn(torch.fft.ifftshift(voxels, dim=(-3, -2, -1)), dim=(-3, -2, -1))


def to_real_3d(spectra: Complex[Tensor, "*b d d h"]) -> Float[Tensor, "*b d d d"]:
    """Centred maps of half-space spectra; inverse of :func:`to_fourier_3d`."""
    box = spectra.shape[-2]
    real = torch.fft.irfftn(spectra, s=(box, box, box), dim=(-3, -2, -1))
    return torch.fft.fftshift(real, dim=(-3, -2, -1))


def half_plane_weights(box: int, device: torch.device | str | None = None) -> Float[Tensor, "d h"]:
    """How often each half-plane entry occurs in the full plane: 1 on the self-conjugate columns, else 2."""
    weights = torch.full((box, box // 2 + 1), 2.0, device=device)
    weights[:, 0] = 1
    weights[:, -1] = 1
    return weights


def resize_images(images: Float[Tensor, "*b d d"], box: int) -> Float[Tensor, "*b e e"]:
    """Crop or pad the spectrum to ``box`` pixels; grey values keep their scale.

    Going down, the new Nyquist row and column are dropped: half of each pair would be missing.
    """
    old = images.shape[-1]
    if old == box:
        return images
    spectra, small = to_fourier(images), min(old, box)
    h = small // 2
    out = torch.zeros((*images.shape[:-2], box, box // 2 + 1), dtype=spectra.dtype, device=images.device)
    out[..., :h, :h] = spectra[..., :h, :h]
    out[..., 1 - h :, :h] = spectra[..., 1 - h :, :h]
    return to_real(out) * (box / old) ** 2


def resize_map(voxels: Float[Tensor, "d d d"], box: int) -> Float[Tensor, "e e e"]:
    """Crop or pad the spectrum of a map to ``box`` voxels; values keep their scale."""
    old = voxels.shape[-1]
    if old == box:
        return voxels
    spectrum = to_fourier_3d(voxels)
    h = min(old, box) // 2
    out = torch.zeros((box, box, box // 2 + 1), dtype=spectrum.dtype, device=voxels.device)
    lows, highs = slice(0, h), slice(1 - h, None)
    for z in (lows, highs):
        for y in (lows, highs):
            out[z, y, :h] = spectrum[z, y, :h]
    return to_real_3d(out) * (box / old) ** 3


def shell_sums(
    values: Float[Tensor, "*b d h"], shells: Int[Tensor, "d h"], n_shells: int
) -> Float[Tensor, "*b s"]:
    """Sum half-plane values on shells, each entry as often as it occurs in the full plane.

    Shells at or beyond ``n_shells`` (the corners) are left out. Sums run in float64: shells of many terms
    lose digits in float32.
    """
    weights = half_plane_weights(values.shape[-2], values.device)
    flat = (values * weights).flatten(-2).double()
    out = torch.zeros((*flat.shape[:-1], int(shells.max()) + 1), dtype=torch.float64, device=values.device)
    out.index_add_(-1, shells.flatten(), flat)
    return out[..., :n_shells].to(values.dtype)


def radial_mean(values: Float[Tensor, "*b d h"], grid: Grid) -> Float[Tensor, "*b s"]:
    """Mean of half-plane values over shells one frequency pixel wide, from DC to Nyquist.

    Entries off the two self-conjugate columns count twice, so the result equals the mean over the full plane.
    """
    shells = grid.shells(values.device)
    count = shell_sums(torch.ones(grid.box, grid.half, device=values.device), shells, grid.half)
    return shell_sums(values, shells, grid.half) / count


def shells_3d(box: int, device: torch.device | str | None = None) -> Int[Tensor, "d d h"]:
    """Shell ``round(|k|)`` of each half-space frequency of a map."""
    full = torch.fft.fftfreq(box, 1 / box, device=device)
    half = torch.fft.rfftfreq(box, 1 / box, device=device)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2
    return squared.sqrt().round().long()


def low_pass(voxels: Float[Tensor, "d d d"], grid: Grid, resolution: float) -> Float[Tensor, "d d d"]:
    """Map without what is finer than ``resolution`` (Å); raised-cosine edge two shells wide."""
    edge = 2.0
    radius = shells_3d(grid.box, voxels.device).to(voxels.dtype)
    ramp = ((grid.extent / resolution - radius) / edge + 0.5).clamp(0, 1)
    return to_real_3d(to_fourier_3d(voxels) * (0.5 - 0.5 * torch.cos(torch.pi * ramp)))

"""Noise: its spectrum, whitening by it, and the likelihood of images under it.

A spectrum is the variance of the noise by shell, DC to Nyquist, in squared grey values: white noise of
standard deviation σ has the spectrum σ² on every shell.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights, radial_mean, to_fourier, to_real
from morphem.core.grid import Grid


def background_power(images: Float[Tensor, "n d d"], mask: Float[Tensor, "d d"]) -> Float[Tensor, "n d h"]:
    """Noise power of each image on the half plane, from what lies outside the particle's mask.

    The mean outside is removed first and the power divided by the area seen, so white noise of variance 1
    has a mean of 1. Power is blurred over the reciprocal of that area's width; DC, which the mean took
    along, is not to be trusted.
    """
    outside = 1 - mask
    mean = (images * outside).sum((-2, -1)) / outside.sum()
    return _squared(to_fourier((images - mean[:, None, None]) * outside)) / outside.square().sum()


def residual_power(residuals: Complex[Tensor, "n d h"]) -> Float[Tensor, "n d h"]:
    """Power of each residual (observed minus expected, in Fourier space) on the half plane."""
    return _squared(residuals) / residuals.shape[-2] ** 2


def spectrum_by_group(
    power: Float[Tensor, "n d h"], group: Int[Tensor, "n"], n_groups: int, grid: Grid
) -> Float[Tensor, "k s"]:
    """Mean spectrum of each optics group; a group without images has the mean of all, DC repeats shell 1."""
    spectra = radial_mean(power, grid).double()
    sums = spectra.new_zeros(n_groups, grid.half).index_add_(0, group, spectra)
    count = torch.bincount(group, minlength=n_groups)[:, None]
    mean = torch.where(count > 0, sums / count.clamp(min=1), spectra.mean(0))
    return torch.cat([mean[:, 1:2], mean[:, 1:]], -1).to(power.dtype)


def whitening_filter(spectrum: Float[Tensor, "k s"], grid: Grid) -> Float[Tensor, "k d h"]:
    """Factor on each half-plane frequency that gives noise of this spectrum unit variance."""
    return _at_frequencies(spectrum, grid).rsqrt()


def coloured_noise(
    spectrum: Float[Tensor, "n s"], grid: Grid, generator: torch.Generator | None = None
) -> Float[Tensor, "n d d"]:
    """Gaussian noise of the given spectrum, one image a row."""
    shape = (len(spectrum), grid.box, grid.box)
    white = torch.randn(shape, generator=generator, dtype=spectrum.dtype, device=spectrum.device)
    return to_real(to_fourier(white) * _at_frequencies(spectrum, grid).sqrt())


def band_weights(
    grid: Grid, k_max: float | None = None, device: torch.device | str | None = None
) -> Float[Tensor, "d h"]:
    """Weight of each half-plane entry in a sum over pixels: full-plane multiplicity over ``d²``.

    DC and what lies beyond ``k_max`` (1/Å; Nyquist by default) or at Nyquist weighs nothing. So
    ``Σ weight · |F|²`` is the sum of squares of the image so filtered.
    """
    k = grid.frequencies(device).square().sum(-1).sqrt()
    inside = (k > 0) & (k < grid.nyquist * (1 - 1e-6))
    if k_max is not None:
        inside &= k <= k_max * (1 + 1e-6)
    return half_plane_weights(grid.box, device) * inside / grid.box**2


def log_likelihood(
    observed: Complex[Tensor, "b d h"], expected: Complex[Tensor, "b d h"], weights: Float[Tensor, "d h"]
) -> Float[Tensor, "b"]:
    """``−½ Σ w |y − x|²`` of whitened images under unit noise, up to a constant.

    ``weights`` come from :func:`band_weights`.
    """
    return -0.5 * (_squared(observed - expected) * weights).sum((-2, -1))


def profile_log_likelihood(
    observed: Complex[Tensor, "b d h"], expected: Complex[Tensor, "b d h"], weights: Float[Tensor, "d h"]
) -> Float[Tensor, "b"]:
    """Likelihood at each image's best contrast and background: ``−½ (Σ w|y|² − (Σ w Re x*y)² / Σ w|x|²)``.

    A background constant lives in DC alone, which no weight reaches: it is fitted by being left out.
    """
    contrast = best_contrast(observed, expected, weights)
    return log_likelihood(observed, contrast[:, None, None] * expected, weights)


def best_contrast(
    observed: Complex[Tensor, "b d h"], expected: Complex[Tensor, "b d h"], weights: Float[Tensor, "d h"]
) -> Float[Tensor, "b"]:
    """Factor on each expected image that brings it nearest to the observed one; 0 for an empty one."""
    product = observed.real * expected.real + observed.imag * expected.imag
    power = (_squared(expected) * weights).sum((-2, -1))
    return (product * weights).sum((-2, -1)) / power.clamp(min=torch.finfo(power.dtype).tiny)


def best_background(
    observed: Complex[Tensor, "b d h"], expected: Complex[Tensor, "b d h"], contrast: Float[Tensor, "b"]
) -> Float[Tensor, "b"]:
    """Grey value that each image has beyond its expectation at the given contrast."""
    box = observed.shape[-2]
    return (observed[:, 0, 0] - contrast * expected[:, 0, 0]).real / box**2


def _squared(spectra: Complex[Tensor, "*b d h"]) -> Float[Tensor, "*b d h"]:
    """|F|² without the square root that ``abs`` takes (whose gradient at zero is not a number)."""
    return spectra.real.square() + spectra.imag.square()


def _at_frequencies(spectrum: Float[Tensor, "k s"], grid: Grid) -> Float[Tensor, "k d h"]:
    """Spectrum between shells by linear interpolation; the corners have the value at Nyquist."""
    k = grid.frequencies(spectrum.device, spectrum.dtype).square().sum(-1).sqrt() * grid.extent
    k = k.clamp(max=grid.half - 1)
    low = k.floor().long().clamp(max=grid.half - 2)
    return torch.lerp(spectrum[:, low], spectrum[:, low + 1], k - low)

"""Fourier shell correlation of maps, and what is read off it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights, shells_3d, to_fourier_3d, to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume


def shell_correlation(a: Volume, b: Volume, mask: Float[Tensor, "d d d"] | None = None) -> Float[Tensor, "s"]:
    """``Re Σ A B* / sqrt(Σ|A|² Σ|B|²)`` on shells round(|k|), DC to Nyquist; 0 where a map is empty."""
    weight = 1 if mask is None else mask
    first, second = to_fourier_3d(a.voxels * weight), to_fourier_3d(b.voxels * weight)
    return normalised(cross_power(first, second), cross_power(first, first), cross_power(second, second))


def cross_power(a: Complex[Tensor, "*k d d h"], b: Complex[Tensor, "*k d d h"]) -> Float[Tensor, "*k s"]:
    """``Re Σ A B*`` on shells round(|k|) of the whole space, DC to Nyquist, in float64."""
    return sum_by_label((a * b.conj()).real, shells_3d(a.shape[-2], a.device), a.shape[-1])


def normalised(
    cross: Float[Tensor, "s"], power_a: Float[Tensor, "s"], power_b: Float[Tensor, "s"]
) -> Float[Tensor, "s"]:
    """``cross / sqrt(power_a · power_b)``; 0 where a power is nil."""
    product = (power_a * power_b).sqrt()
    return torch.where(product > 0, cross / product.clamp(min=1e-300), 0).float()


def sum_by_label(
    values: Float[Tensor, "*k d d h"], labels: Int[Tensor, "d d h"], count: int
) -> Float[Tensor, "*k s"]:
    """Sums of half-space values by label below ``count``, as often as the whole space has each; float64."""
    weighted = (values * half_plane_weights(values.shape[-2], values.device)).flatten(-3).double()
    kept = labels.flatten().clamp(max=count)
    out = torch.zeros((*weighted.shape[:-1], count + 1), dtype=torch.float64, device=values.device)
    return out.index_add_(-1, kept, weighted)[..., :count]


def resolution(fsc: Float[Tensor, "s"], grid: Grid, threshold: float) -> float:
    """Where the correlation first falls below a threshold, Å; by linear interpolation, DC left out.

    The finest resolution of the grid where it never falls; infinite where it is below from the first shell.
    """
    shell = crossing(fsc, threshold)
    return grid.extent / shell if shell > 0 else math.inf


def crossing(fsc: Float[Tensor, "s"], threshold: float) -> float:
    """Shell, with a fraction, where the correlation first falls below a threshold; 0 if from the first."""
    below = (fsc[1:] < threshold).nonzero()
    if not len(below):
        return float(len(fsc) - 1)
    first = int(below[0]) + 1
    if first == 1:
        return 0.0
    before, after = float(fsc[first - 1]), float(fsc[first])
    return first - 1 + (before - threshold) / (before - after)


def phase_randomised_correlation(
    half1: Volume, half2: Volume, mask: Float[Tensor, "d d d"], seed: int = 0
) -> Float[Tensor, "s"]:
    """Masked correlation without the part that the mask makes (Chen et al. 2013).

    Two shells past where the unmasked correlation first falls below 0.8, phases of both maps are made
    random; there the result is ``(masked − random) / (1 − random)``, before it the masked correlation.
    """
    masked = shell_correlation(half1, half2, mask)
    begin = math.ceil(crossing(shell_correlation(half1, half2), 0.8))
    generator = torch.Generator().manual_seed(seed)
    noise1, noise2 = (_with_random_phases(half, begin, generator) for half in (half1, half2))
    by_chance = shell_correlation(noise1, noise2, mask)
    corrected = (masked - by_chance) / (1 - by_chance).clamp(min=1e-6)
    return torch.where(torch.arange(len(masked)) < begin + 2, masked, corrected)


def _with_random_phases(volume: Volume, begin: int, generator: torch.Generator) -> Volume:
    """The same amplitudes, with the phases of a white-noise map from shell ``begin`` on."""
    spectrum = to_fourier_3d(volume.voxels)
    noise = to_fourier_3d(torch.randn(volume.voxels.shape, generator=generator))
    random = spectrum.abs() * noise / noise.abs().clamp(min=1e-12)
    late = shells_3d(volume.grid.box) >= begin
    return Volume(to_real_3d(torch.where(late, random, spectrum)), volume.grid)


def cryobench_auc(a: Volume, b: Volume, mask: Float[Tensor, "d d d"] | None = None) -> float:
    """Area under CryoBench's FSC curve, by its own rules, for comparison with its tables alone.

    Shell i holds ``i − 1 ≤ |k| < i`` (so shell 1 is DC by itself), entry 0 is 1, and the trapezoid runs over
    ``i / D`` from 0 to ``D // 2 − 1``: a perfect map of 128 voxels scores 0.4922. Maps are masked by
    multiplication.
    """
    weight = 1 if mask is None else mask
    first, second = to_fourier_3d(a.voxels * weight), to_fourier_3d(b.voxels * weight)
    box = a.grid.box
    labels, count = _shells_from_below(box), box // 2
    cross, power_a, power_b = (
        sum_by_label((x * y.conj()).real, labels, count)
        for x, y in ((first, second), (first, first), (second, second))
    )
    product = (power_a * power_b).sqrt()
    curve = torch.where(product > 0, cross / product, 1)  # an empty shell counts as perfect, like entry 0
    return float(torch.trapezoid(curve) / box)


def _shells_from_below(box: int) -> Int[Tensor, "d d h"]:
    """CryoBench's shell of each half-space frequency: ``floor(|k|) + 1``."""
    full, half = torch.fft.fftfreq(box, 1 / box), torch.fft.rfftfreq(box, 1 / box)
    squared = full[:, None, None] ** 2 + full[:, None] ** 2 + half**2
    # Squares of whole numbers are exact in float32, and so are the roots of perfect squares.
    return squared.sqrt().floor().long() + 1

"""The contrast transfer function, in RELION's sign."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Optics

# CODATA 2018: h / √(2 m e) in Å √V, and e / (2 m c²) in 1/V.
_NON_RELATIVISTIC = 12.264259661
_RELATIVISTIC = 9.784755918e-7
_MILLIMETRE = 1e7  # Å


def wavelength(voltage_kv: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """De Broglie wavelength of the electrons, Å (relativistic)."""
    volts = voltage_kv * 1e3
    return _NON_RELATIVISTIC / (volts + _RELATIVISTIC * volts.square()).sqrt()


def contrast_transfer(optics: Optics, grid: Grid) -> Float[Tensor, "n d h"]:
    """Factor on each half-plane frequency of a projection; positive at zero frequency.

    ``CTF = −sin γ · exp(−B s²/4) · scale`` with
    ``γ = −πλ Δf(θ) s² + (π/2) Cs λ³ s⁴ − φ − asin(w)`` and
    ``Δf(θ) = ½[U + V + (U − V) cos 2(θ − α)]``, so that CTF(0) = +w without a phase plate. In float32 the
    rounding of γ stays below 1e-3 up to 2,000 rad (6 μm of underfocus at 1.6 Å resolution, 300 kV).
    """
    return transfer_at(optics, grid.frequencies(optics.defocus_u.device, optics.defocus_u.dtype))


def transfer_at(optics: Optics, frequencies: Float[Tensor, "*k 2"]) -> Float[Tensor, "n *k"]:
    """:func:`contrast_transfer` at any frequencies (fx, fy), 1/Å."""
    squared = frequencies.square().sum(-1).flatten()
    damping = optics.scale[:, None] * torch.exp(-optics.b_factor[:, None] / 4 * squared)
    factor = -torch.sin(_phase(optics, frequencies.flatten(0, -2))) * damping
    return factor.unflatten(-1, frequencies.shape[:-1])


def transfer_slope_at(optics: Optics, frequencies: Float[Tensor, "*k 2"]) -> Float[Tensor, "n *k"]:
    """Slope of :func:`transfer_at` to a change of both defoci, 1/Å: ``πλ s² cos γ`` with its envelope."""
    squared = frequencies.square().sum(-1).flatten()
    damping = optics.scale[:, None] * torch.exp(-optics.b_factor[:, None] / 4 * squared)
    rate = math.pi * wavelength(optics.voltage_kv)[:, None] * squared
    slope = rate * torch.cos(_phase(optics, frequencies.flatten(0, -2))) * damping
    return slope.unflatten(-1, frequencies.shape[:-1])


def envelope(b_factor: Float[Tensor, "n"], grid: Grid) -> Float[Tensor, "n d h"]:
    """Damping ``exp(−B s²/4)`` of each half-plane frequency; B in Å²."""
    squared = grid.frequencies(b_factor.device, b_factor.dtype).square().sum(-1)
    return torch.exp(-b_factor[:, None, None] / 4 * squared)


def _phase(optics: Optics, frequencies: Float[Tensor, "k 2"]) -> Float[Tensor, "n k"]:
    """γ as a product of per-image coefficients and four fixed polynomials of (fx, fy).

    ``s² cos 2(θ − α) = (fx² − fy²) cos 2α + 2 fx fy sin 2α``: no angle is computed, so the gradient is
    finite at zero frequency, and the sum is one small matrix product.
    """
    fx, fy = frequencies.unbind(-1)
    squared = fx.square() + fy.square()
    basis = torch.stack([squared, fx.square() - fy.square(), 2 * fx * fy, squared.square()])
    length = wavelength(optics.voltage_kv)
    mean = -math.pi / 2 * length * (optics.defocus_u + optics.defocus_v)
    difference = -math.pi / 2 * length * (optics.defocus_u - optics.defocus_v)
    aberration = math.pi / 2 * _MILLIMETRE * optics.cs_mm * length**3
    twice = 2 * optics.astigmatism
    coefficients = torch.stack([mean, difference * twice.cos(), difference * twice.sin(), aberration], -1)
    offset = -optics.phase_shift - optics.amplitude_contrast.asin()
    return torch.addmm(offset[:, None], coefficients, basis)

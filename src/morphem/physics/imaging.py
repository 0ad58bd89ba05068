"""From the projection of a molecule to its noise-free image."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.physics.ctf import contrast_transfer


def form_image(
    projection: Complex[Tensor, "b d h"], optics: Optics, shift: Float[Tensor, "b 2"], grid: Grid
) -> Complex[Tensor, "b d h"]:
    """Noise-free image of a projection, in Fourier space: filtered by the microscope, then displaced."""
    return projection * contrast_transfer(optics, grid) * phase_ramp(shift, grid)


def phase_ramp(shift: Float[Tensor, "b 2"], grid: Grid) -> Complex[Tensor, "b d h"]:
    """Factor ``exp(−2πi k·shift)`` that moves an image's content by ``+shift`` = (x, y), Å."""
    frequencies = grid.frequencies(shift.device, shift.dtype)
    x = _turn(shift[:, :1] * frequencies[0, :, 0])
    y = _turn(shift[:, 1:] * frequencies[:, 0, 1])
    return y[:, :, None] * x[:, None, :]


def _turn(turns: Float[Tensor, "*b"]) -> Complex[Tensor, "*b"]:
    """``exp(−2πi turns)``."""
    return torch.polar(torch.ones_like(turns), -2 * math.pi * turns)

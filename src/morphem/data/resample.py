"""Images of differing pixel size or box on one common grid."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid


def resample(images: Float[Tensor, "b c c"], pixel_size: float, grid: Grid) -> Float[Tensor, "b d d"]:
    """Images at the pixel positions of ``grid``, origin on origin; grey values keep their scale.

    An image is the trigonometric polynomial through its pixels, cut at the lower of the two Nyquist
    frequencies: exact for band-limited images at any ratio of pixel sizes. With equal pixel sizes it is a
    crop around the origin, and changes no grey value.

    Args:
        images: Square, of any box, even or odd.
        pixel_size: Theirs, Å.
        grid: No larger in extent than the images.
    """
    box = images.shape[-1]
    if math.isclose(pixel_size, grid.pixel_size, rel_tol=1e-5):
        first = box // 2 - grid.box // 2
        return images[:, first : first + grid.box, first : first + grid.box]
    kernel = _interpolation(box, pixel_size, grid).to(images.dtype)
    return kernel @ images @ kernel.T


def _interpolation(box: int, pixel_size: float, grid: Grid) -> Float[Tensor, "d c"]:
    """Weight of each old pixel in each new one, along one axis."""
    extent = box * pixel_size
    # the Nyquist term is left out: half of each pair would be missing
    highest = min((box - 1) // 2, math.ceil(grid.nyquist * extent) - 1)
    old = (torch.arange(box, dtype=torch.float64) - box // 2) * pixel_size
    distance = grid.axis().double()[:, None] - old
    orders = torch.arange(1, highest + 1, dtype=torch.float64)[:, None, None]
    waves = torch.cos(2 * torch.pi * orders * distance / extent)
    return (1 + 2 * waves.sum(0)) / box

"""Whether protein is bright or dark in a set of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.stack import ParticleStack, order

_IMAGES = 1000
_CONFIDENT = 4.0  # standard errors


@dataclass(frozen=True)
class SignEstimate:
    """The sign of a set's contrast.

    Attributes:
        sign: +1 where protein is bright, −1 where it is dark.
        deviations: How many standard errors the brightness of the centre is from that of the rim, signed.
        confident: Whether that is enough to act upon.
    """

    sign: float
    deviations: float
    confident: bool


def estimate_sign(stack: ParticleStack, seed: int = 0) -> SignEstimate:
    """Sign of the contrast, from up to 1,000 images drawn by ``seed``.

    Amplitude contrast makes the middle of an image brighter than its rim where protein is bright. The
    difference of the two means, over the noise of the rim, is averaged over the images.
    """
    rows = order(len(stack), seed, 0)[:_IMAGES]
    batches = map(stack.read_sound, rows.split(64))
    contrast = torch.cat([centre_contrast(batch.images, stack.grid) for batch in batches])
    error = contrast.std(correction=0) / max(len(contrast) - 1, 1) ** 0.5
    deviations = float(contrast.mean() / error.clamp_min(1e-12))
    sign = -1.0 if deviations < 0 else 1.0
    return SignEstimate(sign, deviations, len(contrast) > 1 and abs(deviations) >= _CONFIDENT)


def centre_contrast(images: Float[Tensor, "b d d"], grid: Grid) -> Float[Tensor, "b"]:
    """Mean of the middle less mean of the rim, in standard deviations of the rim."""
    middle, rim = _radius(grid) < 0.2, outside(grid, 0.42 * grid.extent)
    level, noise = images[:, rim].mean(-1), images[:, rim].std(-1)
    return (images[:, middle].mean(-1) - level) / noise.clamp_min(1e-12)


def outside(grid: Grid, radius: float) -> Bool[Tensor, "d d"]:
    """Pixels farther than ``radius`` (Å) from the origin."""
    return _radius(grid) * grid.extent > radius


def _radius(grid: Grid) -> Float[Tensor, "d d"]:
    """Distance from the origin as a fraction of the box."""
    axis = grid.axis() / grid.extent
    return torch.hypot(axis[:, None], axis[None, :])

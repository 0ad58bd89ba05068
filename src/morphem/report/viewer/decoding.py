"""A latent's map, and its parts, as bytes of the scene's frame: fast enough to follow a pointer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import GaussianMixture, PerParticle
from morphem.models.density import AbstractDensity
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.physics.gaussians import NEGLIGIBLE
from morphem.report.scene.exhibits import map_at
from morphem.report.scene.frame import Frame, encode, encode_labels
from morphem.report.scene.shown import Shown

Decoder = Callable[[Float[Tensor, "z"]], dict[str, np.ndarray]]
"""Of a latent the bytes of its ``map``, and of its ``labels`` where there are parts."""
_REACH = 4.0  # standard deviations that a Gaussian is drawn to: it ends at 3e-4 of its peak


def decoder_of(shown: Shown, density: AbstractDensity | None, frame: Frame) -> Decoder | None:
    """How maps of a result are made; None where they cannot be.

    Args:
        shown: The result.
        density: Behind it, if that is at hand: mixtures are drawn into the crop and nowhere else.
        frame: Of the scene.
    """
    if isinstance(density, PartMixture | AnchoredMixture):
        part = density.part if isinstance(density, AnchoredMixture) and shown.label is not None else None
        return lambda z: drawn(_mixture(density, z), frame, part)
    return None if shown.decode is None else lambda z: decoded(shown, z, frame)


def decoded(shown: Shown, z: Float[Tensor, "z"], frame: Frame) -> dict[str, np.ndarray]:
    """The map of a latent, and its labels, as those of the scene were made."""
    arrays = {"map": encode(map_at(shown, z, frame.box), frame)}
    if shown.label is not None:
        arrays["labels"] = encode_labels(shown.label(z, frame.grid), frame)
    return arrays


@torch.no_grad()
def drawn(
    mixture: GaussianMixture, frame: Frame, part: Int[Tensor, "g"] | None = None
) -> dict[str, np.ndarray]:
    """Density of a mixture in the frame, each Gaussian drawn to four standard deviations.

    Within a step of the bytes of :func:`morphem.physics.gaussians.rasterise`. A voxel is labelled by the part
    that gives most to it, from 1; 0 where the map is 0. Cost: a few pixels of a few planes for each Gaussian,
    about 5 ms for 2,048 of them in 64³.

    Args:
        mixture: Of one latent, on the CPU.
        frame: Of the scene.
        part: Of each Gaussian, from 0.
    """
    near = _in_crop(mixture, frame)
    if part is None:
        return {"map": _coded(_planes(near, frame), frame)}
    own = part[near.rows]
    total, most = torch.zeros(frame.shape), torch.zeros(frame.shape)
    labels = torch.zeros(frame.shape, dtype=torch.uint8)
    for number in range(int(part.max()) + 1):
        voxels = _planes(near[own == number], frame)
        total += voxels
        labels[voxels > most] = number + 1
        most = torch.maximum(most, voxels)
    codes = _coded(total, frame)
    return {"map": codes, "labels": np.where(codes > 0, labels.numpy(), np.uint8(0))}


@dataclass(frozen=True)
class _Near(PerParticle):
    """The Gaussians of a mixture that reach into a crop, in its voxels, and their rows in the mixture."""

    rows: Int[Tensor, "m"]
    centres: Float[Tensor, "m 3"]
    scales: Float[Tensor, "m"]
    heights: Float[Tensor, "m"]


def _in_crop(mixture: GaussianMixture, frame: Frame) -> _Near:
    first, shape = (torch.tensor(values[::-1]) for values in (frame.first, frame.shape))
    centres = mixture.centres / frame.pixel + frame.box // 2 - first
    scales = mixture.scales / frame.pixel
    reach = _REACH * scales[:, None]
    rows = ((centres + reach > 0) & (centres - reach < shape)).all(1).nonzero().flatten()
    heights = mixture.amplitudes / (math.sqrt(2 * math.pi) * mixture.scales)
    return _Near(rows, centres[rows], scales[rows], heights[rows])


def _planes(near: _Near, frame: Frame) -> Float[Tensor, "z y x"]:
    """Sections of a mixture, each drawn as an image of the Gaussians that reach it."""
    from morphem.physics.kernels.windowed_gaussians import splat

    depth, rows, columns = frame.shape
    offset = (torch.arange(depth)[:, None] - near.centres[:, 2]) / near.scales
    exponent = (-0.5 * offset.square()).clamp_(min=NEGLIGIBLE)
    amplitudes = torch.where(offset.abs() < _REACH, near.heights * exponent.exp_(), 0)
    view = near.centres[:, :2].expand(depth, -1, -1).contiguous()
    tables = view.numpy(), amplitudes.numpy(), near.scales.contiguous().numpy()
    images = torch.from_numpy(splat(tables, max(rows, columns), _REACH, torch.get_num_threads()))
    return images[:, :rows, :columns]


def _coded(voxels: Float[Tensor, "z y x"], frame: Frame) -> np.ndarray:
    codes = (voxels - frame.low) * (255 / (frame.high - frame.low))
    return codes.round_().clamp_(0, 255).to(torch.uint8).contiguous().numpy()


def _mixture(density: PartMixture | AnchoredMixture, z: Float[Tensor, "z"]) -> GaussianMixture:
    with torch.no_grad():
        several = density.mixture(z[None])
    return GaussianMixture(several.centres[0], several.scales, several.amplitudes[0])

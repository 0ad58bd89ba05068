"""A latent's map, and its parts, as bytes of the scene's frame: fast enough to follow a pointer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import GaussianMixture
from morphem.models.density import AbstractDensity
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.report.scene.exhibits import map_at
from morphem.report.scene.frame import Frame, encode, encode_labels
from morphem.report.scene.parts import by_part
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
        part = density.bodies() if isinstance(density, AnchoredMixture) and shown.label is not None else None
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
    that gives most to it, from 1; 0 where the map is 0. Cost: some hundred voxels a Gaussian, about 2 ms for
    2,048 of them in three parts and 64³.

    Args:
        mixture: Of one latent, on the CPU.
        frame: Of the scene.
        part: Of each Gaussian, from 0.
    """
    from morphem.physics.kernels.windowed_maps import splat_map

    number = torch.zeros(len(mixture.scales), dtype=torch.long) if part is None else part
    origin = float(frame.box // 2) - torch.tensor(frame.first[::-1])
    cloud, ends = by_part(mixture, number, frame.pixel, origin)
    shape = frame.shape[0], max(frame.shape[1:])
    voxels, labels = splat_map(cloud, ends, shape, _REACH, torch.get_num_threads())
    crop = slice(None), slice(frame.shape[1]), slice(frame.shape[2])
    codes = _coded(torch.from_numpy(voxels[crop]), frame)
    return {"map": codes} if part is None else {"map": codes, "labels": labels[crop] * (codes > 0)}


def _coded(voxels: Float[Tensor, "z y x"], frame: Frame) -> np.ndarray:
    codes = (voxels - frame.low) * (255 / (frame.high - frame.low))
    return codes.round_().clamp_(0, 255).to(torch.uint8).contiguous().numpy()


def _mixture(density: PartMixture | AnchoredMixture, z: Float[Tensor, "z"]) -> GaussianMixture:
    with torch.no_grad():
        several = density.mixture(z[None])
    return GaussianMixture(several.centres[0], several.scales, several.amplitudes[0])

"""Poses that followed the molecule's motion, and the part that they should have followed.

Poses found from images are those of one rigid map: where parts move, each pose goes along in part, and in its
frame everything moves, the largest part too. No image can tell such a motion of all from poses that are off.
The heaviest part is taken to stand still: what it does goes into the poses.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Poses
from morphem.data.stack import ParticleStack
from morphem.inference.part_maps import as_seen
from morphem.models.gaussian_density import AnchoredMixture

_BLOCK = 4096  # images at a time


@torch.no_grad()
def body_still(
    mixture: AnchoredMixture, latents: Float[Tensor, "p z"], stack: ParticleStack
) -> ParticleStack:
    """The particles with the poses of the heaviest part, which stands still in ``mixture`` from now on.

    What the mixture shows of an image stays as it was, but for what Gaussians move within their parts: that
    is not turned with them.

    Args:
        mixture: Whose parts move; seen from its heaviest from now on. Without parts nothing changes.
        latents: Of the particles.
        stack: Their images, at the poses that the mixture was fitted with.
    """
    if not mixture.anchors or int(mixture.anchor_still) >= 0:
        return stack
    heaviest = _heaviest(mixture, latents)
    seen = [
        as_seen(mixture, latents[stack.particle[rows]], stack.poses[rows])[heaviest]
        for rows in torch.arange(len(stack)).split(_BLOCK)
    ]
    poses = Poses(torch.cat([each.rotation for each in seen]), torch.cat([each.shift for each in seen]))
    mixture.anchor_still.fill_(heaviest)
    return replace(stack, poses=poses)


def _heaviest(mixture: AnchoredMixture, latents: Float[Tensor, "p z"]) -> int:
    rest = mixture.at_rest(latents)
    mass = rest.amplitudes * rest.scales.square()
    return int(torch.zeros(mixture.anchors).index_add_(0, mixture.part, mass).argmax())

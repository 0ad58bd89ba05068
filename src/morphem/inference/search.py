"""Every rotation against every image: one matrix product for all shifts and slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.types import PerParticle, Poses
from morphem.inference.store import Coefficients, Disc, Store

_BLOCK = 48  # images scored at a time: their scores stay near the cache


@dataclass(frozen=True)
class Hypotheses(PerParticle):
    """The likeliest rotations of each image, best first, each with its best shift.

    Attributes:
        rotation: Row of the rotations searched.
        shift: Row of the shifts searched.
        score: Log-likelihood above that of an image without a particle.
    """

    rotation: Int[Tensor, "b h"]
    shift: Int[Tensor, "b h"]
    score: Float[Tensor, "b h"]


def shift_lattice(radius: float, spacing: float) -> Float[Tensor, "t 2"]:
    """Points of a hexagonal lattice within ``radius`` of the origin, which is the first."""
    reach = math.ceil(radius / spacing) + 1
    steps = torch.cartesian_prod(
        torch.arange(-2 * reach, 2 * reach + 1), torch.arange(-2 * reach, 2 * reach + 1)
    )
    points = steps.float() @ torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]]) * spacing
    points = points[points.norm(dim=1) <= radius * 1.0001]
    return points[points.norm(dim=1).sort(stable=True).indices]


def shifts(store: Store, limit: int, reach: float) -> Float[Tensor, "t 2"]:
    """Shifts (Å) within ``reach``, a quarter of a wave apart at ``limit``."""
    return shift_lattice(reach, store.disc.grid.extent / limit / 4)


def ramps(places: Disc, limit: int, shift: Float[Tensor, "*b 2"]) -> Complex[Tensor, "*b m"]:
    """Factor that moves an image's content by ``shift`` (Å), at the stored frequencies."""
    turns = shift @ places.frequencies(limit).to(shift).T
    return torch.polar(torch.ones_like(turns), -2 * math.pi * turns)


def with_half_turns(rotation: Float[Tensor, "r 3 3"]) -> Float[Tensor, "_ 3 3"]:
    """The rotations, then each with its view turned by π in the plane: that slice is the conjugate one."""
    return torch.cat([rotation, torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ rotation])


@torch.no_grad()
def search(
    images: Coefficients, slices: Complex[Tensor, "r m"], moves: Complex[Tensor, "t m"], keep: int
) -> Hypotheses:
    """The ``keep`` likeliest of ``2 r`` rotations of each image over all shifts.

    The log-likelihood of a slice S at a shift is ``2 Re⟨C y ramp*, S⟩ − ⟨C², |S|²⟩``, C the transfer: two
    matrix products that all images share. A rotation and its half turn share them too: the products of real
    parts and of imaginary parts are added for the one and subtracted for the other. Cost ``4 r t m``
    operations an image.

    Args:
        images: What was seen.
        slices: At each of the first r rotations; the others are :func:`with_half_turns`.
        moves: Ramp of each shift.
        keep: How many.
    """
    spread = slices.real.T.contiguous(), slices.imag.T.contiguous()
    power = torch.view_as_real(slices).square().sum(-1).T.contiguous()
    found = [
        _best(images[rows], spread, power, moves, keep) for rows in torch.arange(len(images)).split(_BLOCK)
    ]
    return Hypotheses(
        *(torch.cat([getattr(each, name) for each in found]) for name in ("rotation", "shift", "score"))
    )


def _best(
    images: Coefficients,
    spread: tuple[Float[Tensor, "m r"], Float[Tensor, "m r"]],
    power: Float[Tensor, "m r"],
    moves: Complex[Tensor, "t m"],
    keep: int,
) -> Hypotheses:
    moved = (images.values * images.transfer)[:, None] * moves.conj()
    real, imaginary = (
        (part.flatten(0, 1) @ other).unflatten(0, (len(images), len(moves)))
        for part, other in zip((moved.real, moved.imag), spread, strict=True)
    )
    product = torch.stack([(real + imaginary).amax(1), real.sub(imaginary).amax(1)], 1)
    score = (2 * product - (images.transfer.square() @ power)[:, None]).flatten(1)
    top = score.topk(min(keep, score.shape[1]), dim=1)
    turned, row = top.indices // power.shape[1], top.indices % power.shape[1]
    at = row[:, None].expand(-1, len(moves), -1)
    shifted = torch.gather(real, 2, at) + (1 - 2 * turned)[:, None] * torch.gather(imaginary, 2, at)
    return Hypotheses(top.indices, shifted.argmax(1), top.values)


def poses_of(found: Hypotheses, rotation: Float[Tensor, "r 3 3"], shift: Float[Tensor, "t 2"]) -> Poses:
    """The likeliest pose of each image."""
    return Poses(rotation[found.rotation[:, 0]], shift[found.shift[:, 0]])

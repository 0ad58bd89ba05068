"""One step of expectation–maximisation over every rotation and shift, as matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.inference.store import Coefficients

_SCORES = 1_000_000  # of slices, held at a time: few enough to stay near the processor
_NEVER = -28.0  # below the best pose's log-likelihood is none at all; denormal numbers are slow
_SLIGHT = 1e-6  # posterior of a shift, over all rotations, that is left out


@dataclass(frozen=True)
class Expectation:
    """What images say of the slice at each rotation, and how well they are explained.

    Attributes:
        numerator: ``Σ w C y`` over images and shifts, w the posterior weight.
        weight: ``Σ w C²``.
        best: Log-likelihood of each image at its best pose, above that of an image without a particle.
    """

    numerator: Complex[Tensor, "r m"]
    weight: Float[Tensor, "r m"]
    best: Float[Tensor, "b"]


@torch.no_grad()
def expected(
    images: Coefficients, slices: Complex[Tensor, "r m"], moves: Complex[Tensor, "t m"], warmth: float = 1.0
) -> Expectation:
    """Slices weighed with the posterior of every rotation and shift, none of which is left out.

    A few of the likeliest are not enough where noise decides which they are: they say what the map said.
    Half turns in the plane are among the rotations: their slices are the conjugate ones, and one product of
    real parts and one of imaginary parts tell of both. Cost ``8 r t m`` operations an image for ``2 r``
    rotations where nothing is certain, half of that where poses are.

    Args:
        images: What was seen.
        slices: Of the map at each rotation that is no half turn of another.
        moves: Ramp of each shift.
        warmth: Inverse temperature of the posterior.
    """
    halves = slices.real.T.contiguous(), slices.imag.T.contiguous()
    power = torch.view_as_real(slices).square().sum(-1).T.contiguous() * warmth
    sums = [torch.zeros_like(slices.real) for _ in range(3)]
    count = min(max(1, _SCORES // (len(slices) * len(moves))), len(images))
    # written over and over: fresh memory costs as much as what is done with it
    room = torch.empty(3, count * len(moves), len(slices))
    rows = torch.arange(len(images)).split(count)
    best = [_weigh(images[block], (halves, power), (moves, warmth), room, sums) for block in rows]
    return Expectation(torch.complex(sums[0], sums[1]), sums[2], torch.cat(best) / warmth)


def _weigh(
    images: Coefficients,
    model: tuple[tuple[Tensor, Tensor], Float[Tensor, "m r"]],
    how: tuple[Complex[Tensor, "t m"], float],
    room: Float[Tensor, "3 _ r"],
    sums: list[Tensor],
) -> Float[Tensor, "b"]:
    """Add a few images to the sums; their best log-likelihoods, times the warmth."""
    ((real, imaginary), power), (moves, warmth) = model, how
    shape, squared = (len(images), len(moves)), images.transfer.square()
    moved = ((images.values * images.transfer)[:, None] * moves.conj()).flatten(0, 1)
    parts = moved.real.contiguous(), moved.imag.contiguous()
    room = room[:, : len(moved)]
    even = torch.mm(parts[0] * (2 * warmth), real, out=room[0]).unflatten(0, shape)
    odd = torch.mm(parts[1] * (2 * warmth), imaginary, out=room[1]).unflatten(0, shape)
    even.sub_((squared @ power)[:, None])
    plain, turned = torch.add(even, odd, out=room[2].unflatten(0, shape)), even.sub_(odd)
    top = torch.maximum(plain.amax((1, 2)), turned.amax((1, 2)))
    for score in (plain, turned):
        score.sub_(top[:, None, None]).clamp_(min=_NEVER).exp_()
    both, difference = torch.add(plain, turned, out=odd), plain.sub_(turned)
    share = both.sum((1, 2)).reciprocal()
    sums[2].addmm_(both.sum(1).T, squared * share[:, None])
    scaled = share.repeat_interleave(len(moves))
    kept = both.flatten(0, 1).amax(1) * scaled > _SLIGHT
    factor = scaled[kept, None]
    sums[0].addmm_(both.flatten(0, 1)[kept].T, parts[0][kept] * factor)
    sums[1].addmm_(difference.flatten(0, 1)[kept].T, parts[1][kept] * factor)
    return top

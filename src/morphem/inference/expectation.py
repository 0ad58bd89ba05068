"""One step of expectation–maximisation over every rotation and shift, as matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.inference.store import Coefficients

_SCORES = 8_000_000  # held at a time
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
    Cost ``8 r t m`` operations an image where nothing is certain, half of that where poses are.

    Args:
        images: What was seen.
        slices: Of the map at each rotation.
        moves: Ramp of each shift.
        warmth: Inverse temperature of the posterior.
    """
    spread = torch.view_as_real(slices).flatten(1)
    power = torch.view_as_real(slices).square().sum(-1)
    numerator, weight = torch.zeros_like(spread), torch.zeros_like(power)
    best = []
    count = max(1, _SCORES // (len(slices) * len(moves)))
    for rows in torch.arange(len(images)).split(count):
        values, squared = images.values[rows] * images.transfer[rows], images.transfer[rows].square()
        moved = torch.view_as_real(values[:, None] * moves.conj()).flatten(2).flatten(0, 1)
        score = (moved @ spread.T).unflatten(0, (len(rows), len(moves)))
        score.mul_(2).sub_((squared @ power.T)[:, None])
        top = score.amax((1, 2))
        chance = score.sub_(top[:, None, None]).mul_(warmth).clamp_(min=_NEVER).exp_()
        chance.div_(chance.sum((1, 2))[:, None, None])
        posterior = chance.flatten(0, 1)
        kept = posterior.amax(1) > _SLIGHT
        numerator.addmm_(posterior[kept].T, moved[kept])
        weight.addmm_(chance.sum(1).T, squared)
        best.append(top)
    return Expectation(torch.view_as_complex(numerator.unflatten(1, (-1, 2))), weight, torch.cat(best))

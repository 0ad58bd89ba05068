"""Rotations that cover SO(3) evenly."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.rotations import from_quaternion

_PSI = 1.533751168755204288118041413  # real root of ψ⁴ = ψ + 4


def super_fibonacci(count: int) -> Float[Tensor, "n 3 3"]:
    """``count`` rotations spread evenly by a spiral (Alexa, CVPR 2022).

    The farthest that any rotation is from its nearest is about 20° for 1,152 of them and falls with the cube
    root of their number.
    """
    s = torch.arange(count, dtype=torch.float64) + 0.5
    inner, outer = (s / count).sqrt(), (1 - s / count).sqrt()
    alpha, beta = 2 * math.pi * s / math.sqrt(2), 2 * math.pi * s / _PSI
    quaternion = [inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos()]
    return from_quaternion(torch.stack(quaternion, -1)).float()


def mean_spacing(count: int) -> float:
    """Angle (rad) of a ball of rotations with the volume that each of ``count`` has to itself.

    A ball of angle θ has the share ``(θ − sin θ) / π`` of SO(3), about ``θ³ / 6π``.
    """
    return (6 * math.pi / count) ** (1 / 3)

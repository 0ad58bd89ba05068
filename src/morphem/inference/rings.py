"""Low frequencies of images on circles, and the rotations that turns along them stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.inference.store import Coefficients, Disc

ANGLES = 32  # on a circle
_DISK = 0.36  # radius of the disk that the particle is in, fraction of the box


@dataclass(frozen=True)
class Rings:
    """How stored frequencies become circles.

    Attributes:
        matrix: From real and imaginary parts of the stored frequencies to those on circles, circle by circle.
        noise: Power of the noise over that of a slice, by stored frequency.
        scale: One over the usual size on each circle.
    """

    matrix: Float[Tensor, "_ _"]
    noise: Float[Tensor, "m"]
    scale: Float[Tensor, "c 1"]

    def of(self, images: Coefficients) -> Float[Tensor, "b c a"]:
        """Wiener-filtered images on circles, their noise beyond the particle's disk left out."""
        filtered = images.values * images.transfer / (images.transfer.square() + self.noise)
        flat = torch.view_as_real(filtered).flatten(1)
        return (flat @ self.matrix.T).unflatten(1, (-1, ANGLES)) * self.scale


def rings(places: Disc, limit: int, power: Float[Tensor, "m"], sample: Coefficients) -> Rings:
    """Circles of radii 1 to ``limit``.

    Args:
        places: Of the coefficients.
        limit: Frequency pixels.
        power: Mean power of a slice at each coefficient.
        sample: Images that set the scale.
    """
    matrix, noise = _to_circles(places, limit), 1 / power.clamp(min=1e-6 * float(power.max()))
    plain = Rings(matrix, noise, torch.ones(2 * limit, 1))
    size = plain.of(sample).square().mean((0, 2)).sqrt()
    return Rings(matrix, noise, 1 / size[:, None].clamp(min=1e-12))


def turned_views(count: int) -> Float[Tensor, "_ 3 3"]:
    """Rotations of evenly spread views, each at the turns of :data:`ANGLES`; turns change fastest."""
    step = torch.arange(count) + 0.5
    height, around = 1 - 2 * step / count, math.pi * (1 + 5**0.5) * step
    across = (1 - height.square()).sqrt()
    view = torch.stack([across * around.cos(), across * around.sin(), height], 1)
    least = torch.nn.functional.one_hot(view.abs().argmin(1), 3).to(view)
    x = torch.nn.functional.normalize(torch.linalg.cross(least, view), dim=1)
    upright = torch.stack([x, torch.linalg.cross(view, x), view], 1)
    angle = torch.arange(ANGLES) * (2 * math.pi / ANGLES)
    turn = torch.eye(3).repeat(ANGLES, 1, 1)
    turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
    turn[:, 1, 0], turn[:, 0, 1] = angle.sin(), -angle.sin()
    return (turn @ upright[:, None]).flatten(0, 1)


def _to_circles(places: Disc, limit: int) -> Float[Tensor, "_ _"]:
    """Transform of a disk about every stored frequency and its mate, ``J₁(u) / u``, at points of circles."""
    near = places.places[: places.count(limit)].double()
    angle = torch.arange(ANGLES).double() * (2 * math.pi / ANGLES)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    points = (torch.arange(1, limit + 1)[:, None, None] * circle).flatten(0, 1)
    own, mate = (_disk_transform(points[:, None] - centres) for centres in (near, -near))
    nothing = torch.zeros_like(own)
    # a mate is the complex conjugate: real parts add, imaginary parts subtract
    real = torch.stack([own + mate, nothing], -1).flatten(1)
    imaginary = torch.stack([nothing, own - mate], -1).flatten(1)
    parts = torch.stack([real.unflatten(0, (limit, ANGLES)), imaginary.unflatten(0, (limit, ANGLES))], 1)
    return parts.flatten(0, 2).float()


def _disk_transform(frequency: Float[Tensor, "p m 2"]) -> Float[Tensor, "p m"]:
    """Transform of a disk of radius :data:`_DISK` box widths at frequencies in frequency pixels."""
    turns = (2 * math.pi * _DISK * frequency.norm(dim=-1)).clamp(min=1e-6)
    return 2 * math.pi * _DISK**2 * torch.special.bessel_j1(turns) / turns

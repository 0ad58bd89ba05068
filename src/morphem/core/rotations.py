"""Rotations as matrices ``A`` that take the molecule's frame to the view frame, ``x_view = A x_ref``.

Euler angles are RELION's: ``A = (Rz(rot) Ry(tilt) Rz(psi))ᵀ`` with right-handed active rotations.
All angles in radians.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def from_euler(
    rot: Float[Tensor, "*b"], tilt: Float[Tensor, "*b"], psi: Float[Tensor, "*b"]
) -> Float[Tensor, "*b 3 3"]:
    """Matrix of RELION's rot, tilt, psi."""
    ca, sa, cb, sb, cg, sg = rot.cos(), rot.sin(), tilt.cos(), tilt.sin(), psi.cos(), psi.sin()
    rows = [
        torch.stack([cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb], -1),
        torch.stack([-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb], -1),
        torch.stack([sb * ca, sb * sa, cb], -1),
    ]
    return torch.stack(rows, -2)


def to_euler(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """RELION's (rot, tilt, psi) of a matrix; rot is 0 where the tilt is 0 or π."""
    a = rotation
    sin_tilt = torch.hypot(a[..., 2, 0], a[..., 2, 1])
    tilt = torch.atan2(sin_tilt, a[..., 2, 2])
    polar = sin_tilt < 1e-6 if a.dtype == torch.float64 else sin_tilt < 1e-4
    rot = torch.where(polar, torch.zeros_like(tilt), torch.atan2(a[..., 2, 1], a[..., 2, 0]))
    psi = torch.atan2(a[..., 1, 2], -a[..., 0, 2])
    psi_polar = torch.atan2(-a[..., 1, 0] * a[..., 2, 2].sign(), a[..., 1, 1])
    return torch.stack([rot, tilt, torch.where(polar, psi_polar, psi)], -1)


def from_rotation_vector(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Exponential map (Rodrigues); the zero vector is the identity, with a finite gradient there."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    squared = vector.square().sum(-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + first * skew + second * (skew @ skew)


def from_quaternion(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Matrix of a quaternion ``(w, x, y, z)``; it need not have unit length."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def to_quaternion(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternion ``(w, x, y, z)`` with w ≥ 0.

    The column of the outer-product matrix ``4 q qᵀ`` with the largest diagonal is used, so no digits
    are lost near half turns.
    """
    a = rotation
    d0, d1, d2 = a[..., 0, 0], a[..., 1, 1], a[..., 2, 2]
    wx, wy, wz = a[..., 2, 1] - a[..., 1, 2], a[..., 0, 2] - a[..., 2, 0], a[..., 1, 0] - a[..., 0, 1]
    xy, xz, yz = a[..., 0, 1] + a[..., 1, 0], a[..., 0, 2] + a[..., 2, 0], a[..., 1, 2] + a[..., 2, 1]
    outer = torch.stack(
        [
            torch.stack([1 + d0 + d1 + d2, wx, wy, wz], -1),
            torch.stack([wx, 1 + d0 - d1 - d2, xy, xz], -1),
            torch.stack([wy, xy, 1 - d0 + d1 - d2, yz], -1),
            torch.stack([wz, xz, yz, 1 - d0 - d1 + d2], -1),
        ],
        -2,
    )
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    column = torch.take_along_dim(outer, best[..., None, None], dim=-2).squeeze(-2)
    quaternion = torch.nn.functional.normalize(column, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def from_six_dimensions(six: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """Matrix whose first two rows are the Gram-Schmidt basis of two vectors (Zhou et al. 2019)."""
    first = torch.nn.functional.normalize(six[..., :3], dim=-1)
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -2)


def geodesic_distance(a: Float[Tensor, "*b 3 3"], b: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """Angle of the rotation between two rotations, 0 to π.

    From the Frobenius distance ``2√2 sin(θ/2)``: exact for small angles, unlike a trace's arc cosine.
    """
    distance = (a - b).flatten(-2).norm(dim=-1)
    return 2 * torch.asin((distance / 8**0.5).clamp(max=1))


def nearest_rotation(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """Proper rotation closest in Frobenius norm (Kabsch)."""
    u, _, vh = torch.linalg.svd(matrix)
    sign = torch.linalg.det(u @ vh).sign()
    fix = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return (u * fix[..., None, :]) @ vh


def mean_rotation(rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "3 3"]:
    """Chordal mean."""
    return nearest_rotation(rotations.mean(0))


def random_rotations(n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 3 3"]:
    """Rotations drawn uniformly from SO(3)."""
    return from_quaternion(torch.randn(n, 4, generator=generator, dtype=torch.float64)).float()

"""The Hartley transform, and half turns of images, spectra and poses about the beam.

``H(k) = Σ_p f(p) cas(2π k·p) = Re F(k) − Im F(k)`` with ``cas = cos + sin`` and F of
:mod:`morphem.core.fourier`: a real plane that holds what the half plane of F holds, with
``Σ H² = Σ |F|²`` over the whole plane. Planes are in FFT order. A half turn takes ``f(p)`` to ``f(−p)``;
the row and the column that lie half a box off the origin have no partner on an even grid and, as everything
here is periodic, are turned into themselves.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.core.types import Poses


def hartley_transform(images: Float[Tensor, "*b d d"]) -> Float[Tensor, "*b d d"]:
    """Hartley plane of centred images."""
    return to_hartley(to_fourier(images))


def to_hartley(spectra: Complex[Tensor, "*b d h"]) -> Float[Tensor, "*b d d"]:
    """Hartley plane of half-plane spectra: ``Re F − Im F``, and ``Re F + Im F`` at the opposite frequency."""
    right = spectra.real - spectra.imag
    opposite = _opposite_rows((spectra.real + spectra.imag)[..., 1:-1]).flip(-1)
    return torch.cat([right, opposite], -1)


def from_hartley(plane: Float[Tensor, "*b d d"]) -> Complex[Tensor, "*b d h"]:
    """Half-plane spectra of Hartley planes; inverse of :func:`to_hartley`."""
    half = plane.shape[-1] // 2 + 1
    return spectrum_of_pair(plane[..., :half], half_turn(plane)[..., :half])


def spectrum_of_pair(
    value: Float[Tensor, "*size"], opposite: Float[Tensor, "*size"]
) -> Complex[Tensor, "*size"]:
    """``F(k)`` from ``H(k)`` and ``H(−k)``: half their sum, and half of what the second has more as ``i``."""
    return torch.complex((value + opposite) / 2, (opposite - value) / 2)


def shift_hartley(
    plane: Float[Tensor, "b d d"], shift: Float[Tensor, "b 2"], grid: Grid
) -> Float[Tensor, "b d d"]:
    """Plane of the image whose content moved by ``+shift`` = (x, y), Å.

    ``cos(2π k·t) H(k) + sin(2π k·t) H(−k)``; below Nyquist this is the phase ramp of
    :func:`morphem.physics.imaging.phase_ramp`.
    """
    frequency = torch.fft.fftfreq(grid.box, grid.pixel_size, device=shift.device, dtype=shift.dtype)
    turns = shift[:, 0, None, None] * frequency + shift[:, 1, None, None] * frequency[:, None]
    angle = 2 * math.pi * turns
    return angle.cos() * plane + angle.sin() * half_turn(plane)


def half_turn(arrays: Shaped[Tensor, "*b d d"]) -> Shaped[Tensor, "*b d d"]:
    """Centred images, or full planes in FFT order, rotated by π: index j comes from ``−j mod d``."""
    return _opposite_rows(_opposite_rows(arrays).mT).mT


def half_turn_spectra(spectra: Complex[Tensor, "*b d h"]) -> Complex[Tensor, "*b d h"]:
    """Half-plane spectra of the images rotated by π: ``F(−k)``, which for real images is ``F*(k)``."""
    return spectra.conj()


def half_turn_rotation(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotations followed by π about the beam."""
    return rotation * rotation.new_tensor([-1, -1, 1])[:, None]


def half_turn_poses(poses: Poses) -> Poses:
    """Poses of the images rotated by π; the contrast transfer is the same at k and −k and needs no change."""
    return Poses(half_turn_rotation(poses.rotation), -poses.shift)


def _opposite_rows(planes: Shaped[Tensor, "*b d c"]) -> Shaped[Tensor, "*b d c"]:
    return planes.flip(-2).roll(1, -2)

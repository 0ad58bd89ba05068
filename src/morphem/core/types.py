"""The records that pass between floors. Å, radians, and one axis letter per meaning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.grid import Grid

Record = TypeVar("Record", bound="PerParticle")


@dataclass(frozen=True)
class PerParticle:
    """A record whose tensors (and nested records) share one leading axis."""

    def __len__(self) -> int:
        first = getattr(self, fields(self)[0].name)
        return len(first)

    def __getitem__(self: Record, rows: Int[Tensor, "b"] | Bool[Tensor, "n"] | slice) -> Record:
        """The same record with only ``rows`` of every per-particle field."""
        return replace(self, **{name: value[rows] for name, value in self._per_particle()})

    def to(self: Record, device: torch.device | str) -> Record:
        """The same record on another device."""
        return replace(self, **{name: value.to(device) for name, value in self._per_particle()})

    def _per_particle(self) -> Iterable[tuple[str, Tensor | PerParticle]]:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | PerParticle):
                yield field.name, value


@dataclass(frozen=True)
class Poses(PerParticle):
    """Where each particle was looked at from.

    Attributes:
        rotation: Takes a point of the molecule to the view frame, ``r_view = R @ r_mol``; the beam is z.
        shift: Displacement of the particle in its image, ``(x, y)``, Å (= −rlnOrigin).
    """

    rotation: Float[Tensor, "n 3 3"]
    shift: Float[Tensor, "n 2"]


@dataclass(frozen=True)
class Optics(PerParticle):
    """How the microscope filtered each image (signs and units of ``physics.ctf.contrast_transfer``).

    Attributes:
        defocus_u: Larger defocus, Å, positive is underfocus.
        defocus_v: Smaller defocus, Å.
        astigmatism: Angle of the ``defocus_u`` axis from x, rad.
        voltage_kv: Acceleration voltage, kV.
        cs_mm: Spherical aberration, mm.
        amplitude_contrast: Fraction, 0 to 1.
        phase_shift: Of a phase plate, rad.
        b_factor: Envelope ``exp(−B s²/4)``, Å².
        scale: Factor on the whole transfer function (contrast, tilt weight).
    """

    defocus_u: Float[Tensor, "n"]
    defocus_v: Float[Tensor, "n"]
    astigmatism: Float[Tensor, "n"]
    voltage_kv: Float[Tensor, "n"]
    cs_mm: Float[Tensor, "n"]
    amplitude_contrast: Float[Tensor, "n"]
    phase_shift: Float[Tensor, "n"]
    b_factor: Float[Tensor, "n"]
    scale: Float[Tensor, "n"]

    @property
    def defoci(self) -> Float[Tensor, "n 2"]:
        """Both defoci of each image, Å."""
        return torch.stack([self.defocus_u, self.defocus_v], 1)

    def with_defoci(self, defoci: Float[Tensor, "n 2"]) -> Optics:
        """The same optics with other defoci (Å)."""
        return replace(self, defocus_u=defoci[:, 0], defocus_v=defoci[:, 1])


@dataclass(frozen=True)
class Particles(PerParticle):
    """A batch of images with all that is known of each.

    Attributes:
        images: Grey values, protein positive.
        poses: Identity where unknown (then ``has_poses`` is False).
        optics: One row per image.
        index: Row of each image in its stack.
        particle: Whose image it is; latents belong to particles, and tilts of one particle share one.
        group: Optics group; noise is estimated per group.
        grid: Sampling of the images.
        has_poses: Whether ``poses`` was given.
    """

    images: Float[Tensor, "n d d"]
    poses: Poses
    optics: Optics
    index: Int[Tensor, "n"]
    particle: Int[Tensor, "n"]
    group: Int[Tensor, "n"]
    grid: Grid
    has_poses: bool = True


@dataclass(frozen=True)
class Volume:
    """A density map.

    Attributes:
        voxels: Indexed ``[z, y, x]``; integrating along a line in Å gives a projection.
        grid: Sampling; the rotation centre is voxel ``d // 2`` on every axis.
    """

    voxels: Float[Tensor, "d d d"]
    grid: Grid


@dataclass(frozen=True)
class Frame:
    """A change of coordinates of the whole molecule, ``x' = matrix @ x + offset``.

    Attributes:
        matrix: Orthogonal; a determinant of −1 turns the hand.
        offset: Å.
    """

    matrix: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3"]


@dataclass(frozen=True)
class GaussianMixture:
    """Isotropic Gaussians in three dimensions.

    Attributes:
        centres: Å from the rotation centre, ``(x, y, z)``.
        scales: Standard deviations, Å.
        amplitudes: Peak of each component in projection (CryoSPIRE supplement, Eq. 8).
    """

    centres: Float[Tensor, "*b g 3"]
    scales: Float[Tensor, "g"]
    amplitudes: Float[Tensor, "*b g"]

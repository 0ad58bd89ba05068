"""Poses refined in a density that differs from particle to particle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector
from morphem.core.types import GaussianMixture, Particles, Poses
from morphem.data.stack import ParticleStack
from morphem.engine.run import Run
from morphem.inference.abinitio import empty_fit
from morphem.inference.passes import blocks, put, shared
from morphem.inference.posing import given, in_frame_of
from morphem.inference.refine import Linear, Linearised, chosen, products_of, refine
from morphem.inference.search import ramps
from morphem.inference.store import Coefficients, Disc, disc, low_frequencies
from morphem.models.density import AbstractDensity
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.physics.ctf import transfer_at
from morphem.physics.gaussians import draws_windows, project_gaussians, project_gaussians_windowed

_BLOCK = 64  # images refined at a time
_STEPS = 4  # of refinement a round
_TILT = 1e-2  # rad, of central differences: far enough for interpolated slices to change smoothly
_CONTRAST_SPREAD = 0.3

View = Callable[[Float[Tensor, "b 3 3"]], Complex[Tensor, "b 3 d h"]]
"""Spectra of projections, and their slopes to turns about view x and y (rad)."""


@dataclass(frozen=True)
class Sight:
    """What images are compared by.

    Attributes:
        noise: Power by optics group and shell.
        limit: Finest frequency, frequency pixels.
    """

    noise: Float[Tensor, "o s"]
    limit: int


@torch.no_grad()
def refine_in_density(
    density: AbstractDensity, latents: Float[Tensor, "p z"], stack: ParticleStack, by: Sight, run: Run | None
) -> Poses:
    """Poses of greatest likelihood near those of the stack, each image's in the density of its own particle.

    A rigid motion that most of them share is taken off: the density stays where it is.

    Args:
        density: Of any kind.
        latents: Of each particle.
        stack: Prepared images.
        by: Noise and limit.
        run: Told how far the work is.
    """
    places, fit = disc(stack.grid, by.limit), empty_fit(len(stack))
    for block in blocks(torch.arange(len(stack)), _BLOCK, run, "poses in the density"):
        batch, finite = stack.read_unchecked(block)
        model = linearised_density(density, latents[batch.particle], places, by.limit)
        images = coefficients(batch, places, by)
        found = refine(images, products_of(model), batch.poses, _STEPS, _CONTRAST_SPREAD)
        put(fit, block, chosen(finite, found, given(batch.poses)))
    return in_frame_of(stack.poses, shared(fit).poses)


def coefficients(batch: Particles, places: Disc, by: Sight) -> Coefficients:
    """Low frequencies of a batch, whitened."""
    limit = by.limit
    deviation = by.noise.sqrt()[batch.group][:, places.shells(limit)]
    values = low_frequencies(batch.images, places, limit)
    return Coefficients(values / deviation, transfer_at(batch.optics, places.frequencies(limit)) / deviation)


def linearised_density(
    density: AbstractDensity, z: Float[Tensor, "b z"], places: Disc, limit: int
) -> Linearised:
    """Model of each image in the density of its latent.

    Slopes to the turn about the beam and to the shift follow from the projection itself. Those to tilts,
    about view x and y, are exact for mixtures of isotropic Gaussians, else central differences.
    """
    grid, box = places.grid, places.grid.box
    x, y = places.places[: places.count(limit)].T
    frequencies = places.frequencies(limit)
    seen = _mixture_view(density, z, grid) if _is_mixture(density) else _differences(density, z, grid)

    def at(poses: Poses, images: Coefficients) -> Linear:
        spectra = seen(poses.rotation)
        columns = torch.cat([spectra, _spun(spectra[:, 0], grid)[:, None]], 1)[:, :, y % box, x] / box
        filtered = columns * (images.transfer * ramps(places, limit, poses.shift))[:, None]
        moves = -2j * math.pi * frequencies.T * filtered[:, :1]
        return Linear(filtered[:, 0], torch.cat([filtered[:, 1:], moves], 1))

    return at


def _is_mixture(density: AbstractDensity) -> bool:
    return isinstance(density, PartMixture | AnchoredMixture)


def _spun(spectrum: Complex[Tensor, "b d h"], grid: Grid) -> Complex[Tensor, "b d h"]:
    """Slope to a turn about the beam, ``−(x ∂y − y ∂x) P``."""
    image, line = to_real(spectrum), grid.axis()
    along_x, along_y = to_fourier(image * line), to_fourier(image * line[:, None])
    kx, ky = grid.frequencies().unbind(-1)
    return -2j * math.pi * (ky * along_x - kx * along_y)


def _mixture_view(density: AbstractDensity, z: Float[Tensor, "b z"], grid: Grid) -> View:
    """A tilt by ω about x moves a Gaussian at depth d by −ω d along y: the slope is that of depth × mass."""
    assert isinstance(density, PartMixture | AnchoredMixture)
    mixture = density.mixture(z)
    kx, ky = grid.frequencies().unbind(-1)

    def seen(rotation: Float[Tensor, "b 3 3"]) -> Complex[Tensor, "b 3 d h"]:
        project = project_gaussians_windowed if draws_windows(rotation.device) else project_gaussians
        depth = torch.einsum("bj,bgj->bg", rotation[:, 2], mixture.centres)
        deep = GaussianMixture(mixture.centres, mixture.scales, mixture.amplitudes * depth)
        plain, moment = (to_fourier(project(each, rotation, grid)) for each in (mixture, deep))
        return torch.stack([plain, 2j * math.pi * ky * moment, -2j * math.pi * kx * moment], 1)

    return seen


def _differences(density: AbstractDensity, z: Float[Tensor, "b z"], grid: Grid) -> View:
    tilts = [from_rotation_vector(_TILT * axis) for axis in torch.eye(3)[:2]]

    def seen(rotation: Float[Tensor, "b 3 3"]) -> Complex[Tensor, "b 3 d h"]:
        slopes = [
            (density.project(z, tilt @ rotation, grid) - density.project(z, tilt.T @ rotation, grid))
            / (2 * _TILT)
            for tilt in tilts
        ]
        return torch.stack([density.project(z, rotation, grid), *slopes], 1)

    return seen

"""Pictures of single particles: as recorded, made visible, and as the model expects them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.fourier import resize_images, to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.types import Particles, Poses
from morphem.data.stack import ParticleStack
from morphem.models.density import AbstractDensity
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import form_image
from morphem.physics.masks import cosine_edge

MOST = 24  # pictures
LARGEST = 128  # pixels along a side of a picture
_VISIBLE = 20.0  # Å: what is finer is noise in a single image


@dataclass(frozen=True)
class Montage:
    """Pictures of some particles, one image of each.

    Attributes:
        particles: Whose.
        raw: As recorded, cropped in Fourier space to at most 128 pixels.
        filtered: Protein bright, phases flipped, low-passed to 20 Å.
        model: The model's projection at the particle's latent and pose, with its contrast transfer and shift;
            None where there is no model to be asked.
    """

    particles: Int[np.ndarray, "m"]
    raw: Float[np.ndarray, "m d d"]
    filtered: Float[np.ndarray, "m d d"]
    model: Float[np.ndarray, "m d d"] | None


@torch.no_grad()
def montage(
    recorded: ParticleStack,
    ready: ParticleStack,
    particles: Int[Tensor, "k"],
    images: Int[Tensor, "p"],
    model: tuple[AbstractDensity, Float[Tensor, "p z"], Poses] | None = None,
) -> Montage:
    """Pictures of up to 24 of some particles, spread evenly over those that were asked for.

    Args:
        recorded: Images as they are on disk.
        ready: The same images with bright protein on background zero.
        particles: Whose pictures.
        images: The row of an image of each particle.
        model: Density, latents of all particles and poses of all images.
    """
    spread = torch.linspace(0, len(particles) - 1, min(MOST, len(particles))).round().long()
    chosen = particles[spread]
    rows = images[chosen]
    box = min(LARGEST, recorded.grid.box, ready.grid.box)
    batch = ready.read(rows)
    return Montage(
        particles=chosen.numpy().astype(np.int32),
        raw=resize_images(recorded.read(rows).images, box).numpy(),
        filtered=resize_images(_filtered(batch, ready.premultiplied[rows]), box).numpy(),
        model=None if model is None else resize_images(_expected(batch, chosen, model), box).numpy(),
    )


def low_pass_filter(grid: Grid, resolution: float) -> Float[Tensor, "d h"]:
    """1 below the frequency of a resolution (Å), 0 from a third above it on, a cosine between."""
    k = grid.frequencies().square().sum(-1).sqrt()
    edge = 1 / resolution / 3
    return cosine_edge(k - 1 / resolution, edge)


def _filtered(batch: Particles, premultiplied: Bool[Tensor, "m"]) -> Float[Tensor, "m d d"]:
    transfer = contrast_transfer(batch.optics, batch.grid)
    sign = torch.where(transfer < 0, -1.0, 1.0)
    flipped = torch.where(premultiplied[:, None, None], torch.ones_like(sign), sign)
    finest = max(_VISIBLE, 2 * batch.grid.pixel_size)
    return to_real(to_fourier(batch.images) * flipped * low_pass_filter(batch.grid, finest))


def _expected(
    batch: Particles,
    chosen: Int[Tensor, "m"],
    model: tuple[AbstractDensity, Float[Tensor, "p z"], Poses],
) -> Float[Tensor, "m d d"]:
    density, latents, poses = model
    own = poses[batch.index]
    projection = density.project(latents[chosen], own.rotation, batch.grid)
    return to_real(form_image(projection, batch.optics, own.shift, batch.grid)).float()

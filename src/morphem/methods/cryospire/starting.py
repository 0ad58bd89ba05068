"""Where CryoSPIRE's latents and mixtures start."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.data.mrc import read_map
from morphem.engine.half_maps import HalfMaps
from morphem.methods.cryospire.frames import teach_frames
from morphem.methods.cryospire.settings import Config, MixtureConfig
from morphem.models.anchors import Anchors, Behaviour, anchors_of, find_anchors, nearest_part, without_dust
from morphem.models.gaussian_density import VISIBLE_SHARE, AnchoredMixture, Network, PartMixture
from morphem.models.layers import positional_encoding
from morphem.models.seeding import bright_level, draw_centres, equal_gaussians, fitting_factor
from morphem.models.table import ParticleTable
from morphem.physics.gaussians import rasterise

NARROWEST = 0.6  # pixels: Gaussians that begin narrower alias by more than a few per cent in sampled images


def start_map(maps: HalfMaps, config: Config) -> Volume:
    """The map given, or the consensus within its mask."""
    grid = maps.mean.grid
    if config.start is None:
        return Volume(maps.mean.voxels * maps.mask, grid)
    return Volume(resize_map(read_map(config.start).voxels, grid.box), grid)


def sized(config: Config, start: Volume) -> Config:
    """The same with a Gaussian for each voxel of the molecule in the fine mixture, if these are more."""
    voxels = int((start.voxels > config.threshold * bright_level(start.voxels)).sum())
    told = config.fine.gaussians
    count = max(told, min(voxels, config.solving.most_gaussians))
    return replace(config, fine=replace(config.fine, gaussians=count))


def initial_latents(particles: int, config: Config) -> ParticleTable:
    """Small random latents, one row per particle; or those that are known, which no step moves."""
    if config.known_latents is not None:
        return ParticleTable(read_rows(config.known_latents, particles), 0.0)
    generator = torch.Generator().manual_seed(config.seed)
    rows = config.latent_spread * torch.randn(particles, config.latent, generator=generator)
    return ParticleTable(rows, config.rates.latents)


def initial_parts(start: Volume, config: Config) -> PartMixture:
    """Coarse mixture drawn from the start map, every Gaussian at rest and visible."""
    generator = torch.Generator().manual_seed(config.seed + 1)
    size, extent = config.parts, start.grid.extent
    torch.manual_seed(config.seed + 2)
    mixture = PartMixture(size.gaussians, config.features, config.latent, network(size, config), extent)
    points = draw_centres(start, size.gaussians, config.threshold, generator)
    with torch.no_grad():
        mixture.centres.copy_(points / extent)
        if config.encoding == "positional":
            mixture.features.copy_(positional_encoding(mixture.centres, config.features))
        else:
            mixture.features.normal_(std=config.feature_spread, generator=generator)
    mixture.features.requires_grad_(config.encoding == "learned")
    return started(mixture, start, points, size)


def anchored(
    parts: PartMixture,
    latents: Float[Tensor, "p z"],
    grid: Grid,
    config: Config,
    anchors: Anchors | None = None,
) -> AnchoredMixture:
    """Fine mixture drawn from the coarse density, each Gaussian tied to the anchor of its nearest coarse one.

    The coarse density is taken at the latent nearest to the mean, with each Gaussian's mean occupancy, which
    leaves out the Gaussians that the data switched off.
    """
    generator = torch.Generator().manual_seed(config.seed + 3)
    size, extent = config.fine, grid.extent
    behaviour, rest = parts.behaviour(latents), parts.at_rest(latents)
    start = rasterise(rest, grid)
    points = draw_centres(start, size.gaussians, config.threshold, generator)
    alive = torch.nonzero(behaviour.mass > 0)[:, 0]
    nearest = alive[nearest_part(points, rest.centres[alive], torch.arange(len(alive)))]
    anchors = anchors or found_or_given(behaviour, rest.centres, config)
    # a part is as large as the density around its Gaussians, whatever their own mass
    drawn = torch.bincount(nearest, minlength=len(behaviour.mass))
    anchors = anchors_of(behaviour, without_dust(anchors.part, behaviour, drawn.to(behaviour.mass)))
    count = len(anchors.features) if config.frames == "anchors" else 0
    torch.manual_seed(config.seed + 4)
    mixture = empty_mixture(count, latents.shape[1], grid, config)
    with torch.no_grad():
        if count:
            mixture.part.copy_(anchors.part[nearest])
            mixture.anchor_centres.copy_(anchors.centres)
            mixture.anchor_features.copy_(anchors.features)
        else:
            # without parts to share a feature, each Gaussian keeps that of its nearest coarse one
            mixture.feature_offsets.copy_(behaviour.features[nearest])
        mixture.offsets.copy_(points / extent - mixture.anchor_centres[mixture.part])
    if count and config.networks == "products":
        teach_frames(mixture, anchors, (parts, behaviour), latents, config.seed + 5)
    return started(mixture, start, points, size)


def empty_mixture(parts: int, latent: int, grid: Grid, config: Config) -> AnchoredMixture:
    """Fine mixture of so many parts, its Gaussians all in one place, for latents of a width."""
    size = config.fine
    return AnchoredMixture(size.gaussians, parts, config.features, latent, network(size, config), grid.extent)


def found_or_given(behaviour: Behaviour, centres: Float[Tensor, "g 3"], config: Config) -> Anchors:
    """Parts as the coarse Gaussians (at ``centres``, Å) show them, or the bodies that are nearest to each."""
    if config.known_bodies is None:
        return find_anchors(behaviour, config.anchors, config.seed)
    points = read_rows(config.known_bodies)
    return anchors_of(behaviour, nearest_part(centres, points[:, :3].contiguous(), points[:, 3].long()))


def seen_bodies(fine: AnchoredMixture, latents: Float[Tensor, "p z"], config: Config) -> Int[Tensor, "g"]:
    """What moves and fades as one in a finished mixture, unless a person told its parts.

    Sharp Gaussians tell more than the coarse ones that parts were found by: bodies that share a frame, and
    are absent one without the other, come apart.
    """
    if not fine.anchors or config.anchors.count or config.known_bodies is not None:
        return fine.part
    return find_anchors(fine.behaviour(latents), config.bodies(), config.seed).part


def read_rows(path: Path, count: int | None = None) -> Float[Tensor, "n r"]:
    """Rows of numbers in an ``.npy`` file, of which there must be ``count``."""
    try:
        rows = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    except (OSError, ValueError) as error:
        raise DataError("PATH-001", f"{path} is not an .npy file of numbers: {error}") from error
    if rows.ndim != 2 or (count is not None and len(rows) != count):
        met = f"{path} holds {' × '.join(map(str, rows.shape))} numbers"
        raise DataError("COUNT-001", f"{met}; {'rows' if count is None else f'{count} rows'} are needed")
    return rows


def network(size: MixtureConfig, config: Config) -> Network:
    """Of a mixture's displacement and occupancy."""
    plain = (size.hidden, size.layers)
    return (*plain, "products") if config.networks == "products" else plain


Started = TypeVar("Started", PartMixture, AnchoredMixture)


def started(mixture: Started, start: Volume, points: Float[Tensor, "g 3"], size: MixtureConfig) -> Started:
    """Widths and amplitudes of a fresh mixture, in the unit that fits the start map."""
    scale = max(size.scale * start.grid.extent, NARROWEST * start.grid.pixel_size)
    equal = equal_gaussians(points, scale, size.amplitude)
    with torch.no_grad():
        mixture.log_scales.fill_(math.log(scale / start.grid.extent))
        mixture.amplitudes.fill_(size.amplitude)
        mixture.unit.fill_(fitting_factor(start, equal) / VISIBLE_SHARE)
    return mixture

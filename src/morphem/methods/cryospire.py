"""CryoSPIRE: rigid parts, their motion and their absence, from particles with known poses.

A coarse mixture whose Gaussians move and fade by learned features finds the parts; a fine mixture tied to the
parts' anchors fits them (arXiv 2506.09063 and its supplement).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.fourier import half_plane_weights, resize_map, to_fourier
from morphem.core.grid import Grid
from morphem.core.types import Particles, Poses, Volume
from morphem.data.errors import DataError
from morphem.data.mrc import read_map, write_map
from morphem.data.stack import ParticleStack
from morphem.engine.descend import AbstractObjective, DescentConfig, descend
from morphem.engine.half_maps import HalfMaps, write_half_maps
from morphem.engine.insertion import backproject
from morphem.engine.parts import write_parts
from morphem.engine.ranks import is_main
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.inference.density_poses import Sight, refine_in_density
from morphem.inference.passes import remembered
from morphem.metrics.fsc import crossing
from morphem.models.anchors import AnchorConfig, Anchors, Behaviour, anchors_of, find_anchors, nearest_part
from morphem.models.gaussian_density import VISIBLE_SHARE, AnchoredMixture, PartMixture
from morphem.models.layers import positional_encoding
from morphem.models.seeding import draw_centres, equal_gaussians, fitting_factor
from morphem.models.table import ParticleTable
from morphem.physics.ctf import contrast_transfer
from morphem.physics.gaussians import rasterise
from morphem.physics.imaging import phase_ramp
from morphem.physics.noise import whitening_filter

_COARSEST = 8  # frequency pixels that poses are refined with at least
NARROWEST = 0.6  # pixels: Gaussians that begin narrower alias by more than a few per cent in sampled images


@dataclass(frozen=True)
class MixtureConfig:
    """A mixture and its networks."""

    gaussians: int
    """Number of Gaussians."""
    scale: float
    """Initial standard deviation, fraction of the box; 0.6 pixels at least."""
    hidden: int
    """Units per hidden layer of each network."""
    layers: int
    """Hidden layers of each network."""
    amplitude: float = 0.15
    """Initial amplitude, in the unit in which that amplitude everywhere fits the start map."""


@dataclass(frozen=True)
class RateConfig:
    """Learning rates of Adam at the start of each stage."""

    centres: float = 2e-4
    """Positions, box units."""
    scales: float = 5e-3
    """Logarithms of the widths."""
    amplitudes: float = 5e-3
    """Amplitudes."""
    features: float = 5e-3
    """Features of the coarse mixture."""
    feature_offsets: float = 1e-3
    """Feature offsets of the fine mixture."""
    networks: float = 3e-3
    """Weights of the networks."""
    latents: float = 1e-1
    """Latents, by row-wise Adam."""


@dataclass(frozen=True)
class Config:
    """CryoSPIRE; the defaults are the published method."""

    latent: int = 4
    """Width of a particle's latent."""
    features: int = 24
    """Width of a Gaussian's feature."""
    parts: MixtureConfig = MixtureConfig(gaussians=2048, scale=0.02, hidden=32, layers=1)
    """Coarse mixture that finds the parts."""
    fine: MixtureConfig = MixtureConfig(gaussians=8192, scale=0.01, hidden=128, layers=3)
    """Fine mixture tied to the parts' anchors."""
    anchors: AnchorConfig = AnchorConfig()
    """How Gaussians are grouped into parts."""
    parts_descent: DescentConfig = DescentConfig(epochs=15, batch_size=64)
    """Training of the coarse mixture."""
    fine_descent: DescentConfig = DescentConfig(epochs=30, batch_size=64)
    """Training of the fine mixture."""
    pose_rounds: int = 0
    """How often poses are refined in the fine mixture, each image's at its own latent."""
    pose_descent: DescentConfig = DescentConfig(epochs=2, batch_size=64)
    """Training of the fine mixture after each time."""
    rates: RateConfig = field(default_factory=RateConfig)
    """Learning rates."""
    feature_spread: float = 0.1
    """Standard deviation of the features at the start."""
    latent_spread: float = 0.1
    """Standard deviation of the latents at the start."""
    latent_penalty: float = 0.1
    """Weight of the squared norm of an image's latent."""
    feature_penalty: float = 0.01
    """Weight of the squared norm of the feature offsets."""
    encoding: Literal["learned", "positional"] = "learned"
    """What tells Gaussians apart: learned features, or (ablation) an encoding of where they are."""
    frames: Literal["anchors", "none"] = "anchors"
    """Whether parts move as rigid frames, or (ablation) every Gaussian by itself."""
    noise: Literal["white", "coloured"] = "white"
    """White as published, or with the spectrum that each optics group's background shows."""
    start: Path | None = None
    """Map to start from; back-projected from the images unless given."""
    known_latents: Path | None = None
    """Latents that are known and stay as they are, .npy with one row per particle; learned unless given."""
    known_bodies: Path | None = None
    """Rigid bodies that are known, .npy with x, y, z (Å) and the number of its body in a row for each point
    of the molecule; found unless given."""
    threshold: float = 0.1
    """Voxels below this fraction of the brightest 0.1 % get no Gaussian."""
    seed: int = 0
    """Of every random choice."""

    def __post_init__(self) -> None:
        if self.pose_rounds < 0:
            raise ValueError(f"pose_rounds is {self.pose_rounds}; 0 or more can be made")


def reconstruct(stack: ParticleStack, config: Config, run: Run) -> Reconstruction:
    """Discover parts with a coarse mixture, then fit a fine one tied to their anchors."""
    maps = consensus(stack, config, run)
    start, precision = start_map(maps, config), noise_precision(maps, config)
    latents = initial_latents(stack.n_particles, config)
    parts = initial_parts(start, replace(config, latent=latents.rows.shape[1]))
    coarse = MixtureObjective(parts, latents, precision, config)
    descend(coarse, stack, config.parts_descent, run.stage("parts"))
    fine = anchored(parts, latents.rows, start.grid, config)
    finer = MixtureObjective(fine, latents, precision, config)
    descend(finer, stack, config.fine_descent, run.stage("fine"))
    for number in range(1, config.pose_rounds + 1):
        stack = posed_in(finer, stack, sight(maps, config), run, number)
        descend(finer, stack, config.pose_descent, run.stage(f"fine-{number}"))
    write_parts(fine, latents.rows, stack.grid, run.root)
    return Reconstruction(stack.poses, latents.rows, fine, stack.grid, run.history(), run.provenance())


class MixtureObjective(AbstractObjective):
    """Squared residual of a mixture's images in units of the noise, with small latents preferred.

    The squares are summed over the image's pixels (Parseval: over its Fourier plane, DC left out). Images are
    centred by their known shifts, as a phase.
    """

    precision: Float[Tensor, "o d h"]

    def __init__(
        self,
        density: PartMixture | AnchoredMixture,
        latents: ParticleTable,
        precision: Float[Tensor, "o d h"],
        config: Config,
    ) -> None:
        super().__init__()
        self.density = density
        self.latents = latents
        self.config = config
        self.register_buffer("precision", precision)

    def terms(self, batch: Particles, seen: int) -> dict[str, Tensor]:
        """``image``, ``latent`` and, in the second stage, ``feature``."""
        z = self.latents.read(batch.particle)
        model = self.density.project(z, batch.poses.rotation, batch.grid)
        terms = {
            "image": image_error(model, batch, self.precision),
            "latent": self.config.latent_penalty * z.square().sum(1).mean(),
        }
        if isinstance(self.density, AnchoredMixture) and self.density.anchors:
            terms["feature"] = self.config.feature_penalty * self.density.feature_offsets.square().sum()
        return terms

    def parameter_groups(self) -> list[dict[str, object]]:
        """Parameters by kind, each kind with its rate."""
        rates = self.config.rates
        rate_of = {
            "centres": rates.centres,
            "offsets": rates.centres,
            "log_scales": rates.scales,
            "amplitudes": rates.amplitudes,
            "features": rates.features,
            "feature_offsets": rates.feature_offsets,
        }
        own = {name: p for name, p in self.density.named_parameters(recurse=False) if p.requires_grad}
        networks = [p for child in self.density.children() for p in child.parameters()]
        groups: list[dict[str, object]] = [{"params": [p], "lr": rate_of[name]} for name, p in own.items()]
        return [*groups, {"params": networks, "lr": rates.networks}]

    def tables(self) -> dict[str, ParticleTable]:
        """The latents."""
        return {"latents": self.latents}


def image_error(
    model: Complex[Tensor, "b d h"], batch: Particles, precision: Float[Tensor, "o d h"]
) -> Float[Tensor, ""]:
    """Mean over images of the squared residual in units of the noise, summed over pixels."""
    grid = batch.grid
    centred = to_fourier(batch.images) * phase_ramp(-batch.poses.shift, grid)
    residual = model * contrast_transfer(batch.optics, grid) - centred
    weights = half_plane_weights(grid.box, model.device) / grid.box**2
    weights[0, 0] = 0
    power = residual.real.square() + residual.imag.square()
    return (power * weights * precision[batch.group]).sum((-2, -1)).mean()


def consensus(stack: ParticleStack, config: Config, run: Run) -> HalfMaps:
    """Half maps of all particles as if they were alike, which the run keeps with their mean."""
    maps = backproject(stack, run, seed=config.seed)
    write_half_maps(maps, run.root)
    if is_main():
        write_map(run.root / "consensus.mrc", maps.mean)
    return maps


def start_map(maps: HalfMaps, config: Config) -> Volume:
    """The map given, or the consensus within its mask."""
    grid = maps.mean.grid
    if config.start is None:
        return Volume(maps.mean.voxels * maps.mask, grid)
    return Volume(resize_map(read_map(config.start).voxels, grid.box), grid)


def noise_precision(maps: HalfMaps, config: Config) -> Float[Tensor, "o d h"]:
    """One over the noise power of each optics group at each frequency; 1 everywhere if it counts as white."""
    grid = maps.mean.grid
    if config.noise == "white":
        return torch.ones(len(maps.noise), grid.box, grid.half)
    return whitening_filter(maps.noise, grid).square()


def sight(maps: HalfMaps, config: Config) -> Sight:
    """Noise that poses are refined with, and the finest frequency: where the consensus's halves still agree.

    Beyond it the mixture knows little but the noise of the very images.
    """
    grid = maps.mean.grid
    noise = torch.ones_like(maps.noise) if config.noise == "white" else maps.noise
    known = int(crossing(maps.fsc_corrected, 0.143))
    return Sight(noise, min(max(known, _COARSEST), grid.box // 2 - 1))


def posed_in(
    fitted: MixtureObjective, stack: ParticleStack, by: Sight, run: Run, number: int
) -> ParticleStack:
    """The particles with poses refined in a fitted mixture, once a run and round."""

    def found() -> dict[str, Tensor]:
        poses = refine_in_density(fitted.density, fitted.latents.rows, stack, by, run)
        return dict(vars(poses))

    kept = remembered(run.stage(f"fine-{number}-poses"), {"limit": by.limit}, found)
    return replace(stack, poses=Poses(kept["rotation"], kept["shift"]))


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
    mixture = PartMixture(size.gaussians, config.features, config.latent, (size.hidden, size.layers), extent)
    points = draw_centres(start, size.gaussians, config.threshold, generator)
    with torch.no_grad():
        mixture.centres.copy_(points / extent)
        if config.encoding == "positional":
            mixture.features.copy_(positional_encoding(mixture.centres, config.features))
        else:
            mixture.features.normal_(std=config.feature_spread, generator=generator)
    mixture.features.requires_grad_(config.encoding == "learned")
    return _started(mixture, start, points, size)


def anchored(
    parts: PartMixture, latents: Float[Tensor, "p z"], grid: Grid, config: Config
) -> AnchoredMixture:
    """Fine mixture drawn from the coarse density, each Gaussian tied to the anchor of its nearest coarse one.

    The coarse density is taken at the latent nearest to the mean, with each Gaussian's mean occupancy, which
    leaves out the Gaussians that the data switched off.
    """
    generator = torch.Generator().manual_seed(config.seed + 3)
    size, extent = config.fine, grid.extent
    behaviour, rest = parts.behaviour(latents), parts.at_rest(latents)
    anchors = found_or_given(behaviour, rest.centres, config)
    count = len(anchors.features) if config.frames == "anchors" else 0
    torch.manual_seed(config.seed + 4)
    mixture = AnchoredMixture(
        size.gaussians, count, config.features, latents.shape[1], (size.hidden, size.layers), extent
    )
    start = rasterise(rest, grid)
    points = draw_centres(start, size.gaussians, config.threshold, generator)
    alive = torch.nonzero(behaviour.mass > 0)[:, 0]
    nearest = alive[nearest_part(points, rest.centres[alive], torch.arange(len(alive)))]
    with torch.no_grad():
        if count:
            mixture.part.copy_(anchors.part[nearest])
            mixture.anchor_centres.copy_(anchors.centres)
            mixture.anchor_features.copy_(anchors.features)
        else:
            # without parts to share a feature, each Gaussian keeps that of its nearest coarse one
            mixture.feature_offsets.copy_(behaviour.features[nearest])
        mixture.offsets.copy_(points / extent - mixture.anchor_centres[mixture.part])
    return _started(mixture, start, points, size)


def found_or_given(behaviour: Behaviour, centres: Float[Tensor, "g 3"], config: Config) -> Anchors:
    """Parts as the coarse Gaussians (at ``centres``, Å) show them, or the bodies that are nearest to each."""
    if config.known_bodies is None:
        return find_anchors(behaviour, config.anchors, config.seed)
    points = read_rows(config.known_bodies)
    return anchors_of(behaviour, nearest_part(centres, points[:, :3].contiguous(), points[:, 3].long()))


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


Started = TypeVar("Started", PartMixture, AnchoredMixture)


def _started(mixture: Started, start: Volume, points: Float[Tensor, "g 3"], size: MixtureConfig) -> Started:
    """Widths and amplitudes of a fresh mixture, in the unit that fits the start map."""
    scale = max(size.scale * start.grid.extent, NARROWEST * start.grid.pixel_size)
    equal = equal_gaussians(points, scale, size.amplitude)
    with torch.no_grad():
        mixture.log_scales.fill_(math.log(scale / start.grid.extent))
        mixture.amplitudes.fill_(size.amplitude)
        mixture.unit.fill_(fitting_factor(start, equal) / VISIBLE_SHARE)
    return mixture


PRESETS = {
    "paper": Config(),
    "quick": Config(
        parts=MixtureConfig(gaussians=768, scale=0.02, hidden=32, layers=1),
        fine=MixtureConfig(gaussians=2048, scale=0.012, hidden=32, layers=2),
        anchors=AnchorConfig(by="responses", neighbours=9),
        parts_descent=DescentConfig(epochs=28, batch_size=64),
        fine_descent=DescentConfig(epochs=6, batch_size=64),
    ),
}

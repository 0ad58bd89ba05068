"""What CryoSPIRE minimises over particles."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights, to_fourier
from morphem.core.types import Particles, Poses
from morphem.engine.half_maps import HalfMaps
from morphem.engine.objective import AbstractObjective
from morphem.inference.latents import Scene, project_at_disc
from morphem.inference.refine import likeliest_contrast
from morphem.inference.search import ramps
from morphem.methods.cryospire.settings import Config
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.table import ParticleTable
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import phase_ramp
from morphem.physics.noise import whitening_filter

_SHOWN = 512  # images that tell how bright a mixture is


class AbstractMixtureObjective(AbstractObjective):
    """Squared residual of a mixture's images in units of the noise, with small latents preferred."""

    def __init__(
        self, density: PartMixture | AnchoredMixture, latents: ParticleTable, config: Config
    ) -> None:
        super().__init__()
        self.density = density
        self.latents = latents
        self.config = config

    @abstractmethod
    def misfit(self, z: Float[Tensor, "b z"], batch: Particles) -> Float[Tensor, ""]:
        """Mean over images of the squared residual, each pair of mates counted twice."""

    def terms(self, batch: Particles, seen: int) -> dict[str, Tensor]:
        """``image``, ``latent`` and, in the second stage, ``feature``."""
        z = self.latents.read(batch.particle)
        terms = {
            "image": self.misfit(z, batch),
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
        groups: list[dict[str, object]] = [{"params": [p], "lr": rate_of[name]} for name, p in own.items()]
        for name, network in self.density.named_children():
            learning = [p for p in network.parameters() if p.requires_grad]
            rate = rates.frames if name == "motion" else rates.networks
            groups += [{"params": learning, "lr": rate}] if learning else []
        return groups

    def tables(self) -> dict[str, ParticleTable]:
        """The latents."""
        return {"latents": self.latents}


class MixtureObjective(AbstractMixtureObjective):
    """Over all pixels of an image, as published.

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
        super().__init__(density, latents, config)
        self.register_buffer("precision", precision)

    def misfit(self, z: Float[Tensor, "b z"], batch: Particles) -> Float[Tensor, ""]:
        """Mean over images of the squared residual."""
        model = self.density.project(z, batch.poses.rotation, batch.grid)
        return image_error(model, batch, self.precision)


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


def noise_precision(maps: HalfMaps, config: Config) -> Float[Tensor, "o d h"]:
    """One over the noise power of each optics group at each frequency; 1 everywhere if it counts as white."""
    grid = maps.mean.grid
    if config.noise == "white":
        return torch.ones(len(maps.noise), grid.box, grid.half)
    return whitening_filter(maps.noise, grid).square()


class BandObjective(AbstractMixtureObjective):
    """Up to some frequency, from images whose low frequencies are in memory.

    The contrast of each image is the best one, in closed form. Cost grows with the square of the limit, as
    projections are made on a grid no finer than it needs.

    Latents are drawn from their posteriors, each time an image is seen (expectation–maximisation by samples;
    Wei & Tanner, JASA 1990). At the likeliest ones alone, which took part of the noise for motion, a mixture
    would come to show that part.
    """

    def __init__(
        self, density: PartMixture | AnchoredMixture, latents: ParticleTable, scene: Scene, config: Config
    ) -> None:
        super().__init__(density, latents, config)
        self.scene = scene

    def misfit(self, z: Float[Tensor, "b z"], batch: Particles) -> Float[Tensor, ""]:
        """Mean over images of the squared residual in units of the noise, pixels of the band alone."""
        rows, sound = batch.index.cpu(), self.scene.sound
        z = self._drawn(z, rows)
        with torch.no_grad():
            self.density.amplitudes.clamp_(min=0)  # one that went out may shine again: at 0 it has a slope
        model, seen = self._beside(z, rows, batch.poses)
        contrast = best_contrast(model.detach(), seen, self.scene.contrast_spread)
        left = (seen - contrast[:, None] * model).square().sum(1)
        if sound is not None:
            left = left * sound[rows].to(left)
        return 2 * left.mean()  # each pair of mates is stored once

    @torch.no_grad()
    def told(self) -> Float[Tensor, "n"]:
        """By how much each image is likelier than without a molecule (log-likelihood)."""
        scene, told = self.scene, []
        for rows in torch.arange(len(scene.store)).split(64):
            model, seen = self._beside(self.latents.rows[scene.particle[rows]], rows, scene.poses[rows])
            contrast = best_contrast(model, seen, scene.contrast_spread)
            told.append(seen.square().sum(1) - (seen - contrast[:, None] * model).square().sum(1))
        return torch.cat(told)

    @torch.no_grad()
    def brightened(self) -> BandObjective:
        """The same, its mixture as bright as some of the images in the mean.

        A map that Gaussians are drawn from is filtered, and where contrasts differ little, only amplitudes
        could make up for that, one by one.
        """
        scene, match, power = self.scene, 0.0, 0.0
        some = torch.arange(0, len(scene.store), max(1, len(scene.store) // _SHOWN))
        for rows in scene.sound_ones(some).split(64):
            model, seen = self._beside(self.latents.rows[scene.particle[rows]], rows, scene.poses[rows])
            match, power = match + float((model * seen).sum()), power + float(model.square().sum())
        if match > 0:
            self.density.unit.mul_(match / power)
        return self

    def _drawn(self, z: Float[Tensor, "b z"], rows: Int[Tensor, "b"]) -> Float[Tensor, "b z"]:
        """Latents that each image may have as well."""
        posterior = self.scene.posterior
        if posterior is None or self.config.solving.fine_latents == "likeliest":
            return z
        factor = posterior[self.scene.particle[rows]].to(z)
        return z + (factor @ torch.randn_like(z)[..., None])[..., 0]

    def _beside(
        self, z: Float[Tensor, "b z"], rows: Int[Tensor, "b"], poses: Poses
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"]]:
        """What is expected of images and what they are, real and imaginary parts."""
        scene = self.scene
        images = scene.store.read(rows, scene.limit, z.device)
        ramp = ramps(scene.store.disc, scene.limit, poses.shift)
        model = project_at_disc(self.density, z, poses, scene.store, scene.limit) * images.transfer * ramp
        return torch.view_as_real(model).flatten(1), torch.view_as_real(images.values).flatten(1)


def best_contrast(
    model: Float[Tensor, "b m"], seen: Float[Tensor, "b m"], spread: float
) -> Float[Tensor, "b"]:
    """Factor on each model that is likeliest, of standard deviation ``spread`` about 1 beforehand."""
    return likeliest_contrast(model.square().sum(1), (model * seen).sum(1), spread)

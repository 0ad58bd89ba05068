"""Gaussian mixtures whose parts move, appear and vanish with a latent (CryoSPIRE).

Positions and widths are kept in fractions of the box and leave in Å.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, from_six_dimensions
from morphem.core.types import GaussianMixture, Volume
from morphem.models.anchors import Behaviour
from morphem.models.density import AbstractDensity
from morphem.models.layers import PairNetwork, ProductNetwork
from morphem.physics.gaussians import draws_windows, project_gaussians, project_gaussians_windowed, rasterise

VISIBLE = 3.0  # logit of the occupancy that every Gaussian starts with
VISIBLE_SHARE = 1 / (1 + math.exp(-VISIBLE))
_MOTION = 64, 3  # units and hidden layers of the network that turns parts by six numbers
_PUBLISHED_MOTION = 6  # outputs of the one that turns them by a vector
Network = tuple[int, int] | tuple[int, int, str]
"""Units and hidden layers of a network of pairs; or units, products, and the word ``products``."""


def network_of(features: int, latent: int, network: Network, outputs: int, bias: float = 0.0) -> nn.Module:
    """Network over pairs of a feature and a latent, as pairs or as products."""
    kind = ProductNetwork if len(network) > 2 else PairNetwork
    return kind(features, latent, (network[0], network[1]), outputs, bias)


class PartMixture(AbstractDensity):
    """First stage: every Gaussian moves and fades by its own feature (CryoSPIRE, stage 1).

    ``c_i(z) = c_i + T([f_i, z])`` and ``m_i(z) = σ(O([f_i, z])) m_i``; widths are constant.

    Args:
        gaussians: Number of Gaussians.
        features: Width of a Gaussian's feature.
        latent: Width of a particle's latent.
        network: Of both networks.
        extent: Side of the box, Å.
    """

    unit: Float[Tensor, ""]

    def __init__(
        self,
        gaussians: int,
        features: int,
        latent: int,
        network: Network,
        extent: float,
    ) -> None:
        super().__init__()
        self.extent = extent
        self.centres = nn.Parameter(torch.zeros(gaussians, 3))
        self.log_scales = nn.Parameter(torch.zeros(gaussians))
        self.amplitudes = nn.Parameter(torch.zeros(gaussians))
        self.features = nn.Parameter(torch.zeros(gaussians, features))
        self.displacement = network_of(features, latent, network, 3)
        self.occupancy = network_of(features, latent, network, 1, VISIBLE)
        self.register_buffer("unit", torch.ones(()))

    def own_features(self) -> Float[Tensor, "g f"]:
        """Feature of each Gaussian."""
        return self.features

    def placed(self, z: Float[Tensor, "b z"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Where each Gaussian is (box units) and its occupancy."""
        centres = self.centres + self.displacement(self.features, z)
        return centres, torch.sigmoid(self.occupancy(self.features, z)[..., 0])

    def mixture(self, z: Float[Tensor, "b z"]) -> GaussianMixture:
        """The Gaussians of each latent."""
        return _in_angstrom(self, *self.placed(z))

    def at_rest(self, latents: Float[Tensor, "p z"]) -> GaussianMixture:
        """The Gaussians where they are at the latent nearest to the mean, as bright as on average."""
        return _at_rest(self, latents)

    def behaviour(self, latents: Float[Tensor, "p z"], latents_used: int = 128) -> Behaviour:
        """What each Gaussian is and does, at some of the latents."""
        return _behaviour(self, latents, latents_used)

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Spectra of the projections of each latent's density."""
        return to_fourier(_render(self.mixture(z), rotation, grid))

    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        """Density of one latent."""
        return _volume(self.mixture(z[None]), grid)


class AnchoredMixture(AbstractDensity):
    """Second stage: Gaussians ride on the rigid frames of their parts' anchors (CryoSPIRE, stage 2).

    ``c̃_i = c̄_a + R_a(z) Δc_i + t_a(z)``, then ``c_i(z) = c̃_i + T([f_i, z])`` and
    ``m_i(z) = σ(O([f_i, z])) m_i`` with ``f_i = f̄_a + Δf_i``.

    Args:
        gaussians: Number of Gaussians.
        anchors: Number of parts; 0 leaves the rigid frames out (the ablation without anchors).
        features: Width of a feature.
        latent: Width of a latent.
        network: Of displacement and occupancy; that of the few parts is always one of pairs. With products,
            it turns parts by six numbers, else (published) by a rotation vector, which has to jump somewhere
            on a full turn.
        extent: Side of the box, Å.
    """

    later = ("body",)
    part: Int[Tensor, "g"]
    body: Int[Tensor, "g"]
    anchor_centres: Float[Tensor, "a 3"]
    anchor_features: Float[Tensor, "a f"]
    anchor_still: Int[Tensor, ""]
    unit: Float[Tensor, ""]

    def __init__(
        self,
        gaussians: int,
        anchors: int,
        features: int,
        latent: int,
        network: Network,
        extent: float,
    ) -> None:
        super().__init__()
        self.extent = extent
        self.anchors = anchors
        rows = max(anchors, 1)
        self.offsets = nn.Parameter(torch.zeros(gaussians, 3))
        self.log_scales = nn.Parameter(torch.zeros(gaussians))
        self.amplitudes = nn.Parameter(torch.zeros(gaussians))
        self.feature_offsets = nn.Parameter(torch.zeros(gaussians, features))
        self.motion = _motion_network(features, latent, network)
        self.displacement = network_of(features, latent, network, 3)
        self.occupancy = network_of(features, latent, network, 1, VISIBLE)
        self.register_buffer("anchor_centres", torch.zeros(rows, 3))
        self.register_buffer("anchor_features", torch.zeros(rows, features))
        self.register_buffer("anchor_still", torch.tensor(-1))  # the part in whose frame all others move
        self.register_buffer("part", torch.zeros(gaussians, dtype=torch.int64))  # whose anchor carries each
        self.register_buffer("body", torch.full((gaussians,), -1))  # that it was seen to belong to
        self.register_buffer("unit", torch.ones(()))

    def own_features(self) -> Float[Tensor, "g f"]:
        """Feature of each Gaussian."""
        return self.anchor_features[self.part] + self.feature_offsets

    def frames(self, z: Float[Tensor, "b z"]) -> tuple[Float[Tensor, "b a 3 3"], Float[Tensor, "b a 3"]]:
        """Rotation about its own centre and translation (box units) of each anchor.

        They are seen from the part that is held still, if one is.
        """
        motion = self.motion(self.anchor_features, z)
        if motion.shape[-1] == _PUBLISHED_MOTION:
            found = from_rotation_vector(motion[..., :3]), motion[..., 3:]
        else:
            upright = torch.eye(2, 3, device=z.device).flatten()
            found = from_six_dimensions(upright + motion[..., :6]), motion[..., 6:]
        still = int(self.anchor_still)
        return found if still < 0 else _seen_from(still, *found, self.anchor_centres)

    def placed(self, z: Float[Tensor, "b z"]) -> tuple[Float[Tensor, "b g 3"], Float[Tensor, "b g"]]:
        """Where each Gaussian is (box units) and its occupancy."""
        features = self.own_features()
        centres = self._carried(z) + self.displacement(features, z)
        return centres, torch.sigmoid(self.occupancy(features, z)[..., 0])

    def mixture(self, z: Float[Tensor, "b z"]) -> GaussianMixture:
        """The Gaussians of each latent."""
        return _in_angstrom(self, *self.placed(z))

    def at_rest(self, latents: Float[Tensor, "p z"]) -> GaussianMixture:
        """The Gaussians where they are at the latent nearest to the mean, as bright as on average."""
        return _at_rest(self, latents)

    def behaviour(self, latents: Float[Tensor, "p z"], latents_used: int = 128) -> Behaviour:
        """What each Gaussian is and does, at some of the latents."""
        return _behaviour(self, latents, latents_used)

    def bodies(self) -> Int[Tensor, "g"]:
        """What moves and fades as one: as the finished mixture showed it, or the part of each Gaussian."""
        return torch.where(self.body < 0, self.part, self.body)

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Spectra of the projections of each latent's density."""
        return to_fourier(_render(self.mixture(z), rotation, grid))

    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        """Density of one latent."""
        return _volume(self.mixture(z[None]), grid)

    def resting(self) -> GaussianMixture:
        """The Gaussians where their parts are at rest, all of them visible."""
        home = self.anchor_centres[self.part] + self.offsets
        full = torch.full_like(self.log_scales, VISIBLE_SHARE)
        return _in_angstrom(self, home, full)

    def part_occupancy(self, z: Float[Tensor, "b z"]) -> Float[Tensor, "b a"]:
        """How much of each part is there, of all that could be; 1 is what Gaussians begin with."""
        shown = torch.sigmoid(self.occupancy(self.own_features(), z)[..., 0]) / VISIBLE_SHARE
        mass = self.amplitudes.clamp(min=0) * self.log_scales.exp().square()
        own = one_hot(self.part, self.anchors).to(mass) * mass[:, None]
        return shown @ (own / own.sum(0).clamp(min=1e-30))

    def motions(self, z: Float[Tensor, "b z"]) -> Float[Tensor, "b m 3"]:
        """Matrix and translation of every part, as the rows that :meth:`ride` multiplies."""
        rotation, translation = self.frames(z)
        return torch.cat([rotation.mT, translation[:, :, None]], 2).flatten(1, 2)

    def ride(self, motions: Float[Tensor, "b m 3"]) -> Float[Tensor, "b g 3"]:
        """Where Gaussians are from their anchors' places, box units; linear in the motions."""
        # a product over the parts, of which each Gaussian has one, saves writing a matrix for every pair
        own = one_hot(self.part, self.anchors).to(motions)
        arms = torch.cat([self.offsets, torch.ones_like(self.offsets[:, :1])], 1)
        return (own[:, :, None] * arms[:, None]).flatten(1) @ motions

    def _carried(self, z: Float[Tensor, "b z"]) -> Float[Tensor, "b g 3"]:
        """Centres after the rigid motion of their anchors, box units."""
        home = self.anchor_centres[self.part]
        if not self.anchors:
            return (home + self.offsets).expand(len(z), -1, -1)
        return home + self.ride(self.motions(z))


def _seen_from(
    still: int,
    rotation: Float[Tensor, "b a 3 3"],
    translation: Float[Tensor, "b a 3"],
    centres: Float[Tensor, "a 3"],
) -> tuple[Float[Tensor, "b a 3 3"], Float[Tensor, "b a 3"]]:
    """Frames after the rigid motion that brings one part back to where it rests."""
    back = rotation[:, still].mT
    arms = centres + translation - (centres[still] + translation[:, still])[:, None]
    moved = torch.einsum("bij,baj->bai", back, arms) + centres[still] - centres
    return back[:, None] @ rotation, moved


def _motion_network(features: int, latent: int, network: Network) -> PairNetwork:
    """Of the parts' frames; as parts are few, its pairs cost nothing."""
    if len(network) > 2:
        return PairNetwork(features, latent, _MOTION, 9)
    return PairNetwork(features, latent, (network[0], network[1]), _PUBLISHED_MOTION)


@torch.no_grad()
def _behaviour(
    density: PartMixture | AnchoredMixture, latents: Float[Tensor, "p z"], latents_used: int
) -> Behaviour:
    rest = density.at_rest(latents)
    centres, shown = density.placed(latents[:: max(1, len(latents) // latents_used)])
    mass = rest.amplitudes * rest.scales.square()
    return Behaviour(density.own_features().detach(), rest.centres / density.extent, centres, shown, mass)


@torch.no_grad()
def _at_rest(density: PartMixture | AnchoredMixture, latents: Float[Tensor, "p z"]) -> GaussianMixture:
    middle = (latents - latents.mean(0)).square().sum(1).argmin()
    rest = density.mixture(latents[middle, None])
    some = latents[:: max(1, len(latents) // 1024)]
    total = torch.zeros_like(rest.scales)
    for block in some.split(64):
        total += density.mixture(block).amplitudes.sum(0)
    return GaussianMixture(rest.centres[0], rest.scales, total / len(some))


def _in_angstrom(
    density: PartMixture | AnchoredMixture, centres: Float[Tensor, "*b g 3"], shown: Float[Tensor, "*b g"]
) -> GaussianMixture:
    return GaussianMixture(
        centres * density.extent,
        density.log_scales.exp() * density.extent,
        density.amplitudes.clamp(min=0) * density.unit * shown,  # unlike that of relu, its slope at 0 is 1
    )


def _render(mixture: GaussianMixture, rotation: Float[Tensor, "b 3 3"], grid: Grid) -> Float[Tensor, "b d d"]:
    """Windowed sums where they are compiled, dense products elsewhere."""
    project = project_gaussians_windowed if draws_windows(rotation.device) else project_gaussians
    return project(mixture, rotation, grid)


def _volume(mixture: GaussianMixture, grid: Grid) -> Volume:
    with torch.no_grad():
        return rasterise(GaussianMixture(mixture.centres[0], mixture.scales, mixture.amplitudes[0]), grid)

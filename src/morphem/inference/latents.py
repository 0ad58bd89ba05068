"""Latents of greatest posterior probability in a mixture that is known, from several starts.

Levenberg–Marquardt on each particle's latent, with the contrast of its images free and their poses known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import to_fourier
from morphem.core.types import GaussianMixture, PerParticle, Poses
from morphem.engine import ranks
from morphem.engine.run import Run
from morphem.inference.passes import blocks, put, shared
from morphem.inference.refine import chosen, next_damping, profile
from morphem.inference.search import ramps
from morphem.inference.store import Coefficients, Store
from morphem.inference.templates import Templates, templates, working_grid
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.latent_slopes import mixture_slopes
from morphem.physics.gaussian_slopes import project_gaussians_with_slopes

_BLOCK, _LARGE_BLOCK = 48, 512  # particles solved at a time: on a CPU, and elsewhere
_STEP = 1e-2  # of central differences, in standard deviations of the latents
_SAMPLED = 10_000  # latents from which prototypes are made
_SPREADS = 0.02, 0.5  # of contrasts, least and most, where they differ
_TELLING = 18.0  # nats by which half of the images must tell the molecule from nothing, to leave out any

Mixture = PartMixture | AnchoredMixture


@dataclass(frozen=True)
class LatentConfig:
    """How latents are solved for."""

    prototypes: int = 32
    """Latents typical of the set that every particle is compared with."""
    restarts: int = 1
    """Best of those that a particle is started from, besides its own latent."""
    first_steps: int = 3
    """Steps from every start, after which the best is kept."""
    steps: int = 3
    """Steps from there, where there was a choice."""
    limit: int = 12
    """Finest frequency that prototypes are compared at, frequency pixels."""
    device: str = field(default="auto", metadata={"changes_result": False})
    """cpu, cuda, or auto: cuda where there is one."""

    def __post_init__(self) -> None:
        ranks.named_device(self.device)
        if not 0 <= self.restarts <= self.prototypes or self.first_steps < 1 or self.steps < 0:
            raise ValueError(f"{self}: restarts are some of the prototypes, and at least one step is made")


@dataclass(frozen=True)
class Solved(PerParticle):
    """Latents of particles.

    Attributes:
        mean: Where the posterior is greatest.
        covariance: Of the posterior there (Laplace).
        score: Log of the posterior, up to what all latents share.
        contrast: Mean factor on the signal of a particle's images.
        excess: Mean square by which the images' own likeliest contrasts differ from 1, less what noise gives.
    """

    mean: Float[Tensor, "p z"]
    covariance: Float[Tensor, "p z z"]
    score: Float[Tensor, "p"]
    contrast: Float[Tensor, "p"]
    excess: Float[Tensor, "p"]

    def sound(self) -> Bool[Tensor, "p"]:
        """Particles whose images likelier hold the molecule than nothing; all, where images tell little.

        An image of nothing is told best by a latent at which the molecule vanishes, and would teach that to
        the mixture.
        """
        empty = self.score < 0
        return ~empty if self.score.median() > _TELLING else torch.ones_like(empty)

    def factor(self) -> Float[Tensor, "p z z"]:
        """Of each covariance: times as many normal numbers, it is how far off a latent may be."""
        values, turns = torch.linalg.eigh(self.covariance.double())
        return (turns * values.clamp(min=0).sqrt()[:, None]).to(self.covariance)

    def population(self, spread: float) -> tuple[Prior, float]:
        """What sound particles tell of all: how latents are spread, and how contrasts are about 1.

        A contrast that may differ hides what is absent: how much contrasts differ is learned, within reason,
        unless ``spread``, what was reckoned with before, is 0.
        """
        kept = self[self.sound()]
        found = float(kept.excess.mean().clamp(min=0).sqrt())
        return population_prior(kept), min(max(found, _SPREADS[0]), _SPREADS[1]) if spread else 0.0


@dataclass(frozen=True)
class Prior:
    """What is known of a latent before its images are seen: a normal distribution.

    Attributes:
        mean: Where it is.
        precision: Inverse covariance.
    """

    mean: Float[Tensor, "z"]
    precision: Float[Tensor, "z z"]

    def to(self, device: torch.device) -> Prior:
        """The same on another device."""
        return Prior(self.mean.to(device), self.precision.to(device))

    def log(self, z: Float[Tensor, "b z"]) -> Float[Tensor, "b"]:
        """Log-density, up to a constant."""
        away = z - self.mean
        return -((away @ self.precision) * away).sum(1) / 2


@dataclass(frozen=True)
class Scene:
    """Images at known poses.

    Attributes:
        store: Their low frequencies, whitened.
        poses: Of each image.
        particle: Of each image; images of one particle share a latent.
        limit: Finest frequency used, frequency pixels.
        contrast_spread: Standard deviation of the contrast about 1; 0 where all images have the same.
        prior: Of every latent.
        sound: Images that a mixture is made of; all of them if None.
        posterior: Factor of the covariance of each latent's posterior; latents are exact if None.
    """

    store: Store
    poses: Poses
    particle: Int[Tensor, "n"]
    limit: int
    contrast_spread: float
    prior: Prior
    sound: Bool[Tensor, "n"] | None = None
    posterior: Float[Tensor, "p z z"] | None = None

    def known_from(self, solved: Solved) -> Scene:
        """The same images, with what solving for their latents tells of all of them and of each."""
        prior, spread = solved.population(self.contrast_spread)
        sound, posterior = solved.sound()[self.particle], solved.factor()
        return replace(self, prior=prior, sound=sound, contrast_spread=spread, posterior=posterior)

    def rows_of(self, some: Int[Tensor, "m"]) -> Int[Tensor, "k"]:
        """The images of some particles."""
        return torch.nonzero(torch.isin(self.particle, some))[:, 0]

    def of(self, some: Int[Tensor, "m"]) -> Scene:
        """Only the images of some particles, which are numbered anew."""
        rows, number = self.rows_of(some), torch.full((int(self.particle.max()) + 1,), -1)
        number[some] = torch.arange(len(some))
        return replace(
            self,
            store=self.store.select(rows),
            poses=self.poses[rows],
            particle=number[self.particle[rows]],
            sound=None,
            posterior=None if self.posterior is None else self.posterior[some],
        )

    def sound_ones(self, rows: Int[Tensor, "m"]) -> Int[Tensor, "k"]:
        """Those of some images that are sound."""
        return rows if self.sound is None else rows[self.sound[rows]]

    def sound_particles(self) -> Int[Tensor, "m"]:
        """Particles that sound images show, in rising order."""
        return self.particle[self.sound_ones(torch.arange(len(self.particle)))].unique()


def solve_latents(
    density: Mixture,
    latents: Float[Tensor, "p z"],
    scene: Scene,
    config: LatentConfig,
    run: Run | None,
    typical: Float[Tensor, "k z"] | None = None,
) -> Solved:
    """Each particle's likeliest latent, from the one it has and from its best prototypes.

    Cost: ``(1 + restarts) · first_steps + steps`` times the projection and its ``z`` slopes, and one slice at
    low resolution for each prototype.

    Args:
        density: The mixture, which stays as it is.
        latents: Where to start from.
        scene: The images.
        config: How many starts and steps.
        run: Told how far the work is.
        typical: Latents that prototypes are made of; those to start from, of sound images, unless given.
    """
    particles, width = latents.shape
    numbers = torch.zeros(3, particles)
    found = Solved(torch.zeros_like(latents), torch.zeros(particles, width, width), *numbers)
    if typical is None:
        typical = latents[scene.sound_particles()]
    device = ranks.own_device(config.device)
    size = _BLOCK if device.type == "cpu" else _LARGE_BLOCK
    solver = _Solver(density.to(device), latents, scene, config, typical)
    for block in blocks(torch.arange(particles), size, run, "latents"):
        put(found, block, solver.best(block).to("cpu"))
    density.cpu()
    return shared(found)


@dataclass(frozen=True)
class _Judged(PerParticle):
    solved: Solved
    pull: Float[Tensor, "b z"]
    curvature: Float[Tensor, "b z z"]


@dataclass(frozen=True)
class _Sights:
    """Images of a few particles, and whose each is."""

    images: Coefficients
    poses: Poses
    owner: Int[Tensor, "i"]
    count: int

    def of_each(self, values: Float[Tensor, "i *k"]) -> Float[Tensor, "b *k"]:
        """Sums over each particle's images."""
        return values.new_zeros(self.count, *values.shape[1:]).index_add_(0, self.owner, values)


class _Solver:
    """Latents of a few particles at a time."""

    def __init__(
        self,
        density: Mixture,
        latents: Float[Tensor, "p z"],
        scene: Scene,
        config: LatentConfig,
        typical: Float[Tensor, "k z"],
    ) -> None:
        self.device = density.unit.device
        latents, typical = latents.to(self.device), typical.to(self.device)
        scene = replace(scene, prior=scene.prior.to(self.device))
        self.density, self.latents, self.scene, self.config = density, latents, scene, config
        self.grid = working_grid(scene.store.disc.grid, scene.limit)
        self.spread = typical.std(0, correction=0).clamp(min=1e-6)
        self.order = scene.particle.argsort(stable=True)
        bounds = torch.arange(len(latents) + 1)
        self.first = torch.searchsorted(scene.particle[self.order].contiguous(), bounds)
        self.prototypes = prototypes(typical, config.prototypes) if config.restarts else typical[:0]
        self.maps = self._templates() if config.restarts else None

    @torch.no_grad()
    def best(self, rows: Int[Tensor, "b"]) -> Solved:
        """The best of all starts, gone on with."""
        sights = self._sights(rows)
        best = None
        for start in self._starts(rows, sights):
            found = self._climb(sights, start, self.config.first_steps)
            best = found if best is None else chosen(found.solved.score > best.solved.score, found, best)
        assert best is not None
        again = self.config.steps if self.maps is not None else 0
        return self._climb(sights, best.solved.mean, again).solved if again else best.solved

    def _sights(self, rows: Int[Tensor, "b"]) -> _Sights:
        spans = [self.order[self.first[p] : self.first[p + 1]] for p in rows.tolist()]
        owner = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor([len(span) for span in spans]))
        images = torch.cat(spans)
        found = self.scene.store.read(images, self.scene.limit, self.device)
        poses = self.scene.poses[images].to(self.device)
        return _Sights(found, poses, owner.to(self.device), len(rows))

    def _starts(self, rows: Int[Tensor, "b"], sights: _Sights) -> Iterator[Float[Tensor, "b z"]]:
        yield self.latents[rows]
        if self.maps is None:
            return
        kept = self.maps.plane.shape[0]
        ramp = ramps(self.scene.store.disc, self.maps.limit, sights.poses.shift)
        transfer, values = sights.images.transfer[:, :kept], sights.images.values[:, :kept]
        slices = self.maps.slices(sights.poses.rotation).transpose(0, 1) * (transfer * ramp)[:, None]
        flat, seen = torch.view_as_real(slices).flatten(2), torch.view_as_real(values).flatten(1)
        power, match = flat.square().sum(2), (flat @ seen[..., None])[..., 0]
        pairs = torch.stack([power, match, match, seen.square().sum(1)[:, None].expand_as(power)], -1)
        score = profile(pairs.view(-1, 2, 2), self.scene.contrast_spread).score.view_as(power)
        score = sights.of_each(score) + self.scene.prior.log(self.prototypes)
        for choice in score.topk(self.config.restarts).indices.T:
            yield self.prototypes[choice]

    def _climb(self, sights: _Sights, start: Float[Tensor, "b z"], steps: int) -> _Judged:
        here = self._judged(sights, start)
        damping = start.new_full((len(start),), 1e-2)
        for _ in range(steps):
            own = here.curvature.diagonal(dim1=1, dim2=2)
            damped = here.curvature + torch.diag_embed(damping[:, None] * own)
            there = self._judged(sights, here.solved.mean + torch.linalg.solve(damped, here.pull))
            better = there.solved.score > here.solved.score
            here = chosen(better, there, here)
            damping = next_damping(damping, better)
        return here

    def _judged(self, sights: _Sights, z: Float[Tensor, "b z"]) -> _Judged:
        columns = torch.view_as_real(self._columns(sights, z)).flatten(2)
        gram = columns @ columns.mT
        found = profile(gram, self.scene.contrast_spread)
        prior = self.scene.prior
        # twice: Σ|y − c x|² counts both parts of a coefficient, of variance one half each
        curvature = sights.of_each(2 * found.curvature) + prior.precision
        pull = sights.of_each(2 * found.pull) - (z - prior.mean) @ prior.precision
        score = sights.of_each(found.score) + prior.log(z)
        images = sights.of_each(torch.ones_like(found.score)).clamp(min=1)
        contrast, excess = (sights.of_each(each) / images for each in (found.contrast, _excess(gram)))
        return _Judged(Solved(z, torch.linalg.inv(curvature), score, contrast, excess), pull, curvature)

    def _columns(self, sights: _Sights, z: Float[Tensor, "b z"]) -> Complex[Tensor, "i k m"]:
        """Slopes to each latent, the model, and the images."""
        mixture, velocities, slopes = mixture_slopes(self.density, z, _STEP * self.spread)
        owner, store, limit = sights.owner, self.scene.store, self.scene.limit
        seen = GaussianMixture(mixture.centres[owner], mixture.scales, mixture.amplitudes[owner])
        drawn = project_gaussians_with_slopes(
            seen, velocities[owner], slopes[owner], sights.poses.rotation, self.grid
        )
        spectra = at_disc(to_fourier(drawn), store, limit)
        filter_ = sights.images.transfer * ramps(store.disc, limit, sights.poses.shift)
        model = spectra * filter_[:, None]
        return torch.cat([model[:, 1:], model[:, :1], sights.images.values[:, None]], 1)

    def _templates(self) -> Templates:
        limit = min(self.config.limit, self.scene.limit)
        volumes = [self.density.volume(z, self.grid) for z in self.prototypes]
        return templates(volumes, self.scene.store.disc, limit)


def _excess(gram: Float[Tensor, "i k k"]) -> Float[Tensor, "i"]:
    """Square of how far each image's likeliest contrast is from 1, less its variance."""
    power = gram[:, -2, -2].clamp(min=1)
    return (gram[:, -2, -1] / power - 1).square() - 0.5 / power


def weak_prior(width: int, precision: float) -> Prior:
    """One precision about zero for each number of a latent."""
    return Prior(torch.zeros(width), precision * torch.eye(width))


def population_prior(solved: Solved) -> Prior:
    """How latents are spread over the particles: their means, and what their posteriors leave open.

    One step of expectation–maximisation of a normal prior. Where few images tell a latent, that pulls it
    towards those of other particles, and numbers that no image tells vanish.
    """
    covariance = torch.cov(solved.mean.mT).view_as(solved.covariance[0]) + solved.covariance.mean(0)
    return Prior(solved.mean.mean(0), torch.linalg.inv(covariance))


def at_disc(spectra: Complex[Tensor, "*b d h"], store: Store, limit: int) -> Complex[Tensor, "*b m"]:
    """Coefficients within ``limit`` of spectra on the working grid, in the units of a store."""
    box, images = spectra.shape[-2], store.disc.grid.box
    x, y = store.disc.places[: store.disc.count(limit)].T.to(spectra.device)
    # sums over fewer, larger pixels; stored transforms are divided by their box
    return spectra[..., y % box, x] * (images / box**2)


def project_at_disc(
    density: Mixture, z: Float[Tensor, "b z"], poses: Poses, store: Store, limit: int
) -> Complex[Tensor, "b m"]:
    """Coefficients of the projections of each latent's density, with gradients; shifts are left out."""
    grid = working_grid(store.disc.grid, limit)
    return at_disc(density.project(z, poses.rotation, grid), store, limit)


def prototypes(latents: Float[Tensor, "p z"], count: int) -> Float[Tensor, "k z"]:
    """Centres of k-means clusters of latents."""
    from sklearn.cluster import KMeans

    some = latents[:: max(1, len(latents) // _SAMPLED)]
    distinct = len(some.unique(dim=0))
    search = KMeans(min(count, distinct), random_state=0).fit(some.double().cpu().numpy())
    return torch.from_numpy(search.cluster_centers_).to(latents)

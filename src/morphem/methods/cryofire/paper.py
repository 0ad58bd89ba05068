"""CryoFIRE as published: an encoder reads pose and latent off each image, a neural field explains it.

Both are trained together, on images alone (Levy et al., NeurIPS 2022, arXiv 2210.07387).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from morphem.core.fourier import half_plane_weights, resize_map, shells_3d, to_fourier, to_fourier_3d
from morphem.core.grid import Grid
from morphem.core.types import Particles, PerParticle, Poses, Volume
from morphem.data.feed import feed
from morphem.data.stack import ParticleStack, order
from morphem.engine.descend import AbstractObjective, DescentConfig, descend
from morphem.engine.ranks import named_device, own_device
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.models.encoders import ConformationHead, ImageEncoder, RotationHead, TranslationHead
from morphem.models.neural_density import HartleyField
from morphem.physics.hartley import half_turn, half_turn_rotation
from morphem.physics.imaging import form_image

SUSPICIOUS_SYMMETRY = 0.95  # likeness of a map to its mirror image above which a run warns
MIXED_PRECISION = ("cuda",)  # kinds of devices that train in bfloat16

_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class PaperConfig:
    """CryoFIRE as published; the defaults are those of its largest sets at 128 pixels."""

    latent: int = 8
    """Width of a particle's latent."""
    pose_images: int = 1_500_000
    """Images seen in the first stage, which learns poses while latents are drawn at random."""
    joint_images: int = 2_000_000
    """Images seen in the second stage, which learns poses and latents."""
    pose_epochs: int = 0
    """Passes over all images in the first stage, instead of a number of images; 0 goes by the number."""
    joint_epochs: int = 0
    """Passes over all images in the second stage; 0 goes by the number of images."""
    batch_size: int = 128
    """Images per step."""
    learning_rate: float = 1e-4
    """Of Adam, for everything and throughout."""
    symmetric: bool = True
    """Whether each image is also encoded rotated by π, and the better explanation of the two is trained."""
    variational: bool = False
    """Whether the encoder gives a distribution of latents, drawn from in training, held close to N(0, I)."""
    divergence: float = 1.0
    """Weight of that distribution's divergence from N(0, I); 1 makes a bound of the likelihood."""
    first_radius: int = 0
    """Shells in use at the start, growing to all of them over the first stage; 0 uses all throughout."""
    largest_shift: float = 0.0
    """What no component of a shift exceeds, Å; 0 stands for a tenth of the box."""
    hidden: int = 256
    """Units of each residual layer of the field."""
    layers: int = 3
    """Residual layers of the field."""
    seed: int = 0
    """Of every random choice."""
    checkpoint_minutes: float = field(default=5.0, metadata={"changes_result": False})
    """Time between checkpoints, besides those at the end of each epoch."""
    device: str = field(default="auto", metadata={"changes_result": False})
    """cpu, cuda, or auto: cuda where there is one."""

    def __post_init__(self) -> None:
        named_device(self.device)
        if self.latent < 1:
            raise ValueError(f"latent {self.latent}: a latent has at least one number")
        if min(self.pose_images, self.joint_images) < 1 or min(self.pose_epochs, self.joint_epochs) < 0:
            raise ValueError(
                "pose_images and joint_images are 1 or more, pose_epochs and joint_epochs 0 or more"
            )
        if self.first_radius < 0 or self.largest_shift < 0:
            raise ValueError("first_radius (shells) and largest_shift (Å) are 0 or more")


def reconstruct_paper(stack: ParticleStack, config: PaperConfig, run: Run) -> Reconstruction:
    """Learn poses while latents are random, then poses and latents; then look at every image once more."""
    autoencoder = _started(stack.grid, config)
    part, descent = _stage(stack, config, config.pose_epochs, config.pose_images)
    blind = AmortisedObjective(autoencoder, config, drawn=descent.epochs * len(part))
    descend(blind, part, descent, run.stage("poses"))
    part, descent = _stage(stack, config, config.joint_epochs, config.joint_images)
    objective = descend(AmortisedObjective(autoencoder, config), part, descent, run.stage("joint"))
    poses, latents = infer(objective, stack, config.device)
    mean = mean_latents(latents, stack.particle)
    likeness = report_symmetry(autoencoder.density.volume(mean.mean(0), stack.grid))
    provenance = {**run.provenance(), "planar_symmetry": likeness}
    return Reconstruction(poses, mean, autoencoder.density, stack.grid, run.history(), provenance)


def trained(grid: Grid, config: PaperConfig, run: Run) -> AmortisedObjective:
    """What the finished run left, encoder and all, for :func:`infer`."""
    objective = AmortisedObjective(_started(grid, config), config)
    objective.load_state_dict(run.stage("joint").load_result()[0])
    return objective


@torch.no_grad()
def infer(
    objective: AmortisedObjective, stack: ParticleStack, device: str = "auto", batch_size: int = 256
) -> tuple[Poses, Float[Tensor, "n z"]]:
    """Pose and latent of every image, of sets too that were never trained on; nothing is learned.

    Images are prepared as those of the training were. With the symmetric loss, the poses of the image and of
    the image rotated by π are both tried, and the better explanation wins.
    """
    autoencoder, where = objective.autoencoder, own_device(device)
    if stack.grid != autoencoder.grid:
        raise ValueError(f"images on {stack.grid}, the encoder was trained on {autoencoder.grid}; resample")
    autoencoder.to(where).eval()
    batches = feed(stack, torch.arange(len(stack)).split(batch_size), where)
    found = [autoencoder.best(batch, stack.grid.box // 2).to("cpu") for batch in batches]
    autoencoder.cpu().train()
    rotation, shift, latent = (
        torch.cat([getattr(guesses, name) for guesses in found]) for name in ("rotation", "shift", "latent")
    )
    return Poses(rotation, shift), latent


@dataclass(frozen=True)
class Guesses(PerParticle):
    """What the encoder makes of images.

    Attributes:
        rotation: As in :class:`morphem.core.types.Poses`.
        shift: Å.
        latent: What the field is asked for.
        divergence: Of the latent's distribution from N(0, I); 0 where there is none.
    """

    rotation: Float[Tensor, "n 3 3"]
    shift: Float[Tensor, "n 2"]
    latent: Float[Tensor, "n z"]
    divergence: Float[Tensor, "n"]


class Autoencoder(nn.Module):
    """Encoder of images and field that decodes them.

    Args:
        grid: Of the images.
        config: Of the method.
    """

    def __init__(self, grid: Grid, config: PaperConfig) -> None:
        super().__init__()
        self.grid = grid
        self.config = config
        self.encoder = ImageEncoder(grid.box)
        self.conformation = ConformationHead(config.latent)
        self.rotation = RotationHead(config.latent)
        self.translation = TranslationHead(config.latent, config.largest_shift or grid.extent / 10)
        network = (config.hidden, config.layers)
        self.density = HartleyField(grid.box, grid.pixel_size, config.latent, network, config.seed)

    def guesses(self, images: Float[Tensor, "b d d"], latent: Float[Tensor, "b z"] | None = None) -> Guesses:
        """What each image says, then (symmetric loss) what each says when rotated by π, turned back.

        Latents are encoded unless given. They are the mean of their distribution, in training a draw from it.
        """
        sides = 2 if self.config.symmetric else 1
        views = torch.cat([images, half_turn(images)][:sides])
        # batch normalisation wants at least two images to take the variance of
        features = self.encoder(views if len(views) > 1 else views.repeat(2, 1, 1))[: len(views)]
        if latent is None:
            z, divergence = self._latents(features)
        else:
            z = latent.repeat(sides, 1)
            divergence = torch.zeros_like(z[:, 0])
        rotation, shift = self.rotation(features, z)[:, 0], self.translation(features, z)
        turned = torch.arange(len(views), device=images.device) >= len(images)
        return Guesses(
            rotation=torch.where(turned[:, None, None], half_turn_rotation(rotation), rotation),
            shift=torch.where(turned[:, None], -shift, shift),
            latent=z,
            divergence=divergence,
        )

    def best(self, batch: Particles, radius: int, latent: Float[Tensor, "b z"] | None = None) -> Guesses:
        """The guess about each image that explains it better; gradients pass through that one alone."""
        guesses = self.guesses(batch.images, latent)
        if not self.config.symmetric:
            return guesses
        n = len(batch)
        with torch.no_grad():
            upright, turned = (self.errors(part, batch, radius) for part in (guesses[:n], guesses[n:]))
        return guesses[torch.arange(n, device=turned.device) + n * (turned < upright)]

    def errors(self, guesses: Guesses, batch: Particles, radius: int) -> Float[Tensor, "b"]:
        """Mean squared residual of each image's coefficients within ``radius`` shells, in units of the noise.

        A perfect model leaves 1, as images have noise of unit variance. DC is left out.
        """
        grid = batch.grid
        slices = self.density.slices(guesses.latent, guesses.rotation, grid, radius)
        residual = form_image(slices, batch.optics, guesses.shift, grid) - to_fourier(batch.images)
        power = residual.real.square() + residual.imag.square()
        weights = half_plane_weights(grid.box, power.device) * (grid.shells(power.device) < radius)
        weights[0, 0] = 0
        return (power * weights).sum((-2, -1)) / (weights.sum() * grid.box**2)

    def _latents(self, features: Float[Tensor, "b f"]) -> tuple[Float[Tensor, "b z"], Float[Tensor, "b"]]:
        """Encoded latents, and the divergence of their distribution, 0 if there is none."""
        mean, log_variance = (part.float() for part in self.conformation(features))
        if not self.config.variational:
            return mean, torch.zeros_like(mean[:, 0])
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
        spread = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return mean + (log_variance / 2).exp() * spread, divergence


class AmortisedObjective(AbstractObjective):
    """Residual of the images as encoded and decoded; variational, with the divergence of the latents.

    Batch normalisation sees a process's own share of the batch, so that runs on several processes differ from
    a run on one by more than rounding; what the main process has averaged of it is kept.

    Args:
        autoencoder: What is trained.
        config: Of the method.
        drawn: Images in whose course poses are learned with latents drawn from N(0, I); 0 encodes latents.
    """

    def __init__(self, autoencoder: Autoencoder, config: PaperConfig, drawn: int = 0) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.config = config
        self.drawn = drawn

    def terms(self, batch: Particles, seen: int) -> dict[str, Tensor]:
        """``image``, 1 when only noise is left, and ``kl`` in the same unit."""
        device, radius = batch.images.device, self.radius(seen)
        latent = torch.randn(len(batch), self.config.latent, device=device) if self.drawn else None
        # bfloat16: with the range of single precision, no gradient needs scaling. No cache: weights are first
        # used where no gradient is recorded, and a copy kept from there would have none
        mixed = device.type in MIXED_PRECISION
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed, cache_enabled=False):
            best = self.autoencoder.best(batch, radius, latent)
            terms = {"image": self.autoencoder.errors(best, batch, radius).mean()}
        if self.config.variational and not self.drawn:
            # half the squared residuals make the log-likelihood, hence the two
            terms["kl"] = 2 * self.config.divergence * best.divergence.mean() / (math.pi * radius**2)
        return terms

    def parameter_groups(self) -> list[dict[str, object]]:
        """All networks; that of the latents not while these are drawn."""
        model = self.autoencoder
        learned = [model.encoder, model.rotation, model.translation, model.density]
        modules = learned if self.drawn else [*learned, model.conformation]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return [{"params": parameters, "lr": self.config.learning_rate}]

    def radius(self, seen: int) -> int:
        """Shells in use."""
        whole, first = self.autoencoder.grid.box // 2, self.config.first_radius
        if not first or not self.drawn:
            return whole
        return min(whole, math.ceil(first + (whole - first) * seen / self.drawn))


def mean_latents(latents: Float[Tensor, "n z"], particle: Int[Tensor, "n"]) -> Float[Tensor, "p z"]:
    """Mean latent of each particle's images."""
    total = latents.new_zeros(int(particle.max()) + 1, latents.shape[1]).index_add_(0, particle, latents)
    return total / torch.bincount(particle)[:, None]


def report_symmetry(volume: Volume) -> float:
    """Likeness of the map to its mirror image, with a warning where training may be stuck in it."""
    likeness = planar_symmetry(volume)
    if likeness > SUSPICIOUS_SYMMETRY:
        _LOG.warning(
            "the map is its own mirror image (mean shell correlation %.2f): poses may be stuck in a spurious "
            "planar symmetry; try another seed, or longer training of poses",
            likeness,
        )
    return likeness


@torch.no_grad()
def planar_symmetry(volume: Volume) -> float:
    """Mean shell correlation of a map with its reflection in the plane that suits it best.

    1 for a map that is its own mirror image. Planes pass through the centre of mass of what is positive.
    Shells run from 2 to 6, or to a quarter of the box, and count alike; what is spherically symmetric, which
    every map shares with its mirror image, is taken out of each.
    """
    small = resize_map(volume.voxels.float(), min(volume.grid.box, 24))
    normals = _hemisphere(600).to(small)
    for step in (0.03, 0.01, 0.003):  # rad; directions of the first round lie 0.1 apart
        best = normals[_mirror_likeness(small, normals).argmax()]
        normals = _around(best, step)
    return float(_mirror_likeness(small, normals).max())


def _mirror_likeness(voxels: Float[Tensor, "d d d"], normals: Float[Tensor, "m 3"]) -> Float[Tensor, "m"]:
    """Correlations with the reflections in the planes of these normals (x, y, z)."""
    axis = (torch.arange(len(voxels)) - len(voxels) // 2).to(voxels)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], -1).flatten(0, 2)
    mass = voxels.clamp(min=0).flatten()
    centre = mass @ points / mass.sum()
    upright = _anisotropic(_sampled(voxels, centre + points[None]))[0]
    found = []
    for some in normals.split(50):
        heights = torch.einsum("pi,mi->mp", points, some)
        reflected = centre + points - 2 * heights[..., None] * some[:, None]
        found.append(_anisotropic(_sampled(voxels, reflected)) @ upright)
    return torch.cat(found)


def _sampled(voxels: Float[Tensor, "d d d"], points: Float[Tensor, "m p 3"]) -> Float[Tensor, "m d d d"]:
    """Trilinear values at points in voxels from the origin, in the order of a map's."""
    d = len(voxels)
    places = (2 * (points + d // 2) / (d - 1) - 1).unflatten(1, (d, d, d))
    source = voxels.expand(len(points), 1, d, d, d)
    return torch.nn.functional.grid_sample(source, places, align_corners=True)[:, 0]


def _anisotropic(voxels: Float[Tensor, "m d d d"]) -> Float[Tensor, "m k"]:
    """Coefficients by shell less the shell's mean, scaled so that products are mean shell correlations."""
    d = voxels.shape[-1]
    shells, weights = shells_3d(d, voxels.device), half_plane_weights(d, voxels.device).expand(d, -1, -1)
    spectra, used = to_fourier_3d(voxels), range(2, d // 4 + 1)
    rows = []
    for shell in used:
        inside = shells == shell
        weight, values = weights[inside], spectra[:, inside]
        mean = (values * weight).sum(1, keepdim=True) / weight.sum()
        row = torch.view_as_real((values - mean) * weight.sqrt()).flatten(1)
        rows.append(torch.nn.functional.normalize(row, dim=1) / len(used) ** 0.5)
    return torch.cat(rows, 1)


def _hemisphere(count: int) -> Float[Tensor, "m 3"]:
    """Directions spread evenly over half a sphere, along a spiral of golden angle."""
    k = torch.arange(count) + 0.5
    z, turn = k / count, k * math.pi * (3 - 5**0.5)
    across = (1 - z.square()).sqrt()
    return torch.stack([across * turn.cos(), across * turn.sin(), z], -1)


def _around(direction: Float[Tensor, "3"], step: float) -> Float[Tensor, "m 3"]:
    """A five by five patch of directions, neighbours ``step`` rad apart."""
    least = torch.zeros_like(direction)
    least[direction.abs().argmin()] = 1
    first = torch.nn.functional.normalize(torch.linalg.cross(direction, least), dim=0)
    steps = step * torch.arange(-2.0, 3.0, device=direction.device)
    patch = torch.cartesian_prod(steps, steps) @ torch.stack([first, torch.linalg.cross(direction, first)])
    return torch.nn.functional.normalize(direction + patch, dim=1)


def _started(grid: Grid, config: PaperConfig) -> Autoencoder:
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        return Autoencoder(grid, config)


def _stage(
    stack: ParticleStack, config: PaperConfig, epochs: int, images: int
) -> tuple[ParticleStack, DescentConfig]:
    """Images of a stage and its descent: whole epochs, or one over a random share of a set that is large."""
    if not epochs and images < len(stack):
        stack = stack.select(order(len(stack), config.seed, 0)[:images].sort().values)
    descent = DescentConfig(
        epochs=epochs or max(1, math.ceil(images / len(stack))),
        batch_size=config.batch_size,
        seed=config.seed,
        learning_rate_floor=1.0,
        checkpoint_minutes=config.checkpoint_minutes,
        device=config.device,
    )
    return stack, descent

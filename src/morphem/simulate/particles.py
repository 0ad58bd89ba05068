"""Particle images of an ensemble, each a pure function of a seed and its own number."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights, to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_quaternion, from_rotation_vector
from morphem.core.types import Frame, Optics, PerParticle, Poses, Volume
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.physics.imaging import form_image
from morphem.simulate.ensembles import AbstractEnsemble

_BLOCK = 256  # images made at a time
_CALIBRATION = 256  # images that set the signal's power; numbered from −1 downwards
_PARAMETERS, _NOISE = 1, 2  # streams of random numbers


@dataclass(frozen=True)
class Conditions:
    """How particles were seen. Defaults are EMPIAR-10076's defocus, white noise and exact poses."""

    snr: float = 0.1
    """Variance of the signal after the CTF, over the whole box, to that of the noise."""
    shift: float = 8.0
    """Standard deviation of the displacement along each axis, Å."""
    voltage_kv: float = 300.0
    """Acceleration voltage, kV."""
    cs_mm: float = 2.7
    """Spherical aberration, mm."""
    amplitude_contrast: float = 0.1
    """Fraction, 0 to 1."""
    log_defocus: float = 9.753
    """Mean natural logarithm of the defocus in Å."""
    defocus_spread: float = 0.261
    """Standard deviation of that logarithm."""
    astigmatism: float = 381.0
    """Median difference of the two defoci, Å."""
    b_factor: float = 0.0
    """Envelope ``exp(−B s²/4)``, Å²."""
    contrast_spread: float = 0.0
    """Standard deviation of the logarithm of an unreported factor on each image's signal."""
    rotation_error: float = 0.0
    """Standard deviation of the reported rotations about each axis, rad."""
    shift_error: float = 0.0
    """Standard deviation of the reported shifts along each axis, Å."""
    junk: float = 0.0
    """Share of images without a particle."""
    noise_colour: float = 1.0
    """Power of the noise at zero frequency to that at Nyquist; 1 is white."""

    def __post_init__(self) -> None:
        if self.snr <= 0 or self.noise_colour <= 0:
            raise ValueError(f"snr {self.snr} and noise_colour {self.noise_colour} must be above 0")
        if not 0 <= self.junk < 1:
            raise ValueError(f"junk {self.junk} is a share of the images, from 0 to below 1")


@dataclass(frozen=True)
class Truth(PerParticle):
    """What is known of simulated particles, whatever their metadata reports.

    Attributes:
        state: Coordinates in the ensemble's terms.
        poses: As the images were made.
        optics: Likewise, with each image's own contrast in ``scale``.
        intact: False for junk.
        number: Which image of the endless set; image i is the same in every set of the seed.
        ensemble: The molecule.
        grid: Sampling of the images.
        seed: Of everything random.
        conditions: How the particles were seen.
        unit: Factor on the ensemble's amplitudes that makes the noise variance 1.
    """

    state: Float[Tensor, "n q"]
    poses: Poses
    optics: Optics
    intact: Bool[Tensor, "n"]
    number: Int[Tensor, "n"]
    ensemble: AbstractEnsemble
    grid: Grid
    seed: int
    conditions: Conditions
    unit: float = 1.0

    def volume(self, state: Float[Tensor, "q"], frame: Frame | None = None) -> Volume:
        """Exact band-limited density of a state, in units of the noise; in another frame if one is given."""
        density = self.ensemble.map(state, self.grid, frame)
        return Volume(density.voxels * self.unit, self.grid)


def simulate(
    ensemble: AbstractEnsemble, n: int, grid: Grid, seed: int = 0, conditions: Conditions = Conditions()
) -> tuple[ParticleStack, Truth]:
    """Particles in random order of states with noise variance 1 and protein positive, and their truth."""
    truth = known_truth(ensemble, torch.arange(n), grid, seed, conditions)
    images = torch.empty(n, grid.box, grid.box)
    for rows in torch.arange(n).split(_BLOCK):
        images[rows] = photograph(truth[rows])
    return stack_in_memory(images, grid, reported_optics(truth), reported_poses(truth)), truth


def known_truth(
    ensemble: AbstractEnsemble, number: Int[Tensor, "n"], grid: Grid, seed: int, conditions: Conditions
) -> Truth:
    """State, pose and optics of images by number; no image is made but the few that set the unit."""
    calibration = -1 - torch.arange(_CALIBRATION)
    sample = _drawn(ensemble, calibration, grid, seed, replace(conditions, junk=0, contrast_spread=0))
    power = _signal(sample).var((-2, -1)).mean()
    truth = _drawn(ensemble, number, grid, seed, conditions)
    return replace(truth, unit=float((conditions.snr / power).sqrt()))


def photograph(truth: Truth) -> Float[Tensor, "n d d"]:
    """Images with noise; each depends on nothing but the seed, the conditions and its own number."""
    return _signal(truth) * truth.intact[:, None, None] + _noise(truth)


def reported_poses(truth: Truth) -> Poses:
    """True poses with the errors that the conditions ask for."""
    normal, _ = _random(truth.number, truth.seed)
    turn = from_rotation_vector(truth.conditions.rotation_error * normal[:, 9:12]).float()
    shift = truth.poses.shift + truth.conditions.shift_error * normal[:, 12:14].float()
    return Poses(turn @ truth.poses.rotation, shift)


def reported_optics(truth: Truth) -> Optics:
    """True optics, but the contrast of single images."""
    return replace(truth.optics, scale=torch.ones(len(truth)))


def _drawn(
    ensemble: AbstractEnsemble, number: Int[Tensor, "n"], grid: Grid, seed: int, conditions: Conditions
) -> Truth:
    """Truth of images by number, in the ensemble's own amplitudes."""
    normal, uniform = _random(number, seed)
    return Truth(
        state=ensemble.states(uniform[:, 2 : 2 + len(ensemble.coordinates)]).float(),
        poses=Poses(from_quaternion(normal[:, :4]).float(), conditions.shift * normal[:, 4:6].float()),
        optics=_optics(normal, uniform, conditions),
        intact=uniform[:, 1] >= conditions.junk,
        number=number,
        ensemble=ensemble,
        grid=grid,
        seed=seed,
        conditions=conditions,
    )


def _optics(normal: Float[Tensor, "n r"], uniform: Float[Tensor, "n u"], conditions: Conditions) -> Optics:
    """Lognormal defocus and astigmatism (its logarithm spread by 0.6), axes along any direction."""
    mean = torch.exp(conditions.log_defocus + conditions.defocus_spread * normal[:, 6])
    difference = conditions.astigmatism * torch.exp(0.6 * normal[:, 7])
    same = torch.ones(len(normal))
    return Optics(
        defocus_u=(mean + difference / 2).float(),
        defocus_v=(mean - difference / 2).float(),
        astigmatism=(torch.pi * uniform[:, 0]).float(),
        voltage_kv=conditions.voltage_kv * same,
        cs_mm=conditions.cs_mm * same,
        amplitude_contrast=conditions.amplitude_contrast * same,
        phase_shift=0 * same,
        b_factor=conditions.b_factor * same,
        scale=torch.exp(conditions.contrast_spread * normal[:, 8]).float(),
    )


def _signal(truth: Truth) -> Float[Tensor, "n d d"]:
    """Noise-free images."""
    projection = truth.ensemble.projections(truth.state, truth.poses.rotation, truth.grid) * truth.unit
    return to_real(form_image(projection, truth.optics, truth.poses.shift, truth.grid))


def _noise(truth: Truth) -> Float[Tensor, "n d d"]:
    """Gaussian noise of variance 1 whose power falls as ``colour^(−k/Nyquist)``."""
    grid, colour = truth.grid, truth.conditions.noise_colour
    generator = torch.Generator()
    noise = torch.empty(len(truth), grid.box, grid.box)
    for image, i in zip(noise, truth.number.tolist(), strict=True):
        image.normal_(generator=generator.manual_seed(_key(truth.seed, _NOISE, i)))
    if colour == 1:
        return noise
    amplitude = colour ** (-grid.frequencies().norm(dim=-1) / grid.nyquist / 2)
    mean_power = (amplitude.square() * half_plane_weights(grid.box)).sum() / grid.box**2
    return to_real(to_fourier(noise) * amplitude / mean_power.sqrt())


def _random(number: Int[Tensor, "n"], seed: int) -> tuple[Float[Tensor, "n r"], Float[Tensor, "n u"]]:
    """Sixteen normal and eight uniform numbers of each image."""
    generator = torch.Generator()
    normal = torch.empty(len(number), 16, dtype=torch.float64)
    uniform = torch.empty(len(number), 8, dtype=torch.float64)
    for i, one, other in zip(number.tolist(), normal, uniform, strict=True):
        generator.manual_seed(_key(seed, _PARAMETERS, i))
        one.normal_(generator=generator)
        other.uniform_(generator=generator)
    return normal, uniform


def _key(seed: int, stream: int, i: int) -> int:
    """A number of 63 bits that mixes its inputs (the finaliser of SplitMix64), to seed image i alone."""
    mask = 2**64 - 1
    key = (seed * 0x9E3779B97F4A7C15 + i * 0xD1B54A32D192ED03 + stream * 0x8CB92BA72F3D8DD7) & mask
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & mask
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & mask
    return (key ^ (key >> 31)) >> 1

"""Particle images of an ensemble, each a pure function of a seed and its own number."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.fourier import half_plane_weights, radial_mean, to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_quaternion, from_rotation_vector
from morphem.core.types import Frame, Optics, PerParticle, Poses, Volume
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.physics.imaging import form_image
from morphem.physics.noise import whitening_filter
from morphem.simulate.counters import noise_seed, uniform_numbers
from morphem.simulate.ensembles import AbstractEnsemble
from morphem.simulate.options import Conditions

_BLOCK = 256  # images made at a time
_CALIBRATION = 256  # images that set the signal's power; numbered from −1 downwards


@dataclass(frozen=True)
class NoiseSpectra:
    """Variance of the noise by shell for each optics group; a mean of 1 over the image's frequencies."""

    by_group: Float[Tensor, "k s"]


@dataclass(frozen=True)
class Truth(PerParticle):
    """What is known of simulated particles, whatever their metadata reports.

    Attributes:
        state: Coordinates in the ensemble's terms.
        poses: As the images were made.
        optics: Likewise, with each image's own contrast in ``scale``.
        intact: False for junk.
        number: Which image of the endless set; image i is the same in every set of the seed.
        group: Optics group.
        ensemble: The molecule.
        grid: Sampling of the images.
        seed: Of everything random.
        conditions: How the particles were seen.
        unit: Factor on the ensemble's amplitudes that makes the noise variance 1.
        noise: Measured spectrum of each optics group's noise; as the conditions say where there is none.
        source: Particle file on whose rows they were simulated, if any.
    """

    state: Float[Tensor, "n q"]
    poses: Poses
    optics: Optics
    intact: Bool[Tensor, "n"]
    number: Int[Tensor, "n"]
    group: Int[Tensor, "n"]
    ensemble: AbstractEnsemble
    grid: Grid
    seed: int
    conditions: Conditions
    unit: float = 1.0
    noise: NoiseSpectra | None = None
    source: str = ""

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
    ensemble: AbstractEnsemble,
    number: Int[Tensor, "n"],
    grid: Grid,
    seed: int,
    conditions: Conditions,
    unit: float | None = None,
) -> Truth:
    """State, pose and optics of images by number; no image is made but a few that set the unit.

    Args:
        ensemble: The molecule.
        number: Which images.
        grid: Their sampling.
        seed: Of everything random.
        conditions: How they are seen.
        unit: As an earlier call found it; measured by default.
    """
    if unit is None:
        unit = measured_unit(calibration(ensemble, grid, seed, conditions))
    return replace(_drawn(ensemble, number, grid, seed, conditions), unit=unit)


def calibration(ensemble: AbstractEnsemble, grid: Grid, seed: int, conditions: Conditions) -> Truth:
    """A sample of sound particles of mean contrast, none of which is in any set."""
    plain = replace(conditions, junk=0, contrast_spread=0)
    return _drawn(ensemble, -1 - torch.arange(_CALIBRATION), grid, seed, plain)


def measured_unit(sample: Truth) -> float:
    """Factor on amplitudes that gives a sample the SNR that its conditions state."""
    power = torch.cat(
        [_signal(sample[rows]).var((-2, -1)) for rows in torch.arange(len(sample)).split(_BLOCK)]
    )
    return float((sample.conditions.snr / power.mean()).sqrt())


def spectral_snr(sample: Truth) -> Float[Tensor, "s"]:
    """Mean power of the signal to that of the noise by shell, DC to Nyquist."""
    signal = radial_mean(to_fourier(_signal(sample)).abs().square(), sample.grid).mean(0)
    noise = radial_mean(to_fourier(_noise(sample)).abs().square(), sample.grid).mean(0)
    return signal / noise


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
        poses=Poses(_rotations(normal, uniform, conditions), conditions.shift * normal[:, 4:6].float()),
        optics=_optics(normal, uniform, conditions),
        intact=uniform[:, 1] >= conditions.junk,
        number=number,
        group=torch.zeros_like(number),
        ensemble=ensemble,
        grid=grid,
        seed=seed,
        conditions=conditions,
    )


def _rotations(
    normal: Float[Tensor, "n r"], uniform: Float[Tensor, "n u"], conditions: Conditions
) -> Float[Tensor, "n 3 3"]:
    """Uniform over all rotations, but for the share that lies on one side."""
    free = from_quaternion(normal[:, :4])
    still = torch.zeros_like(normal[:, :1])
    tilt = from_rotation_vector(torch.cat([conditions.preferred_spread * normal[:, 14:16], still], 1))
    turn = from_rotation_vector(torch.cat([still, still, 2 * torch.pi * uniform[:, 7:8]], 1))
    lies = uniform[:, 6] < conditions.preferred
    return torch.where(lies[:, None, None], turn @ tilt, free).float()


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
    """Gaussian noise of variance 1: white, of a measured spectrum, or ``colour^(−k/Nyquist)`` in power."""
    grid = truth.grid
    generator = torch.Generator()
    noise = torch.empty(len(truth), grid.box, grid.box)
    for image, i in zip(noise, truth.number.tolist(), strict=True):
        image.normal_(generator=generator.manual_seed(noise_seed(i, truth.seed)))
    if truth.noise is None and truth.conditions.noise_colour == 1:
        return noise
    return to_real(to_fourier(noise) * noise_amplitude(truth))


def noise_amplitude(truth: Truth) -> Float[Tensor, "*n d h"]:
    """Factor on white noise, whose square has a mean of 1 over the image's frequencies."""
    grid = truth.grid
    if truth.noise is not None:
        return whitening_filter(truth.noise.by_group, grid).reciprocal()[truth.group]
    amplitude = truth.conditions.noise_colour ** (-grid.frequencies().norm(dim=-1) / grid.nyquist / 2)
    mean_power = (amplitude.square() * half_plane_weights(grid.box)).sum() / grid.box**2
    return amplitude / mean_power.sqrt()


def _random(number: Int[Tensor, "n"], seed: int) -> tuple[Float[Tensor, "n r"], Float[Tensor, "n u"]]:
    """Sixteen normal and eight uniform numbers of each image."""
    numbers = uniform_numbers(number, 24, seed)
    return torch.special.ndtri(numbers[:, :16]), numbers[:, 16:]

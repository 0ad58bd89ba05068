"""Poses refined in a density of each particle's own latent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance, random_rotations
from morphem.core.types import GaussianMixture, Optics, Poses, Volume
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.inference.density_poses import Sight, coefficients, linearised_density, refine_in_density
from morphem.inference.refine import Linear
from morphem.inference.store import disc
from morphem.metrics.poses import align_poses, pose_errors
from morphem.models.density import AbstractDensity, LinearDensity
from morphem.models.gaussian_density import PartMixture
from morphem.physics.ctf import contrast_transfer
from morphem.physics.gaussians import gaussian_slices, rasterise
from morphem.physics.imaging import form_image
from moving_gaussians import moving_gaussians

GRID = Grid(32, 6.0)
LIMIT = 12
WHITE = Sight(torch.ones(1, GRID.half), LIMIT)


def optics_of(n: int) -> Optics:
    defocus, ones = torch.linspace(8_000, 16_000, n), torch.ones(n)
    return Optics(defocus, defocus, 0 * ones, 300 * ones, 2.7 * ones, 0.1 * ones, 0 * ones, 0 * ones, ones)


def poses_of(n: int, seed: int = 0) -> Poses:
    generator = torch.Generator().manual_seed(seed)
    return Poses(random_rotations(n, generator), 5 * torch.randn(n, 2, generator=generator))


def mixture_density() -> PartMixture:
    """A few wide Gaussians that move with the latent."""
    return moving_gaussians(24, 9.0, (0.1, 0.2), GRID.extent)


def linear_density() -> LinearDensity:
    """The same Gaussians as maps: one, and a direction."""
    mixture = mixture_density().mixture(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    first, second = (
        rasterise(GaussianMixture(mixture.centres[k], mixture.scales, mixture.amplitudes[k]), GRID)
        for k in (0, 1)
    )
    return LinearDensity.of(
        Volume(first.voxels.detach(), GRID), (second.voxels - first.voxels)[None].detach()
    )


def reference(density: PartMixture, z: torch.Tensor, poses: Poses, optics: Optics) -> torch.Tensor:
    """Images in float64 from the analytic transform of the Gaussians."""
    with torch.no_grad():
        mixture = density.mixture(z)
    exact = GaussianMixture(mixture.centres.double(), mixture.scales.double(), mixture.amplitudes.double())
    spectra = gaussian_slices(exact, poses.rotation.double(), GRID)
    fourier = form_image(spectra, replace_double(optics), poses.shift.double(), GRID)
    x, y = disc(GRID, LIMIT).places.T
    return fourier[:, y % GRID.box, x] / GRID.box


def replace_double(optics: Optics) -> Optics:
    return Optics(**{name: value.double() for name, value in vars(optics).items()})


def stack_of(density: PartMixture, z: torch.Tensor, poses: Poses, noise: float) -> ParticleStack:
    n = len(poses)
    with torch.no_grad():
        spectra = gaussian_slices(density.mixture(z), poses.rotation, GRID)
        clean = to_real(form_image(spectra, optics_of(n), poses.shift, GRID))
    images = clean / clean.std() + noise * torch.randn(
        clean.shape, generator=torch.Generator().manual_seed(9)
    )
    return stack_in_memory(images, GRID, optics_of(n), poses)


def looked_at(density: AbstractDensity, z: torch.Tensor, poses: Poses) -> Linear:
    """Model and slopes of a density in unit noise."""
    n, places = len(poses), disc(GRID, LIMIT)
    blank = stack_in_memory(torch.zeros(n, GRID.box, GRID.box), GRID, optics_of(n), poses)
    images = coefficients(blank.read(torch.arange(n)), places, WHITE)
    with torch.no_grad():
        return linearised_density(density, z, places, LIMIT)(poses, images)


def moved(poses: Poses, number: int, step: float) -> Poses:
    """Poses with one of the five numbers changed, float64."""
    change = torch.zeros(5, dtype=torch.float64)
    change[number] = step
    turn = from_rotation_vector(change[:3])
    return Poses(turn @ poses.rotation.double(), poses.shift.double() + change[3:])


def test_slopes_of_a_mixture_are_those_of_its_exact_images():
    density, poses, z = mixture_density(), poses_of(6), 0.2 * torch.randn(6, 2)
    found = looked_at(density, z, poses)
    expected = reference(density, z, poses, optics_of(6))
    assert float((found.model - expected).abs().max()) < 5e-3 * float(expected.abs().max())
    for number, step in enumerate([1e-5, 1e-5, 1e-5, 1e-3, 1e-3]):
        ahead, behind = (
            reference(density, z, moved(poses, number, sign * step), optics_of(6)) for sign in (1, -1)
        )
        slope = (ahead - behind) / (2 * step)
        error = (found.slopes[:, number] - slope).abs().max() / slope.abs().max()
        assert float(error) < 1e-2, f"slope {number}"  # Gaussians are drawn to 4 standard deviations


def test_slopes_of_maps_agree_with_those_of_the_mixture_they_show():
    # at z = 0 both densities are the same molecule
    poses = poses_of(6)
    maps = looked_at(linear_density(), torch.zeros(6, 1), poses)
    mixture = looked_at(mixture_density(), torch.zeros(6, 2), poses)
    for number in range(5):
        a, b = maps.slopes[:, number], mixture.slopes[:, number]
        # slices are interpolated linearly, which tells on their derivatives
        assert float((a - b).norm() / b.norm()) < 0.25, f"slope {number}"


def rough(poses: Poses, turn: float, move: float) -> Poses:
    generator = torch.Generator().manual_seed(4)
    n = len(poses)
    turns = from_rotation_vector(turn * torch.randn(n, 3, generator=generator))
    return Poses(turns @ poses.rotation, poses.shift + move * torch.randn(n, 2, generator=generator))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_each_image_is_refined_at_its_own_latent(noise: float):
    density, poses = mixture_density(), poses_of(200)
    z = 2 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    stack = stack_of(density, z, poses, noise)
    start = rough(poses, math.radians(3), 2.0)
    with torch.no_grad():  # the images' scale is not the density's: give it theirs
        clean = gaussian_slices(density.mixture(z), poses.rotation, GRID)
        density.amplitudes /= to_real(form_image(clean, optics_of(200), poses.shift, GRID)).std()
    by = Sight(torch.full((1, GRID.half), max(noise, 0.1) ** 2), LIMIT)
    medians = []
    for latents in (z, torch.zeros_like(z)):
        found = refine_in_density(density, latents, replace(stack, poses=start), by, None)
        errors = pose_errors(found, poses, align_poses(found, poses))
        medians.append((float(errors.rotation.median()), float(errors.shift.median())))
    (turned, shifted), (turned_without, _) = medians
    assert turned < 0.35 * float(geodesic_distance(start.rotation, poses.rotation).median())
    assert shifted < 0.35 * float((start.shift - poses.shift).norm(dim=1).median())
    assert turned < turned_without


def test_a_motion_of_the_whole_density_does_not_reach_the_poses():
    density, poses, z = mixture_density(), poses_of(200), torch.zeros(200, 2)
    stack = stack_of(density, z, poses, 0.3)
    by = Sight(torch.full((1, GRID.half), 0.09), LIMIT)
    with torch.no_grad():
        turn = from_rotation_vector(torch.tensor([0.05, 0.0, -0.03]))
        density.centres.copy_(density.centres @ turn.T + torch.tensor([0.01, 0.0, 0.005]))
    found = refine_in_density(density, z, stack, by, None)
    assert float(geodesic_distance(found.rotation, poses.rotation).median()) < math.radians(1)
    assert float((found.shift - poses.shift).norm(dim=1).median()) < 0.5  # Å


def test_an_image_without_numbers_keeps_its_pose():
    density, poses, z = mixture_density(), poses_of(100), torch.zeros(100, 2)
    stack = stack_of(density, z, poses, 0.3)
    images = stack.images.read(torch.arange(100)).clone()
    images[7] = float("nan")
    broken = stack_in_memory(images, GRID, stack.optics, poses)
    found = refine_in_density(density, z, broken, WHITE, None)
    assert found.rotation.isfinite().all()
    frame = align_poses(found, poses)
    assert float(pose_errors(found, poses, frame).rotation[7]) < math.radians(1)


def test_coefficients_are_the_images_transform_in_units_of_the_noise():
    poses, density = poses_of(4), mixture_density()
    batch = stack_of(density, torch.zeros(4, 2), poses, 0.5).read(torch.arange(4))
    noise, places = torch.linspace(1, 4, GRID.half)[None], disc(GRID, LIMIT)
    found = coefficients(batch, places, Sight(noise, LIMIT))
    for number in (0, 17, 200):
        x, y = places.places[number].tolist()
        sigma = float(noise[0, round(math.hypot(x, y))]) ** 0.5
        value = to_fourier(batch.images)[:, y % GRID.box, x] / GRID.box / sigma
        torch.testing.assert_close(found.values[:, number], value, rtol=1e-4, atol=1e-4)
        transfer = contrast_transfer(batch.optics, GRID)[:, y % GRID.box, x] / sigma
        torch.testing.assert_close(found.transfer[:, number], transfer, rtol=1e-3, atol=1e-3)

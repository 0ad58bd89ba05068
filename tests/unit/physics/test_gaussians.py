"""The evaluations of a mixture agree, with each other and with sums written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from morphem.core.fourier import half_plane_weights, to_fourier, to_fourier_3d
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics.gaussians import (
    gaussian_slices,
    project_gaussians,
    project_gaussians_gridded,
    project_gaussians_windowed,
    rasterise,
)

GRID = Grid(32, 1.5)


def draw_rotations(n: int, seed: int = 0) -> Tensor:
    matrices = torch.randn(n, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, _ = torch.linalg.qr(matrices)
    return q * torch.linalg.det(q)[:, None, None]


def draw_mixture(
    n: int = 200, widths: tuple[float, float] = (0.9, 1.5), images: int | None = None, radius: float = 0.25
) -> GaussianMixture:
    """Gaussians in a ball of ``radius`` boxes, ``widths`` in pixels; one mixture, or one for each image."""
    random = torch.Generator().manual_seed(1)
    lead = () if images is None else (images,)
    directions = torch.randn(*lead, n, 3, generator=random, dtype=torch.float64)
    directions /= directions.norm(dim=-1, keepdim=True)
    distances = torch.rand(*lead, n, 1, generator=random, dtype=torch.float64) ** (1 / 3)
    scales = torch.linspace(*widths, n, dtype=torch.float64) * GRID.pixel_size
    amplitudes = torch.rand(*lead, n, generator=random, dtype=torch.float64)
    return GaussianMixture(directions * distances * radius * GRID.extent, scales, amplitudes)


def brute_force(mixture: GaussianMixture, rotation: Tensor, grid: Grid) -> Tensor:
    """The sum of Eq. 8, one Gaussian, pixel and image after another axis, in float64."""
    axis = (torch.arange(grid.box, dtype=torch.float64) - grid.box // 2) * grid.pixel_size
    view = torch.einsum(
        "bij,...gj->bgi" if mixture.centres.ndim == 2 else "bij,bgj->bgi", rotation, mixture.centres
    )
    dx, dy = axis - view[:, :, 0, None], axis - view[:, :, 1, None]
    squared = dy[..., :, None] ** 2 + dx[..., None, :] ** 2
    heights = mixture.amplitudes.expand(view.shape[:2])[..., None, None]
    return (heights * torch.exp(-squared / (2 * mixture.scales**2)[:, None, None])).sum(1)


def in_single(mixture: GaussianMixture) -> GaussianMixture:
    return GaussianMixture(mixture.centres.float(), mixture.scales.float(), mixture.amplitudes.float())


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def largest(difference: Tensor, reference: Tensor) -> float:
    return float(difference.abs().max() / reference.abs().max())


def gradients(
    project: Callable[..., Tensor], mixture: GaussianMixture, rotation: Tensor, weights: Tensor
) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (mixture.centres, mixture.scales, mixture.amplitudes)]
    turned = rotation.clone().requires_grad_()
    output = project(GaussianMixture(*leaves), turned, GRID)
    score = (output * weights).sum()
    return list(torch.autograd.grad(score.real if score.is_complex() else score, [*leaves, turned]))


@pytest.mark.parametrize("images", [None, 3])
@pytest.mark.parametrize("project", [project_gaussians, project_gaussians_windowed])
def test_a_projection_is_the_sum_written_out(project: Callable[..., Tensor], images: int | None):
    mixture, rotation = draw_mixture(images=images), draw_rotations(3)
    expected = brute_force(mixture, rotation, GRID)
    exact = 1e-12 if project is project_gaussians else 1e-4  # what lies beyond 4σ
    assert largest(project(mixture, rotation, GRID) - expected, expected) < exact
    single = project(in_single(mixture), rotation.float(), GRID)
    assert single.dtype == torch.float32
    assert largest(single - expected, expected) < max(exact, 2e-6)  # float32 exponentials


@pytest.mark.parametrize("images", [None, 3])
def test_windowed_gradients_are_those_of_the_dense_projection(images: int | None):
    mixture, rotation = draw_mixture(images=images), draw_rotations(3)
    weights = noise(3, 32, 32)
    dense = gradients(project_gaussians, mixture, rotation, weights)
    windowed = gradients(project_gaussians_windowed, mixture, rotation, weights)
    for a, b in zip(windowed, dense, strict=True):
        assert largest(a - b, b) < 3e-3  # the derivative to a width at 4σ is 16 times the value there


def test_a_wider_window_brings_the_dense_result_to_rounding():
    mixture, rotation = draw_mixture(), draw_rotations(2)
    dense = project_gaussians(mixture, rotation, GRID)
    assert largest(project_gaussians_windowed(mixture, rotation, GRID, cutoff=8.0) - dense, dense) < 1e-12


def test_a_lone_gaussian_misses_what_its_cutoff_says():
    mixture = GaussianMixture(torch.zeros(1, 3), torch.tensor([2.0]), torch.ones(1))
    dense = project_gaussians(mixture, torch.eye(3)[None], GRID)
    for cutoff in (2.0, 3.0, 4.0):
        windowed = project_gaussians_windowed(mixture, torch.eye(3)[None], GRID, cutoff)
        assert largest(windowed - dense, dense) < math.exp(-(cutoff**2) / 2)


@pytest.mark.parametrize(
    "project",
    [project_gaussians, lambda m, r, g: project_gaussians_windowed(m, r, g, cutoff=9.0), gaussian_slices],
    ids=["dense", "windowed", "slices"],
)
def test_gradients_are_finite_differences(project: Callable[..., Tensor]):
    grid, mixture, rotation = Grid(8, 1.5), draw_mixture(4, radius=0.05), draw_rotations(2)

    def of(centres: Tensor, scales: Tensor, amplitudes: Tensor, turned: Tensor) -> Tensor:
        return project(GaussianMixture(centres, scales, amplitudes), turned, grid)

    leaves = [t.requires_grad_() for t in (mixture.centres, mixture.scales, mixture.amplitudes, rotation)]
    assert gradcheck(of, leaves)


@pytest.mark.parametrize("box", [16, 128])
def test_dense_blocks_do_not_change_the_gradient(box: int):
    """Autograd through the plain expression, for more Gaussians than one block holds."""
    mixture, rotation = draw_mixture(1100, images=2), draw_rotations(2)
    mixture = GaussianMixture(mixture.centres * box / 32, mixture.scales, mixture.amplitudes)
    grid = Grid(box, 1.5)
    weights = noise(2, box, box)

    def plain(mixture: GaussianMixture, rotation: Tensor, _: Grid) -> Tensor:
        axis, view = grid.axis().double(), mixture.centres @ rotation[:, :2].mT
        x, y = (
            torch.exp(-((axis - view[..., i, None]) ** 2) / (2 * mixture.scales**2)[:, None]) for i in (0, 1)
        )
        return (y * mixture.amplitudes[..., None]).mT @ x

    expected = gradients(plain, mixture, rotation, weights)
    found = gradients(lambda m, r, _: project_gaussians(m, r, grid), mixture, rotation, weights)
    for a, b in zip(found, expected, strict=True):
        assert largest(a - b, b) < 1e-10


def full_plane(spectra: Tensor) -> Tensor:
    """Half-plane spectra weighted as in the full plane, without the Nyquist lines."""
    weights = half_plane_weights(spectra.shape[-2]).to(spectra.real.dtype).sqrt()
    weights[spectra.shape[-2] // 2] = 0
    weights[:, -1] = 0
    return spectra * weights


def test_slices_are_the_transform_of_a_well_sampled_projection():
    mixture, rotation = draw_mixture(widths=(1.6, 2.0), radius=0.12), draw_rotations(3)
    expected = to_fourier(project_gaussians(mixture, rotation, GRID))
    assert largest(gaussian_slices(mixture, rotation, GRID) - expected, expected) < 1e-6


def test_slices_of_narrow_gaussians_do_not_alias():
    """The transform of a projection sampled twice as finely is the analytic one; as given, it is not."""
    mixture, rotation = draw_mixture(widths=(0.6, 0.6), radius=0.2), draw_rotations(2)
    slices, fine = gaussian_slices(mixture, rotation, GRID), Grid(64, 0.75)
    coarse = to_fourier(project_gaussians(mixture, rotation, GRID))
    oversampled = to_fourier(project_gaussians(mixture, rotation, fine))[:, :, :17] / 4
    oversampled = torch.cat([oversampled[:, :16], oversampled[:, -16:]], dim=1)
    assert largest(slices - oversampled, slices) < 1e-4
    assert largest(coarse - slices, slices) > 3e-3


@pytest.mark.parametrize(
    ("widths", "classes", "tolerance"),
    [((1.3, 1.3), 6, 1e-4), ((0.6, 0.6), 6, 1e-4), ((0.8, 1.6), 6, 1e-4), ((0.5, 2.0), 8, 1e-4)],
)
@pytest.mark.parametrize("images", [None, 3])
def test_gridded_spectra_are_the_slices(
    widths: tuple[float, float], classes: int, tolerance: float, images: int | None
):
    mixture, rotation = draw_mixture(images=images, widths=widths), draw_rotations(3)
    slices = gaussian_slices(mixture, rotation, GRID)
    gridded = project_gaussians_gridded(mixture, rotation, GRID, classes)
    assert largest(gridded - slices, slices) < tolerance


@pytest.mark.parametrize("images", [None, 3])
@pytest.mark.parametrize("widths", [(1.3, 1.3), (0.8, 1.6)])
def test_gridded_gradients_are_those_of_the_slices(images: int | None, widths: tuple[float, float]):
    mixture, rotation = draw_mixture(images=images, widths=widths), draw_rotations(3)
    weights = full_plane(torch.complex(noise(3, 32, 17), noise(3, 32, 17).flip(0)))
    exact = gradients(gaussian_slices, mixture, rotation, weights)
    gridded = gradients(project_gaussians_gridded, mixture, rotation, weights)
    for a, b in zip(gridded, exact, strict=True):
        # Of noise at every frequency; equal widths need no interpolation.
        assert largest(a - b, b) < (1e-3 if widths[0] == widths[1] else 1e-2)


def test_gridding_wraps_round_the_box_as_slices_do():
    corner = GaussianMixture(
        torch.tensor([[23.5, -23.8, 5.0], [30.0, 3.0, 0.0]]), torch.ones(2), torch.ones(2)
    )
    slices = gaussian_slices(corner, torch.eye(3)[None], GRID)
    gridded = project_gaussians_gridded(corner, torch.eye(3)[None], GRID)
    assert largest(full_plane(gridded - slices), slices) < 2e-4


@pytest.mark.parametrize("project", [project_gaussians, project_gaussians_windowed])
def test_a_spectral_loss_has_one_gradient_in_real_and_fourier_space(project: Callable[..., Tensor]):
    """All evaluations agree in gradient where the Gaussians are well sampled."""
    mixture, rotation = draw_mixture(widths=(1.6, 2.0), radius=0.12), draw_rotations(3)
    weights = full_plane(torch.complex(noise(3, 32, 17), noise(3, 32, 17).flip(0)))

    def spectra(mixture: GaussianMixture, rotation: Tensor, grid: Grid) -> Tensor:
        return to_fourier(project(mixture, rotation, grid))

    exact = gradients(gaussian_slices, mixture, rotation, weights)
    for a, b in zip(gradients(spectra, mixture, rotation, weights), exact, strict=True):
        assert largest(a - b, b) < 1e-2  # windows end at 4σ


def test_a_map_integrates_to_the_projection():
    mixture = draw_mixture(radius=0.15)
    turned = GaussianMixture(mixture.centres @ draw_rotations(1)[0].T, mixture.scales, mixture.amplitudes)
    voxels = rasterise(turned, GRID).voxels
    expected = project_gaussians(mixture, draw_rotations(1), GRID)[0]
    assert largest(voxels.sum(0) * GRID.pixel_size - expected, expected) < 1e-5  # slabs end at 5σ


def test_a_map_is_the_density_written_out():
    mixture = draw_mixture(40)
    axis = (torch.arange(32, dtype=torch.float64) - 16) * GRID.pixel_size
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    squared = (torch.stack([x, y, z], -1)[..., None, :] - mixture.centres).square().sum(-1)
    heights = mixture.amplitudes / (math.sqrt(2 * math.pi) * mixture.scales)
    expected = (heights * torch.exp(-squared / (2 * mixture.scales**2))).sum(-1)
    assert largest(rasterise(mixture, GRID).voxels - expected, expected) < 1e-5


def test_a_map_is_differentiable():
    mixture, grid = draw_mixture(3, radius=0.05), Grid(8, 1.5)
    leaves = [t.requires_grad_() for t in (mixture.centres, mixture.scales, mixture.amplitudes)]
    # Slabs end at 5σ, a step of 4e-6 of a peak: too small for finite differences to notice here.
    assert gradcheck(lambda *m: rasterise(GaussianMixture(*m), grid).voxels, leaves)


def test_slices_of_a_map_are_spectra_of_the_mixture():
    """The z = 0 plane of the map's transform is the spectrum of its projection along z."""
    mixture, upright = draw_mixture(radius=0.15), torch.eye(3, dtype=torch.float64)[None]
    plane = to_fourier_3d(rasterise(mixture, GRID).voxels)[0] * GRID.pixel_size
    expected = gaussian_slices(mixture, upright, GRID)[0]
    assert largest(full_plane(plane - expected), expected) < 1e-3  # widths from 0.9 pixels alias a little


def test_profiles_hold_no_denormal_numbers():
    """Products of what is left of a Gaussian far away would take a hundred times as long."""
    mixture = GaussianMixture(torch.zeros(1, 3), torch.ones(1), torch.ones(1))
    image = project_gaussians(mixture, torch.eye(3)[None], Grid(64, 1.5))
    assert image.min() > torch.finfo(torch.float32).tiny
    assert image.min() < 1e-29


@pytest.mark.parametrize("project", [project_gaussians, project_gaussians_windowed])
def test_a_lost_centre_does_not_vanish_in_silence(project: Callable[..., Tensor]):
    mixture = GaussianMixture(torch.tensor([[torch.nan, 0, 0]]), torch.ones(1), torch.ones(1))
    assert project(mixture, torch.eye(3)[None], GRID).isnan().any()

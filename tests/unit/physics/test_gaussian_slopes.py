"""Projections with slopes: the image is that of the plain projection, the slopes are its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics import gaussian_slopes
from morphem.physics.gaussian_slopes import (
    project_gaussians_with_slopes,
    project_gaussians_with_slopes_dense,
)
from morphem.physics.gaussians import project_gaussians, project_gaussians_windowed

GRID = Grid(32, 1.5)
Scene = tuple[GaussianMixture, Tensor, Tensor, Tensor]


def draw(q: int, dtype: torch.dtype = torch.float64, images: int = 3, gaussians: int = 150) -> Scene:
    """A mixture for each image, its velocities and slopes, and rotations; some Gaussians cross the edge."""
    random = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    centres = normal(images, gaussians, 3) * GRID.extent / 5
    scales = torch.linspace(0.8, 1.5, gaussians, dtype=dtype) * GRID.pixel_size
    mixture = GaussianMixture(centres, scales, normal(images, gaussians).abs())
    rotation = torch.linalg.qr(normal(images, 3, 3)).Q
    return mixture, normal(images, q, gaussians, 3), normal(images, q, gaussians), rotation


def exact(mixture: GaussianMixture, velocities: Tensor, slopes: Tensor, rotation: Tensor) -> Tensor:
    """The kernel with windows so wide that nothing is missing."""
    return project_gaussians_with_slopes(mixture, velocities, slopes, rotation, GRID, cutoff=9.0)


def dense(mixture: GaussianMixture, velocities: Tensor, slopes: Tensor, rotation: Tensor) -> Tensor:
    return project_gaussians_with_slopes_dense(mixture, velocities, slopes, rotation, GRID)


def largest(difference: Tensor, reference: Tensor) -> float:
    return float(difference.abs().max() / reference.abs().max())


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("q", [0, 1, 3])
def test_the_image_is_that_of_the_windowed_projection_to_the_last_bit(q: int, dtype: torch.dtype):
    mixture, velocities, slopes, rotation = draw(q, dtype)
    mixture.amplitudes[:, ::5] = 0
    drawn = project_gaussians_with_slopes(mixture, velocities, slopes, rotation, GRID)
    assert drawn.shape == (3, 1 + q, 32, 32)
    assert drawn.dtype == dtype
    assert torch.equal(drawn[:, 0], project_gaussians_windowed(mixture, rotation, GRID))


@pytest.mark.parametrize("evaluate", [exact, dense])
def test_slopes_are_the_change_of_a_projection_over_a_small_step(evaluate: Callable[..., Tensor]):
    mixture, velocities, slopes, rotation = draw(2)
    drawn, step = evaluate(mixture, velocities, slopes, rotation), 1e-5

    def at(j: int, z: float) -> Tensor:
        centres, amplitudes = mixture.centres + z * velocities[:, j], mixture.amplitudes + z * slopes[:, j]
        return project_gaussians(GaussianMixture(centres, mixture.scales, amplitudes), rotation, GRID)

    for j in range(2):
        expected = (at(j, step) - at(j, -step)) / (2 * step)
        assert largest(drawn[:, 1 + j] - expected, expected) < 1e-9  # step² and rounding / step


def test_slopes_are_the_derivatives_that_autograd_finds():
    mixture, velocities, slopes, rotation = draw(2)
    axis = GRID.axis().double()

    def image(z: Tensor) -> Tensor:
        centres = mixture.centres + torch.einsum("j,bjgi->bgi", z, velocities)
        view = centres @ rotation[:, :2].mT
        x, y = (
            torch.exp(-0.5 * ((axis - view[..., i, None]) / mixture.scales[:, None]) ** 2) for i in (0, 1)
        )
        amplitudes = mixture.amplitudes + torch.einsum("j,bjg->bg", z, slopes)
        return torch.einsum("bg,bgy,bgx->byx", amplitudes, y, x)

    found = exact(mixture, velocities, slopes, rotation)
    for j, direction in enumerate(torch.eye(2, dtype=torch.float64)):
        expected = torch.autograd.functional.jvp(image, torch.zeros_like(direction), direction)[1]
        assert isinstance(expected, Tensor)
        assert largest(found[:, 1 + j] - expected, expected) < 1e-12


def test_windows_of_four_deviations_leave_slopes_close_to_the_dense_ones():
    scene = draw(3, torch.float32)
    reference, windowed = dense(*scene), project_gaussians_with_slopes(*scene, GRID)
    assert largest(exact(*scene) - reference, reference) < 2e-6  # float32
    for c in range(4):
        # What the windows miss of a derivative is 4 times that of the value, by its own scale.
        assert largest(windowed[:, c] - reference[:, c], reference[:, c]) < (1e-4 if c == 0 else 1e-3)


def test_blocks_of_gaussians_do_not_change_the_dense_slopes(monkeypatch: pytest.MonkeyPatch):
    scene = draw(2)
    whole = dense(*scene)
    monkeypatch.setattr(gaussian_slopes, "TABLE_ELEMENTS", 7 * 3 * 3 * 32)
    assert largest(dense(*scene) - whole, whole) < 1e-13


def test_threads_do_not_change_a_bit_of_the_slopes():
    scene = draw(4, torch.float32, images=5)
    with threads(1):
        alone = project_gaussians_with_slopes(*scene, GRID)
    with threads(2):
        assert torch.equal(project_gaussians_with_slopes(*scene, GRID), alone)


def test_gaussians_outside_the_box_add_nothing():
    mixture, velocities, slopes, _ = draw(2)
    far = GaussianMixture(mixture.centres * 0 + 5 * GRID.extent, mixture.scales, mixture.amplitudes)
    upright = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    assert not project_gaussians_with_slopes(far, velocities, slopes, upright, GRID).any()


def test_a_gaussian_without_amplitude_has_the_slope_of_its_amplitude():
    mixture, velocities, slopes, rotation = draw(2)
    bare = GaussianMixture(mixture.centres, mixture.scales, torch.zeros_like(mixture.amplitudes))
    drawn = project_gaussians_with_slopes(bare, velocities, slopes, rotation, GRID)
    assert not drawn[:, 0].any()
    for j in range(2):
        growing = GaussianMixture(mixture.centres, mixture.scales, slopes[:, j])
        expected = project_gaussians_windowed(growing, rotation, GRID)
        assert largest(drawn[:, 1 + j] - expected, expected) < 1e-12


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_lost_centre_spoils_every_channel_of_its_image_alone(value: float):
    mixture, velocities, slopes, rotation = draw(2)
    clean = project_gaussians_with_slopes(mixture, velocities, slopes, rotation, GRID)
    mixture.centres[1, 4, 0] = value
    drawn = project_gaussians_with_slopes(mixture, velocities, slopes, rotation, GRID)
    assert drawn[1].isnan().any(-1).any(-1).all()
    assert torch.equal(drawn[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("lost", ["velocity", "slope"])
def test_a_lost_velocity_or_slope_reaches_its_channel_alone(lost: str):
    mixture, velocities, slopes, rotation = draw(2)
    mixture.centres[1, 4] = 0
    (velocities if lost == "velocity" else slopes)[1, 0, 4] = torch.nan
    drawn = project_gaussians_with_slopes(mixture, velocities, slopes, rotation, GRID)
    assert drawn.isnan().any(-1).any(-1).nonzero().tolist() == [[1, 1]]


def test_slopes_carry_no_graph():
    mixture, velocities, slopes, rotation = draw(1)
    velocities.requires_grad_()
    for evaluate in (exact, dense):
        assert not evaluate(mixture, velocities, slopes, rotation).requires_grad

"""A density as a network over spatial frequencies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from morphem.core.fourier import to_fourier, to_fourier_3d
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import GaussianMixture
from morphem.models import neural_density
from morphem.models.density import load_density, save_density
from morphem.models.neural_density import HartleyField
from morphem.physics.gaussians import gaussian_slices
from morphem.physics.hartley import half_turn_rotation
from morphem.physics.slices import disc

GRID = Grid(16, 3.0)
EYE = torch.eye(3)[None]


def _field(box: int = 16) -> HartleyField:
    torch.manual_seed(0)
    return HartleyField(box, GRID.extent / box, latent=3, network=(32, 2), seed=1)


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def rotation() -> torch.Tensor:
    return random_rotations(4, torch.Generator().manual_seed(3))


@torch.no_grad()
def test_the_projection_along_z_is_the_transform_of_the_volumes_sum(z: torch.Tensor):
    field = _field()
    projected = field.project(z[:1], EYE, GRID)[0]
    summed = to_fourier(field.volume(z[0], GRID).voxels.sum(0) * GRID.pixel_size)
    torch.testing.assert_close(projected, summed, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0)])
def test_projections_along_the_other_axes_are_sums_of_the_same_volume(
    z: torch.Tensor, axes: tuple[int, int, int]
):
    field = _field()
    view = torch.eye(3)[list(axes)][None]  # view x, y, z are these axes of the molecule
    projected = field.project(z[:1], view, GRID)[0]
    voxels = field.volume(z[0], GRID).voxels.permute(2, 1, 0)  # x, y, z
    summed = voxels.permute(axes).sum(2).T * GRID.pixel_size
    torch.testing.assert_close(projected, to_fourier(summed), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_slices_are_those_of_a_real_density(z: torch.Tensor, rotation: torch.Tensor):
    field = _field()
    turned = field.project(z, half_turn_rotation(rotation), GRID)
    torch.testing.assert_close(turned, field.project(z, rotation, GRID).conj().resolve_conj())


@torch.no_grad()
def test_there_is_nothing_at_and_beyond_the_radius(z: torch.Tensor, rotation: torch.Tensor):
    field = _field()
    slices = field.slices(z, rotation, GRID, 5)
    distance = GRID.frequencies().square().sum(-1).sqrt() * GRID.extent
    assert (slices[:, distance > 4.99] == 0).all()
    inside = distance < 4.99
    torch.testing.assert_close(slices[:, inside], field.project(z, rotation, GRID)[:, inside])
    assert (field.project(z, rotation, GRID)[:, ~disc(GRID)] == 0).all()


@torch.no_grad()
def test_another_grid_of_the_same_extent_shows_the_same_density(z: torch.Tensor, rotation: torch.Tensor):
    field, coarse = _field(), GRID.resized(8)
    here, there = field.project(z, rotation, GRID), field.project(z, rotation, coarse)
    # spectra are sums over pixels, of which the coarse image has a quarter
    torch.testing.assert_close(there[:, :4, :4], here[:, :4, :4] * disc(coarse)[:4, :4] / 4)
    volume, small = field.volume(z[0], GRID).voxels, field.volume(z[0], coarse).voxels
    torch.testing.assert_close(
        to_fourier_3d(small)[0, :3, :3] * 8, to_fourier_3d(volume)[0, :3, :3], rtol=1e-4, atol=1e-3
    )


def test_parts_and_recomputation_change_neither_value_nor_gradient(
    z: torch.Tensor, rotation: torch.Tensor, monkeypatch: pytest.MonkeyPatch
):
    field = _field()

    def gradients() -> list[torch.Tensor]:
        field.zero_grad()
        latent = z.clone().requires_grad_()
        slices = field.project(latent, rotation, GRID)
        slices.abs().square().sum().backward()
        found = [parameter.grad for parameter in field.parameters() if parameter.grad is not None]
        assert latent.grad is not None
        return [slices.detach(), latent.grad, *found]

    whole = gradients()
    monkeypatch.setattr(neural_density, "BLOCK", 300)
    monkeypatch.setattr(neural_density, "_PASSING", 300)
    for part, expected in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(field.project(z, rotation, GRID), whole[0])


def test_gradients_to_latents_and_rotations_are_those_of_differences(z: torch.Tensor, rotation: torch.Tensor):
    field, grid = HartleyField(8, 3.0, latent=3, network=(8, 2)).double(), Grid(8, 3.0)
    inputs = (z[:2].double().requires_grad_(), rotation[:2].double().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: field.project(a, b, grid), inputs)


@torch.no_grad()
def test_mixed_precision_leaves_phases_exact(z: torch.Tensor, rotation: torch.Tensor):
    field = HartleyField(128, 3.0, latent=3, network=(32, 1))
    grid = Grid(128, 3.0)
    exact = field.slices(z[:1], rotation[:1], grid, 64)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = field.slices(z[:1], rotation[:1], grid, 64)
    assert mixed.dtype == torch.complex64
    # eight bits a layer; phases, which reach 50 rad here, would be off by a quarter of one otherwise
    assert (mixed - exact).norm() < 0.01 * exact.norm()


def test_the_same_seed_gives_the_same_points_and_another_gives_others():
    assert torch.equal(HartleyField(16, 3.0, 2, seed=5).points, HartleyField(16, 3.0, 2, seed=5).points)
    assert not torch.equal(HartleyField(16, 3.0, 2, seed=5).points, HartleyField(16, 3.0, 2, seed=6).points)


def test_points_are_scattered_as_published():
    # 0.5 · D/2 rad per unit of a frequency that runs from −1/2 to 1/2
    phases = HartleyField(128, 3.0, 2, seed=0).points / 3.0
    assert phases.std() == pytest.approx(0.5 * 64, rel=0.1)
    assert phases.shape[1] == 64


def test_a_field_comes_back_from_its_file(z: torch.Tensor, tmp_path: Path):
    field = _field()
    save_density(field, tmp_path / "density.safetensors")
    found = load_density(tmp_path / "density.safetensors")
    assert torch.equal(found.volume(z[0], GRID).voxels, field.volume(z[0], GRID).voxels)


def test_it_can_be_fitted_to_a_molecules_slices():
    generator = torch.Generator().manual_seed(4)
    centres = 7 * torch.randn(4, 3, generator=generator)
    mixture = GaussianMixture(centres, torch.full((4,), 4.0), torch.ones(4))
    field = HartleyField(16, 3.0, latent=1, network=(64, 2))
    adam, nothing, inside = torch.optim.Adam(field.parameters(), 3e-3), torch.zeros(16, 1), disc(GRID)
    for _ in range(120):
        rotation = random_rotations(16, generator)
        target = gaussian_slices(mixture, rotation, GRID)[:, inside]
        residual = (field.project(nothing, rotation, GRID)[:, inside] - target).abs().square().mean()
        adam.zero_grad()
        residual.backward()
        adam.step()
    assert residual < 0.1 * target.abs().square().mean()

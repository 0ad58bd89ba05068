"""A = (Rz(rot) Ry(tilt) Rz(psi))ᵀ takes the map's frame to the view; image (kx, ky) is map Aᵀ (kx, ky, 0)."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_euler, random_rotations
from morphem.core.types import GaussianMixture, Volume
from morphem.physics.gaussians import gaussian_slices, project_gaussians, rasterise
from morphem.physics.slices import central_slices, disc

GRID = Grid(32, 2.0)


def mixture() -> GaussianMixture:
    """Eight Gaussians of 1.6 pixels, none a mirror image of the others, within half the box."""
    generator = torch.Generator().manual_seed(0)
    centres = (torch.rand(8, 3, generator=generator, dtype=torch.float64) - 0.5) * 22
    amplitudes = torch.rand(8, generator=generator, dtype=torch.float64) + 0.5
    return GaussianMixture(centres, torch.full((8,), 3.2, dtype=torch.float64), amplitudes)


def rotations(n: int = 6) -> torch.Tensor:
    return random_rotations(n, torch.Generator().manual_seed(1)).double()


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_the_matrix_is_the_transpose_of_the_right_handed_product():
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    angles = torch.rand(20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 6 - 3
    expected = torch.from_numpy(rotation.from_euler("ZYZ", angles.numpy()).as_matrix().copy()).mT
    assert torch.allclose(from_euler(*angles.T), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("angles", "point", "seen"),
    [
        ((90, 0, 0), (1, 0, 0), (0, -1, 0)),  # the molecule's x is seen along −y
        ((0, 90, 0), (0, 0, 1), (-1, 0, 0)),  # its z is tipped towards −x
        ((0, 0, 90), (1, 0, 0), (0, -1, 0)),
    ],
)
def test_a_quarter_turn_moves_a_point_as_relion_does(angles, point, seen):
    turns = [torch.tensor(math.radians(a), dtype=torch.float64) for a in angles]
    found = from_euler(*turns) @ torch.tensor(point, dtype=torch.float64)
    assert torch.allclose(found, torch.tensor(seen, dtype=torch.float64), atol=1e-12)


def test_a_rotated_point_is_seen_at_its_rotated_place():
    voxels = torch.zeros(32, 32, 32, dtype=torch.float64)
    voxels[16 + 3, 16 - 5, 16 + 7] = 1
    rotation = rotations(1)
    x, y, _ = (rotation[0] @ torch.tensor([7.0, -5.0, 3.0], dtype=torch.float64)).tolist()
    image = to_real(central_slices(Volume(voxels, GRID), rotation))[0]
    row, column = divmod(int(image.argmax()), 32)
    assert (column - 16, row - 16) == pytest.approx((x, y), abs=0.71)


@pytest.mark.parametrize(("padding", "bound"), [(1, 0.05), (2, 0.012), (3, 0.006)])
def test_slices_of_the_rasterised_mixture_are_the_projected_mixture(padding, bound):
    projected = to_fourier(project_gaussians(mixture(), rotations(), GRID)) * disc(GRID)
    sliced = central_slices(rasterise(mixture(), GRID), rotations(), padding)
    assert error(sliced, projected) < bound


@pytest.mark.parametrize("wrong", ["transposed", "mirrored", "inverted"])
def test_slices_at_wrong_rotations_are_not(wrong):
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    other = {"transposed": rotations().mT, "mirrored": rotations() @ mirror, "inverted": -rotations()}[wrong]
    sliced = central_slices(rasterise(mixture(), GRID), other, 2)
    assert error(sliced, gaussian_slices(mixture(), rotations(), GRID)) > 0.3


def test_rotating_the_map_is_rotating_the_poses_the_other_way():
    turn = rotations(1)[0]
    turned = GaussianMixture(mixture().centres @ turn.mT, mixture().scales, mixture().amplitudes)
    found = project_gaussians(turned, rotations() @ turn.mT, GRID)
    assert torch.allclose(found, project_gaussians(mixture(), rotations(), GRID), atol=1e-10)

"""Volumes are [z, y, x] and images [y, x]; the origin is index d // 2 on every axis; lengths are Å."""

from __future__ import annotations

import pytest
import torch

from morphem.core.fourier import to_fourier, to_fourier_3d, to_real
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume
from morphem.physics.gaussians import project_gaussians, rasterise
from morphem.physics.masks import soft_ball, soft_disk
from morphem.physics.slices import central_slices

GRID = Grid(16, 2.0)
IDENTITY = torch.eye(3, dtype=torch.float64)[None]


def point_map(x: int, y: int, z: int) -> Volume:
    voxels = torch.zeros(16, 16, 16, dtype=torch.float64)
    voxels[8 + z, 8 + y, 8 + x] = 1
    return Volume(voxels, GRID)


def mixture_at(x: float, y: float, z: float) -> GaussianMixture:
    centre = torch.tensor([[x, y, z]], dtype=torch.float64)
    return GaussianMixture(centre, torch.tensor([2.0]).double(), torch.tensor([1.0]).double())


def peak(image: torch.Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(image.argmax(), image.shape))


def test_coordinate_zero_is_pixel_half_the_box():
    assert GRID.axis()[8] == 0
    assert GRID.axis()[9] == 2.0


def test_a_point_at_the_origin_has_a_constant_transform():
    voxels = point_map(0, 0, 0).voxels
    assert torch.allclose(to_fourier(voxels[8]), torch.ones(16, 9).to(torch.complex128))
    assert torch.allclose(to_fourier_3d(voxels), torch.ones(16, 16, 9).to(torch.complex128))


def test_seen_without_rotation_x_runs_along_columns_and_y_along_rows():
    image = to_real(central_slices(point_map(3, -2, 5), IDENTITY))[0]
    assert peak(image) == (8 - 2, 8 + 3)


def test_a_mixture_is_drawn_where_its_coordinates_say():
    assert peak(rasterise(mixture_at(6.0, -4.0, 10.0), GRID).voxels) == (8 + 5, 8 - 2, 8 + 3)
    assert peak(project_gaussians(mixture_at(6.0, -4.0, 10.0), IDENTITY, GRID)[0]) == (8 - 2, 8 + 3)


def test_masks_are_centred_on_the_origin():
    assert torch.equal(soft_disk(GRID, 0.0, 0.0).nonzero(), torch.tensor([[8, 8]]))
    assert torch.equal(soft_ball(GRID, 0.0, 0.0).nonzero(), torch.tensor([[8, 8, 8]]))


def test_a_projection_integrates_along_the_beam_in_angstroms():
    centre = mixture_at(0.0, 0.0, 0.0)  # peak 1 in projection: Eq. 8
    projected = to_real(central_slices(rasterise(centre, GRID), IDENTITY, padding=4))
    assert projected[0, 8, 8].item() == pytest.approx(1, abs=0.01)

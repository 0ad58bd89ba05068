"""Soft masks against distances computed one by one."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.physics import masks

GRID = Grid(16, 2.0)


def region(seed: int = 0) -> torch.Tensor:
    return torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(seed)) > 0.997


def test_a_disk_is_one_inside_half_amid_the_edge_and_zero_beyond():
    row = masks.soft_disk(GRID, 6.0, 4.0)[8]
    assert torch.allclose(row[8:14], torch.tensor([1, 1, 1, 1, 0.5, 0.0]), atol=1e-6)


def test_a_disk_is_the_central_plane_of_the_ball():
    assert torch.equal(masks.soft_ball(GRID, 9.0, 5.0)[8], masks.soft_disk(GRID, 9.0, 5.0))


def test_a_disk_has_its_area():
    grid = Grid(64, 1.0)
    assert masks.soft_disk(grid, 20.0, 0.0).sum().item() == pytest.approx(math.pi * 400, rel=0.01)


def test_distances_equal_those_to_the_nearest_voxel_of_the_region():
    places = torch.cartesian_prod(*[GRID.axis()] * 3)
    brute = torch.cdist(places, places[region().flatten()]).amin(1).view(16, 16, 16)
    found = masks.distance_to(region(), GRID, 11.0)
    near = brute <= 11.0
    assert torch.allclose(found[near], brute[near], atol=1e-4)
    assert torch.isinf(found[~near]).all()


def test_distances_equal_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    expected = torch.from_numpy(ndimage.distance_transform_edt(~region(3).numpy(), sampling=2.0))
    assert torch.allclose(masks.distance_to(region(3), GRID, 100.0).double(), expected, atol=1e-4)


def test_a_mask_from_a_point_is_a_ball():
    voxels = torch.zeros(16, 16, 16)
    voxels[8, 8, 8] = 1
    found = masks.mask_from_map(Volume(voxels, GRID), 0.5, 7.0, 3.0)
    assert torch.allclose(found, masks.soft_ball(GRID, 7.0, 3.0), atol=1e-6)


def test_a_hard_mask_without_dilation_is_the_region():
    found = masks.mask_from_map(Volume(region().float(), GRID), 0.5, 0.0, 0.0)
    assert torch.equal(found, region().float())


def test_a_mask_of_nothing_is_empty():
    assert masks.mask_from_map(Volume(torch.zeros(16, 16, 16), GRID), 0.5, 4.0, 4.0).sum() == 0

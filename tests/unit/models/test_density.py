"""Densities and their files."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import safetensors.torch
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Volume
from morphem.models import density as home
from morphem.models.density import VoxelDensity, load_density, save_density
from morphem.physics.slices import central_slices

GRID = Grid(16, 3.0)
NOTHING = torch.zeros(0)


@pytest.fixture
def volume() -> Volume:
    return Volume(torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(0)), GRID)


def test_every_density_of_the_list_is_where_it_says():
    kinds = [getattr(__import__(module, fromlist=[name]), name) for name, module in home.DENSITIES.items()]
    assert all(issubclass(kind, home.AbstractDensity) for kind in kinds)


def test_a_density_comes_back_from_its_file(volume: Volume, tmp_path: Path):
    save_density(VoxelDensity.of(volume), tmp_path / "density.safetensors")
    found = load_density(tmp_path / "density.safetensors")
    assert torch.equal(found.volume(NOTHING, GRID).voxels, volume.voxels)


def test_tuples_among_the_arguments_come_back_as_tuples(tmp_path: Path):
    from morphem.models.gaussian_density import PartMixture

    density = PartMixture(8, 4, 2, (16, 1), 64.0)
    save_density(density, tmp_path / "density.safetensors")
    found = load_density(tmp_path / "density.safetensors")
    assert found.arguments == density.arguments
    z = torch.randn(2)
    assert torch.equal(found.volume(z, GRID).voxels, density.volume(z, GRID).voxels)


def test_a_density_of_an_earlier_version_has_the_bodies_that_its_parts_are(tmp_path: Path):
    from morphem.models.gaussian_density import AnchoredMixture

    density, path = AnchoredMixture(8, 2, 4, 2, (16, 1), 64.0), tmp_path / "density.safetensors"
    density.part.copy_(torch.arange(8) % 2)
    save_density(density, path)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    known = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: each for name, each in known.items() if name != "body"}, path, header)
    found = load_density(path)
    assert isinstance(found, AnchoredMixture)
    assert torch.equal(found.bodies(), density.part)
    safetensors.torch.save_file({name: each for name, each in known.items() if name != "part"}, path, header)
    with pytest.raises(RuntimeError, match="part"):
        load_density(path)


def test_a_copy_keeps_its_arguments(volume: Volume):
    density = VoxelDensity.of(volume)
    assert copy.deepcopy(density).arguments == density.arguments == {"box": 16, "pixel_size": 3.0}


def test_a_class_that_is_not_in_the_list_is_never_constructed(tmp_path: Path):
    path = tmp_path / "density.safetensors"
    safetensors.torch.save_file(
        {"x": torch.zeros(1)}, path, {"density": '{"class": "Popen", "arguments": {}}'}
    )
    with pytest.raises(ValueError, match="holds a density Popen; known: VoxelDensity"):
        load_density(path)


def test_a_file_without_a_header_is_no_density(tmp_path: Path):
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="without a name"):
        load_density(tmp_path / "weights.safetensors")


def test_a_voxel_density_projects_its_map(volume: Volume):
    rotation = random_rotations(3, torch.Generator().manual_seed(1))
    projected = VoxelDensity.of(volume).project(torch.zeros(3, 0), rotation, GRID)
    torch.testing.assert_close(projected, central_slices(volume, rotation))


def test_a_finer_grid_interpolates_the_same_map(volume: Volume):
    fine = VoxelDensity.of(volume).volume(NOTHING, GRID.resized(32))
    assert fine.grid.pixel_size == 1.5
    torch.testing.assert_close(fine.voxels.mean(), volume.voxels.mean(), rtol=0, atol=1e-6)

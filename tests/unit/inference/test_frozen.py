"""What a search leaves for images to come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.fourier import to_fourier_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.engine.run import Run
from morphem.inference.frozen import MODEL, FrozenModel, homogeneous, joined, read_model, write_model
from morphem.inference.maps import Halves
from morphem.inference.subspace import Subspace


def _model() -> FrozenModel:
    generator, grid = torch.Generator().manual_seed(0), Grid(32, 4.0)
    volume = Volume(torch.randn(24, 24, 24, generator=generator), grid.resized(24))
    model = homogeneous(volume, 10, torch.rand(2, 17, generator=generator), grid)
    directions = torch.randn(3, 16, 16, 16, generator=generator)
    space = Subspace(torch.randn(16, 16, 16, generator=generator), directions, grid.resized(16))
    return replace(model, space=space, space_limit=6)


def test_a_model_is_read_as_it_was_written(tmp_path: Path):
    model = _model()
    write_model(Run(tmp_path), model)
    found = read_model(tmp_path)
    assert torch.equal(found.mean.voxels, model.mean.voxels)
    assert torch.equal(found.space.mean, model.space.mean)
    assert torch.equal(found.space.directions, model.space.directions)
    assert torch.equal(found.noise, model.noise)
    for name in ("limit", "space_limit", "spread", "reach", "grid"):
        assert getattr(found, name) == getattr(model, name)
    assert (found.mean.grid, found.space.grid) == (model.mean.grid, model.space.grid)


def test_a_folder_without_a_model_says_how_to_get_one(tmp_path: Path):
    with pytest.raises(DataError, match=f"RUN-003.*{MODEL}.*once more"):
        read_model(tmp_path)


def test_two_half_maps_join_as_one_of_all_images_is_filtered():
    generator, grid = torch.Generator().manual_seed(1), Grid(16, 4.0)
    signal, shells = torch.randn(16, 16, 16, generator=generator), torch.full((9,), 0.5)
    # white signal and noise of the same power: each half is multiplied by F = 1/2, all images by 2/3
    noise = torch.randn(2, 16, 16, 16, generator=generator)
    halves = [Volume((signal + each) / 2, grid) for each in noise]
    found = joined(Halves((halves[0], halves[1]), shells, torch.ones(16, 16, 16)))
    expected = (signal + noise.mean(0)) * 2 / 3
    torch.testing.assert_close(to_fourier_3d(found.voxels), to_fourier_3d(expected), rtol=0, atol=1e-3)

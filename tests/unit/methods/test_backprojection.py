"""Back-projection as a method: what it returns and what it leaves in the run's folder."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from morphem.core.grid import Grid
from morphem.data.mrc import read_map
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import open_run
from morphem.methods.backprojection import Config, reconstruct
from static_molecule import correlation_by_shell, photograph, three_arms

GRID = Grid(24, 5.0)
MOLECULE = three_arms(GRID.extent)


@pytest.fixture(scope="module")
def stack():
    return photograph(MOLECULE, GRID, 300, noise=0.5)


@pytest.fixture(scope="module")
def found(stack, tmp_path_factory):
    run = open_run(tmp_path_factory.mktemp("run") / "out", Config(), stack)
    reconstruction = reconstruct(stack, Config(), run)
    reconstruction.save(run.root, stack)
    return reconstruction, run.root


def test_the_density_is_the_molecule(found):
    reconstruction, _ = found
    correlation = correlation_by_shell(reconstruction.mean().voxels, MOLECULE.map(GRID))
    assert float(correlation[1:7].min()) > 0.98


def test_no_particle_has_a_latent(found, stack):
    reconstruction, _ = found
    assert reconstruction.latents.shape == (stack.n_particles, 0)


def test_half_maps_mask_and_mean_lie_in_the_folder_on_one_grid(found):
    _, folder = found
    for name in ("half1", "half2", "mask", "mean"):
        assert read_map(folder / f"{name}.mrc").grid == GRID


def test_half_maps_on_disk_correlate_as_the_file_says(found):
    _, folder = found
    halves = [read_map(folder / f"half{k}.mrc").voxels for k in (1, 2)]
    told = torch.tensor(json.loads((folder / "fsc.json").read_text())["fsc"])
    assert torch.allclose(correlation_by_shell(*halves)[1:], told[1:], atol=1e-3)


def test_every_curve_has_one_number_per_shell(found):
    _, folder = found
    curves = json.loads((folder / "fsc.json").read_text())
    assert curves.pop("resolution") >= 2 * GRID.pixel_size
    assert len(curves.pop("noise")[0]) == GRID.half
    assert {len(curve) for curve in curves.values()} == {GRID.half}


def test_what_was_saved_is_loaded(found):
    reconstruction, folder = found
    z = torch.zeros(0)
    assert torch.equal(Reconstruction.load(folder).volume(z).voxels, reconstruction.volume(z).voxels)


def test_another_seed_draws_other_halves(found, stack, tmp_path):
    _, folder = found
    config = Config(seed=1)
    reconstruct(stack, config, open_run(tmp_path / "out", config, stack))
    assert not torch.equal(read_map(tmp_path / "out/half1.mrc").voxels, read_map(folder / "half1.mrc").voxels)


def test_the_order_of_particles_does_not_matter(found, stack, tmp_path):
    reconstruction, _ = found
    halves = torch.zeros(len(stack), dtype=torch.long)
    halves[stack.halves(0)[0]], halves[stack.halves(0)[1]] = 1, 2
    shuffled = replace(stack, half=halves).select(torch.randperm(len(stack)))
    again = reconstruct(shuffled, Config(), open_run(tmp_path / "out", Config(), shuffled)).mean().voxels
    assert torch.allclose(again, reconstruction.mean().voxels, atol=1e-3 * float(again.max()))


def test_a_negative_number_of_passes_is_refused():
    with pytest.raises(ValueError, match="noise_passes"):
        Config(noise_passes=-1)

"""CryoSPIRE on experimental tilt images from their own RELION 5 files: one latent per particle."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.data.errors import MetadataWarning
from morphem.data.mrc import read_map
from morphem.data.stack import ParticleStack, open_stack
from morphem.data.star import read_star
from morphem.engine.files import read_json
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.metrics.fsc import shell_correlation
from morphem.models.gaussian_density import AnchoredMixture
from morphem.physics.masks import soft_ball
from morphem.report.api import reconstruct
from morphem.report.options import Choice
from morphem.report.volumes import write_volumes

# data/MANIFEST.md; see test_real_particles.py for how it is measured
MANIFEST_FSC = torch.tensor([0.96, 0.89, 0.83, 0.77, 0.63, 0.47, 0.44, 0.44, 0.38, 0.29, 0.21])
SET = "tomodrgn/warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
EPOCHS = 3


@pytest.fixture(scope="module")
def tilts(shared_data: Path) -> ParticleStack:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        stack = open_stack(shared_data / "real" / SET)
    return replace(stack, half=1 + stack.particle % 2)


@pytest.fixture(scope="module")
def folder(tilts: ParticleStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "run"
    small = {
        "parts__gaussians": 400,
        "fine__gaussians": 800,
        "fine__scale": 0.02,
        "parts_descent__epochs": EPOCHS,
        "fine_descent__epochs": EPOCHS,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        reconstruct("cryospire", tilts, out, preset="quick", **small)
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Reconstruction:
    return Reconstruction.load(folder)


def test_tilt_images_become_one_latent_per_particle(found, tilts):
    assert len(tilts) == 1430
    assert found.latents.shape == (40, 4)
    assert bool(found.latents.isfinite().all())
    assert float(found.latents.std(0).min()) > 0


def test_all_images_of_a_particle_move_its_latent(folder):
    tensors, _ = Run(folder).stage("fine").load_result()
    steps = tensors["latents.steps"]
    assert steps.shape == (40,)
    # a latent per image would have moved once in an epoch; a particle is in most of an epoch's 23 batches
    assert int(steps.min()) > 10 * EPOCHS


def test_the_particle_file_has_a_row_per_particle_with_its_latent(folder, found, shared_data):
    particles = SET.replace("_optimisation_set", "")
    before = next(t for t in read_star(shared_data / "real" / particles).tables if "rlnImageName" in t)
    after = next(t for t in read_star(folder / "particles.star").tables if "rlnImageName" in t)
    columns = [after.numbers(f"morphemLatent{k}") for k in range(1, 5)]
    np.testing.assert_array_equal(np.stack(columns, 1).astype(np.float32), found.latents.numpy())
    assert after.texts("rlnTomoParticleName") == before.texts("rlnTomoParticleName")
    assert after.texts("rlnTomoVisibleFrames") == before.texts("rlnTomoVisibleFrames")


def test_the_mean_map_is_the_back_projected_one_where_that_is_sure(folder, found):
    half1, half2 = (read_map(folder / f"half{k}.mrc").voxels for k in (1, 2))
    grid = found.grid
    back_projected = replace(found.mean(), voxels=(half1 + half2) / 2)
    ball = soft_ball(grid, 11 * grid.pixel_size, 3 * grid.pixel_size)
    correlation = shell_correlation(found.mean(), back_projected, ball)
    # after 3 + 3 epochs; 800 random Gaussians are too few for what is finer than 150 Å
    assert float(correlation[1:3].min()) > 0.9
    assert float(correlation[1:9].mean()) > 0.65  # to 48 Å, where the halves still agree to 0.4


def test_half_maps_correlate_as_the_manifest_says(folder, found):
    half1, half2 = (read_map(folder / f"half{k}.mrc") for k in (1, 2))
    grid = found.grid
    ball = soft_ball(grid, 11 * grid.pixel_size, 3 * grid.pixel_size)
    correlation = shell_correlation(half1, replace(half2, grid=half1.grid), ball)[1:12]
    assert (correlation - MANIFEST_FSC).abs().max() < 0.05


def test_the_image_term_falls_in_both_stages(found):
    for epochs in found.history.values():
        assert epochs[-1]["image"] < epochs[0]["image"]


def test_every_voxel_of_a_part_is_named_in_the_table(folder, found):
    numbers = [part["part"] for part in read_json(folder / "parts.json")["parts"]]
    labels = read_map(folder / "parts.mrc").voxels.unique().int().tolist()
    assert isinstance(found.density, AnchoredMixture)
    assert set(labels) <= {0, *numbers}


def test_states_and_pictures_can_be_looked_at(folder, found, tmp_path):
    maps = write_volumes(found, Choice(states=3), tmp_path)
    assert [read_map(path).grid.box for path in maps] == [32, 32, 32]
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"latents", "parts", "fsc", "loss", "maps"}

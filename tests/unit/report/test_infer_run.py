"""Placing new particles in the maps of a finished run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem import cli
from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Optics, Poses, Volume
from morphem.data.errors import DataError
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import open_run
from morphem.inference.frozen import homogeneous, write_model
from morphem.inference.subspace import Subspace
from morphem.methods import cryofire, cryospire
from morphem.methods.cryofire.paper import PaperConfig, reconstruct_paper
from morphem.models.density import LinearDensity
from morphem.report.infer import infer
from morphem.report.options import Preparation
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth, simulate

GRID = Grid(32, 8.0)
BRIGHT = Preparation(sign=1.0)


@pytest.fixture(scope="module")
def seen() -> tuple[ParticleStack, Truth]:
    return simulate(hinge(1e-3, 1), 60, GRID, 5, Conditions(snr=1.0, shift=6.0))


@pytest.fixture(scope="module")
def run(seen: tuple[ParticleStack, Truth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended with the true map."""
    folder = tmp_path_factory.mktemp("run")
    stack, truth = seen
    volume = truth.volume(truth.state[0])
    opened = open_run(folder, cryofire.Config(), stack)
    direction = torch.roll(volume.voxels, 3, 0)[None] * 0.1
    small = Volume(resize_map(volume.voxels, 28), GRID.resized(28))
    model = homogeneous(small, 12, torch.ones(1, GRID.half), GRID)
    space = Subspace(volume.voxels, direction, GRID)
    write_model(opened, replace(model, space=space))
    density = LinearDensity.of(volume, direction)
    latents = torch.zeros(len(stack), 1)
    Reconstruction(stack.poses, latents, density, GRID, {}, opened.provenance()).save(folder, stack)
    return folder


def _blind(stack: ParticleStack) -> ParticleStack:
    n = len(stack)
    return replace(stack, poses=Poses(torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 2)), has_poses=False)


def test_results_lie_in_a_folder_like_that_of_a_run(
    run: Path, seen: tuple[ParticleStack, Truth], tmp_path: Path
):
    stack = _blind(seen[0])
    found = infer(run, stack, tmp_path / "out", preparation=BRIGHT)
    loaded = Reconstruction.load(tmp_path / "out")
    assert torch.equal(loaded.poses.rotation, found.poses.rotation)
    assert loaded.latents.shape == (60, 1)
    assert np.load(tmp_path / "out" / "latents_std.npy").shape == (60, 1)
    assert loaded.provenance["identity"]["config"]["run"] == str(run)
    near = (found.poses.shift - seen[1].poses.shift).norm(dim=1) < GRID.pixel_size / 2
    assert float(near.float().mean()) > 0.9


def test_images_of_finer_pixels_are_cropped_to_the_grid_of_the_run(
    run: Path, seen: tuple[ParticleStack, Truth], tmp_path: Path
):
    fine, truth = simulate(hinge(1e-3, 1), 40, Grid(64, 4.0), 6, Conditions(snr=0.3, shift=6.0))
    found = infer(run, _blind(fine), tmp_path / "out", preparation=BRIGHT)
    near = (found.poses.shift - truth.poses.shift).norm(dim=1) < GRID.pixel_size / 2
    assert float(near.float().mean()) > 0.9


def _empty(n: int, grid: Grid) -> ParticleStack:
    one = torch.ones(n)
    optics = Optics(1e4 * one, 1e4 * one, 0 * one, 300 * one, 2.7 * one, 0.1 * one, 0 * one, 0 * one, one)
    return stack_in_memory(torch.zeros(n, grid.box, grid.box), grid, optics)


def test_images_of_another_extent_are_told_how_to_be_cut(run: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"BOX-004.*--crop 32"):
        infer(run, _empty(3, Grid(40, 8.0)), tmp_path / "out")
    with pytest.raises(DataError, match=r"BOX-004.*256 Å"):
        infer(run, _empty(3, Grid(32, 5.3)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_of_coarser_pixels_are_refused(run: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"PIX-002.*8 Å or less"):
        infer(run, _empty(3, Grid(16, 16.0)), tmp_path / "out")


def test_the_folder_of_the_run_is_spared(run: Path, tmp_path: Path):
    with pytest.raises(DataError, match="PATH-004"):
        infer(run, _empty(3, GRID), run, overwrite=True)
    assert (run / "summary.json").exists()


def test_a_run_without_a_model_says_how_to_get_one(
    seen: tuple[ParticleStack, Truth], run: Path, tmp_path: Path
):
    old = tmp_path / "old"
    old.mkdir()
    for name in ("run.json", "summary.json", "poses.safetensors", "latents.npy", "density.safetensors"):
        (old / name).write_bytes((run / name).read_bytes())
    with pytest.raises(DataError, match="RUN-003"):
        infer(old, _blind(seen[0]), tmp_path / "out", preparation=BRIGHT)


def _said(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["infer", str(run), "particles.star", "-o", "out"]) == 1
    return capsys.readouterr().err


def test_a_run_of_another_method_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    open_run(tmp_path, cryospire.PRESETS["paper"], _empty(3, GRID))
    assert "E-RUN-002" in (said := _said(tmp_path, capsys))
    assert "is a run of cryospire" in said


def test_an_unfinished_run_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    open_run(tmp_path, cryofire.Config(), _empty(3, GRID))
    assert "E-RUN-001" in _said(tmp_path, capsys)


def test_a_folder_that_holds_no_run_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "E-PATH-001" in _said(tmp_path, capsys)


def test_an_encoder_that_was_trained_with_the_density_reads_new_images(
    seen: tuple[ParticleStack, Truth], tmp_path: Path
):
    stack, out = _blind(seen[0]), tmp_path / "out"
    small = PaperConfig(latent=2, pose_epochs=1, joint_epochs=1, hidden=16, layers=1, device="cpu")
    config = cryofire.Config(by="encoder", encoder=small)
    opened = open_run(tmp_path / "run", config, stack)
    trained = reconstruct_paper(stack, small, opened)
    trained.save(opened.root, stack)
    found = infer(tmp_path / "run", stack.select(torch.arange(5)), out, preparation=BRIGHT)
    assert found.latents.shape == (5, 2)
    assert len(Reconstruction.load(out).poses) == 5

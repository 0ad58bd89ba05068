"""Finished and unfinished runs as something to show."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scene_cases import moving_parts

from morphem.core.grid import Grid
from morphem.data.errors import DataError
from morphem.data.preprocess import prepare
from morphem.data.stack import open_stack
from morphem.engine.parts import write_parts
from morphem.engine.reconstruction import Reconstruction, write_spread
from morphem.engine.run import open_run
from morphem.report.scene.build import build_scene
from morphem.report.scene.images import ReadyImages, ready_images
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.run import commands_of, shown_run, subtitle_of
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge

GRID = Grid(24, 256 / 24)
IMAGES = 120


@dataclass(frozen=True)
class Settings:
    """Of no method."""

    seed: int = 3


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("particles")
    star = write_dataset(folder, plan(hinge(), IMAGES, GRID))
    shutil.rmtree(folder / "truth")
    return star


@pytest.fixture(scope="module")
def finished(particles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with parts, spreads and contrasts, without a method having run."""
    folder = tmp_path_factory.mktemp("runs") / "job7"
    stack = open_stack(particles)
    run = open_run(folder, Settings(), stack)
    density = moving_parts(GRID.extent)
    latents = torch.randn(IMAGES, 1, generator=torch.Generator().manual_seed(0))
    history = {"fine": [{"epoch": 1, "image": 2.0}]}
    Reconstruction(stack.poses, latents, density, GRID, history, run.provenance()).save(folder, stack)
    write_parts(density, latents, GRID, folder)
    write_spread(folder, 0.04 * torch.ones(IMAGES, 1, 1))
    run.stage("fine").save_result({"contrast": torch.linspace(0.5, 1.5, IMAGES)}, {})
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The run, to be spoilt."""
    shutil.copytree(finished, tmp_path / "job7")
    return tmp_path / "job7"


def test_a_run_finds_its_images_poses_and_maps_again(finished: Path):
    shown = shown_run(finished)
    assert (shown.title, len(shown.latents)) == ("job7", IMAGES)
    assert shown.stack is not None
    assert shown.poses is not None
    assert len(shown.stack) == IMAGES == len(shown.poses)
    assert shown.decode is not None
    assert shown.sample is not None
    z = shown.latents[3]
    torch.testing.assert_close(shown.decode(z).voxels, shown.sample(z, GRID).voxels)


def test_columns_tell_how_each_particle_was_seen_and_what_its_file_says(finished: Path):
    columns = {column.name: column for column in shown_run(finished).columns}
    wanted = {"view_latitude", "view_longitude", "in_plane", "shift", "defocus", "std", "contrast", "half"}
    assert wanted | {"part1_occupancy", "part2_turn", "morphemTrueState1"} <= set(columns)
    assert all(len(column.values) == IMAGES for column in columns.values())
    np.testing.assert_allclose(columns["std"].values, 0.2, rtol=1e-6)
    np.testing.assert_allclose(columns["contrast"].values, np.linspace(0.5, 1.5, IMAGES), rtol=1e-6)
    # RELION's tilt is the angle of the view from z
    tilt = columns["morphemTrueAngleTilt"].values
    np.testing.assert_allclose(columns["view_latitude"].values, 90 - tilt, atol=1e-2)
    np.testing.assert_allclose(columns["in_plane"].values, columns["morphemTrueAnglePsi"].values, atol=1e-2)


def test_a_run_whose_particles_have_gone_is_shown_without_them(copied: Path, tmp_path: Path):
    record = json.loads((copied / "run.json").read_text())
    record["source"]["path"] = str(tmp_path / "gone.star")
    (copied / "run.json").write_text(json.dumps(record))
    shown = shown_run(copied)
    assert shown.stack is None
    assert "gone.star" in str(shown.record["images"])
    # what the particle file among the results says is still known
    assert {"view_latitude", "defocus", "half"} <= {column.name for column in shown.columns}


def test_particles_that_moved_are_taken_from_where_they_are_said_to_be(copied: Path, particles: Path):
    record = json.loads((copied / "run.json").read_text())
    del record["source"]
    (copied / "run.json").write_text(json.dumps(record))
    assert shown_run(copied).stack is None
    assert shown_run(copied, particles).stack is not None


def test_particles_of_another_run_are_refused(finished: Path, tmp_path: Path):
    star = write_dataset(tmp_path, plan(hinge(), 30, GRID))
    with pytest.raises(DataError, match="PATH-006"):
        shown_run(finished, star)


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="RUN-001"):
        shown_run(tmp_path)


def test_an_unfinished_run_shows_the_maps_it_has_and_says_so(copied: Path):
    (copied / "mean.mrc").rename(copied / "consensus.mrc")
    (copied / "summary.json").unlink()
    (copied / "status.json").write_text(json.dumps({"stage": "fine"}))
    record = build_scene(shown_run(copied)).record
    assert [state["name"] for state in record["states"]] == ["consensus"]
    assert record["findings"][0]["verdict"] == "bad"
    assert "stage fine" in record["findings"][0]["text"]


def test_images_are_those_that_the_run_saw(finished: Path, copied: Path, particles: Path):
    stack = open_stack(particles)
    prepared = prepare(stack, cache=copied / "cache", sign=1.0)
    rows = torch.tensor([5, 0, 99])
    cached = ready_images(copied, stack, GRID)
    assert torch.equal(cached.read(rows).images, prepared.read(rows).images)
    next((copied / "cache").glob("*.npy")).unlink()
    anew = ready_images(copied, stack, GRID)
    assert isinstance(anew.images, ReadyImages)
    # the cache holds float16
    torch.testing.assert_close(anew.read(rows).images, prepared.read(rows).images, atol=5e-3, rtol=1e-3)
    measured = ready_images(finished, stack, GRID)
    scale = measured.read(rows).images.std() / prepared.read(rows).images.std()
    assert float(scale) == pytest.approx(1, abs=0.1)  # noise of a few images beside that of all
    some = measured.images.select(torch.tensor([99]))
    torch.testing.assert_close(some.read(torch.tensor([0]))[0], measured.read(rows).images[2])


def test_subtitle_names_method_and_preset():
    told = {"identity": {"method": "morphem.methods.cryospire.settings.Config"}}
    assert subtitle_of(told | {"command": ["morphem", "--preset=quick"]}) == "cryospire, preset quick"
    assert subtitle_of(told | {"command": []}) == "cryospire"


def test_commands_repeat_what_was_typed_and_quote_what_needs_it(tmp_path: Path):
    typed = ["/usr/bin/morphem", "reconstruct", "cryofire", "my particles.star", "-o", "run"]
    commands = commands_of(tmp_path / "my run", {"command": typed}, 2)
    assert commands[0][1] == "morphem reconstruct cryofire 'my particles.star' -o run"
    assert all("my run'" in command for _, command in commands[1:])
    assert commands_of(tmp_path, {"command": ["pytest"]}, 0)[0][0] != commands[0][0]


def test_the_whole_scene_of_a_run_is_built(finished: Path):
    scene = build_scene(shown_run(finished), SceneOptions(states=2, steps=2, measured=200))
    assert [part["number"] for part in scene.record["parts"]] == [1, 2]
    assert all(0 <= part["present"] <= 1 for part in scene.record["parts"])
    assert dict(map(tuple, scene.record["summary"]))["seed"] == "3"
    assert replace(shown_run(finished)).record["history"] == {"fine": [{"epoch": 1, "image": 2.0}]}

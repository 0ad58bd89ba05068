"""A run is judged by the truth of the particles that it looked at, and of no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from morphem.core.grid import Grid
from morphem.data.errors import DataError
from morphem.report.api import reconstruct
from morphem.report.evaluate import open_result
from morphem.report.options import Preparation
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge
from morphem.simulate.particles import Conditions, Truth

GRID = Grid(16, 16.0)
IMAGES = 64


def simulated(folder: Path, images: int = IMAGES, presence: float = 0.7) -> tuple[Path, Truth]:
    truth = plan(hinge(presence=presence), images, GRID, 0, Conditions(snr=0.3))
    write_dataset(folder, truth)
    return folder, truth


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    return simulated(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    reconstruct("backprojection", data[0] / "particles.star", out, "", Preparation())
    return out


def test_a_run_tells_its_method_and_its_pace(run: Path, data: tuple[Path, Truth]):
    result = open_result(run, *data)
    assert result.facts["method"] == "backprojection"
    assert result.facts["seconds"] >= 0
    assert result.latents is not None
    assert result.latents.shape == (IMAGES, 0)


def test_the_same_molecule_seen_otherwise_is_another_set(run: Path, tmp_path: Path):
    other = simulated(tmp_path / "other", presence=0.1)  # poses, defoci and noise are the same
    with pytest.raises(DataError, match=r"other particles than .*: grey_values differ") as error:
        open_result(run, *other)
    assert error.value.code == "TRUTH-004"


def test_a_set_of_another_size_is_another_set(run: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"a run on 64 images, .* has 32"):
        open_result(run, *simulated(tmp_path / "other", images=32))


def test_a_run_that_has_not_finished_is_refused_as_such(run: Path, data: tuple[Path, Truth], tmp_path: Path):
    (tmp_path / "run.json").write_bytes((run / "run.json").read_bytes())
    with pytest.raises(DataError, match="has not finished"):
        open_result(tmp_path, *data)


def test_a_misspelt_folder_is_named(data: tuple[Path, Truth], tmp_path: Path):
    with pytest.raises(DataError, match="nothere does not exist"):
        open_result(tmp_path / "nothere", *data)

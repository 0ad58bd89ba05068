"""Maps with what the images have over and above a run's Gaussians."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from finished import BOX, finished_run, star_set
from morphem.cli.commands import volumes
from morphem.data.errors import DataError
from morphem.data.mrc import read_map
from morphem.inference.part_maps import refined_volume
from morphem.report.api import load
from morphem.report.refined import refined_decoder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = finished_run(tmp_path / "run", star_set(tmp_path, 60))
    half = BOX // 2 + 1
    noise = {"noise": [[1.0] * half] * 2, "fsc_corrected": [1.0] * half}
    (folder / "fsc.json").write_text(json.dumps(noise))
    return folder


def test_what_is_added_is_what_halves_of_the_images_agree_on(run: Path):
    found = load(run)
    decode, maps = refined_decoder(run, found)
    z = found.latents[3]
    assert torch.equal(decode(z).voxels, refined_volume(found.density, maps.left, z).voxels)
    assert decode(z).grid == found.grid
    # the images are noise: next to nothing of the finest shells is common to both halves
    assert maps.fsc.shape[0] == 2
    assert float(maps.fsc[:, -2:].abs().mean()) < 0.5


def test_the_command_writes_maps_and_how_far_halves_agree(run: Path, tmp_path: Path):
    out = tmp_path / "maps"
    assert volumes([str(run), "--states", "2", "--refined", "-o", str(out)]) == 0
    told = json.loads((out / "refined.json").read_text())
    assert [each["frame"] for each in told["frames"]] == [1, 2]
    assert len(told["frequency"]) == len(told["frames"][0]["fsc"])
    found = load(run)
    row = json.loads((out / "volumes.json").read_text())[0]
    decode, _ = refined_decoder(run, found)
    expected = decode(torch.tensor(row["latent"])).voxels
    torch.testing.assert_close(read_map(out / row["map"]).voxels, expected, rtol=1e-5, atol=1e-5)


def test_a_run_without_parts_has_no_frames_to_add_images_in(tmp_path: Path):
    folder = finished_run(tmp_path / "run", star_set(tmp_path), density="voxels", latent=0)
    with pytest.raises(ValueError, match="no rigid parts"):
        refined_decoder(folder, load(folder))


def test_a_run_that_does_not_tell_its_noise_is_told_of(run: Path):
    (run / "fsc.json").unlink()
    with pytest.raises(DataError, match="PATH-007"):
        refined_decoder(run, load(run))

"""Output folders as cryoDRGN 3 and 4 lay them out, and what is shown of them."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.data.mrc import write_map
from morphem.report.foreign.cryodrgn import find_output, shown_cryodrgn
from morphem.report.foreign.opening import is_run, shown_foreign
from morphem.report.scene.build import build_scene
from morphem.report.scene.shown import Shown
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge

COUNT, WIDTH, BOX, PIXEL = 60, 3, 16, 4.0
CONFIG = """cmd:
- cryodrgn
- train_vae
dataset_args:
  ctf: {ctf}
  datadir: {datadir}
  ind: {ind}
  particles: {particles}
  poses: {poses}
lattice_args:
  D: {side}
  extent: 0.5
model_args:
  zdim: 3
seed: 0
version: {version}
"""
LOG = """(INFO) (train_vae.py) (21-Nov-26 14:51:33) # =====> Epoch: 1 Average gen loss = 0.673595, \
KLD = 5.751062, total loss = 0.673819; Finished in 0:04:27.462434
# [Train Epoch: 2/20] [1008/5000 particles] gen loss=0.642611, kld=9.906038, beta=0.125000, loss=0.642997
# =====> Epoch: 2 Average gen loss = 0.5, KLD = 5.75, total loss = 0.51; Finished in 0:04:27.462434
"""


def dump(path: Path, *contents: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for content in contents:
            pickle.dump(content, file)


def latents_of(epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).normal(size=(COUNT, WIDTH)).astype(np.float32)


def blob(k: int, box: int = BOX) -> Volume:
    """A map that tells which it is: brighter, and farther from the middle."""
    grid = Grid(box, PIXEL * BOX / box)
    axis = grid.axis()
    squared = (axis[:, None, None] - 2 * k).square() + axis[:, None].square() + axis.square()
    return Volume((1 + k) * torch.exp(-squared / 128), grid)


def write_config(folder: Path, version: str = "4.3.1", **values: object) -> None:
    known = {"ctf": "null", "datadir": "null", "ind": "null", "particles": "/gone/p.star", "poses": "null"}
    text = CONFIG.format(**{**known, "side": BOX + 1, "version": version, **values})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def write_series(folder: Path, latents: np.ndarray, first: int, table: str = "z_values.txt") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / table, latents)
    for k in range(len(latents)):
        write_map(folder / f"vol_{k + first:03d}.mrc", blob(k))


def write_analysis(folder: Path, epoch: int, first: int) -> None:
    """As ``cryodrgn analyze`` writes it: k-means, two components, UMAP; v3 counts maps from 0, v4 from 1."""
    z, analysis = latents_of(epoch), folder / f"analyze.{epoch}"
    centres = z[[4, 9, 20, 31]]
    write_series(analysis / "kmeans4", centres, first)
    np.savetxt(analysis / "kmeans4" / "centers.txt", centres)
    np.savetxt(analysis / "kmeans4" / "centers_ind.txt", [4, 9, 20, 31], fmt="%d")
    dump(analysis / "kmeans4" / "labels.pkl", np.arange(COUNT) % 4)
    for component in (1, 2):
        write_series(analysis / f"pc{component}", z[:3] + component, first)
    dump(analysis / "umap.pkl", np.random.default_rng(1).normal(size=(COUNT, 2)).astype(np.float32))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Three epochs, the second of them analysed."""
    folder = tmp_path / "00_vae128"
    write_config(folder)
    (folder / "run.log").write_text(LOG, encoding="utf-8")
    for epoch in (1, 2, 10):
        dump(folder / f"z.{epoch}.pkl", latents_of(epoch), np.zeros((COUNT, WIDTH), np.float32))
        (folder / f"weights.{epoch}.pkl").write_bytes(b"never read")
    write_analysis(folder, 2, 1)
    return folder


def shown(folder: Path) -> Shown:
    return shown_foreign(folder)


def test_latents_and_maps_are_of_the_newest_epoch_that_was_analysed(output: Path):
    found = shown(output)
    np.testing.assert_array_equal(found.latents.numpy(), latents_of(2))
    assert found.subtitle == "cryoDRGN 4.3.1, epoch 2"
    assert dict(found.summary)["newest latents"] == "epoch 10, not analysed yet"
    assert any(command.endswith("00_vae128 10") for _, command in found.commands)


def test_without_any_analysis_the_newest_epoch_counts_by_number_not_by_name(output: Path):
    shutil.rmtree(output / "analyze.2")
    found = shown(output)
    np.testing.assert_array_equal(found.latents.numpy(), latents_of(10))
    assert found.fixed == ()
    assert found.grid is None


def test_each_map_has_the_latent_that_it_was_decoded_at(output: Path):
    found = shown(output)
    names = [each.name for each in found.fixed]
    assert names[:4] == [f"kmeans4/vol_{k:03d}" for k in (1, 2, 3, 4)]
    assert names[4:] == [f"pc{c}/vol_{k:03d}" for c in (1, 2) for k in (1, 2, 3)]
    np.testing.assert_allclose(
        torch.stack([each.latent for each in found.fixed[:4]]), latents_of(2)[[4, 9, 20, 31]]
    )
    for k, each in enumerate(found.fixed[:4]):
        torch.testing.assert_close(each.volume.voxels, blob(k).voxels)


def test_version_3_counts_maps_from_0(tmp_path: Path):
    folder = tmp_path / "out"
    write_config(folder, version="3.4.0")
    dump(folder / "z.24.pkl", latents_of(24), np.zeros((COUNT, WIDTH), np.float32))
    write_analysis(folder, 24, 0)
    found = shown(folder)
    assert found.fixed[0].name == "kmeans4/vol_000"
    np.testing.assert_allclose(found.fixed[0].latent, latents_of(24)[4])


def test_clusters_and_umap_become_columns(output: Path):
    columns = {column.name: column for column in shown(output).columns}
    assert columns["kmeans"].values.tolist() == [k % 4 for k in range(COUNT)]
    assert columns["kmeans"].categories == ("1", "2", "3", "4")
    assert columns["umap1"].values.shape == (COUNT,)


def test_the_loss_by_epoch_is_read_from_the_log(output: Path):
    rows = shown(output).record["history"]["training"]
    assert rows == [{"epoch": 1, "loss": 0.673819}, {"epoch": 2, "loss": 0.51}]


@pytest.mark.parametrize(
    ("line", "loss"),
    [
        ("# =====> Epoch: 7 Average loss = 0.25; Finished in 0:01:00", 0.25),
        ("# =====> SGD Epoch: 7 finished in 0:01:00; total loss = 0.125000", 0.125),
    ],
    ids=["train_dec", "abinit"],
)
def test_logs_of_its_other_programs_are_read_too(output: Path, line: str, loss: float):
    (output / "run.log").write_text(line + "\n", encoding="utf-8")
    assert shown(output).record["history"]["training"] == [{"epoch": 7, "loss": loss}]


def test_a_latent_of_one_number_has_its_maps_beside_the_analysis(tmp_path: Path):
    folder = tmp_path / "out"
    write_config(folder)
    z = latents_of(1)[:, :1]
    dump(folder / "z.1.pkl", z, z)
    write_series(folder / "analyze.1", z[:5, 0], 1)
    found = shown(folder)
    assert [each.name for each in found.fixed] == [f"analyze.1/vol_{k:03d}" for k in range(1, 6)]
    np.testing.assert_allclose(torch.cat([each.latent for each in found.fixed]), z[:5, 0])


def test_an_output_below_is_found_with_maps_that_were_decoded_beside_it(tmp_path: Path):
    write_config(tmp_path / "job" / "vae")
    dump(tmp_path / "job" / "vae" / "z.3.pkl", latents_of(3), latents_of(3))
    write_series(tmp_path / "job" / "maps", latents_of(3)[:6], 0, "asked_for.txt")
    found = shown(tmp_path / "job")
    assert found.title == "job"
    assert [each.name for each in found.fixed] == [f"maps/vol_{k:03d}" for k in range(6)]
    np.testing.assert_allclose(found.fixed[5].latent, latents_of(3)[5])


def test_files_without_a_number_are_the_last_epoch(tmp_path: Path):
    write_config(tmp_path)
    dump(tmp_path / "z.9.pkl", latents_of(9), latents_of(9))
    np.save(tmp_path / "z.npy", latents_of(0))
    found = find_output(tmp_path)
    assert found is not None
    assert found.epoch is None
    np.testing.assert_array_equal(shown_cryodrgn(tmp_path, found).latents.numpy(), latents_of(0))


def test_voxels_of_1_angstrom_are_not_believed_where_the_optics_know_better(output: Path):
    optics = np.tile([2.0 * BOX, 2.0, 1.5e4, 1.4e4, 30, 300, 2.7, 0.1, 0], (COUNT, 1))
    dump(output / "ctf.pkl", optics.astype(np.float32))
    write_config(output, ctf="/moved/elsewhere/ctf.pkl")
    for path in output.glob("analyze.2/*/vol_*.mrc"):
        write_map(path, Volume(torch.rand(BOX, BOX, BOX), Grid(BOX, 1.0)))
    found = shown(output)
    assert found.grid == Grid(BOX, 4.0)  # 2 Å before the images were halved
    assert {column.name: column.values[0] for column in found.columns}["defocus"] == 14500


def test_maps_of_different_boxes_over_one_extent_are_shown_on_the_coarser(output: Path):
    write_map(output / "analyze.2" / "pc1" / "vol_001.mrc", blob(0, 2 * BOX))
    found = shown(output)
    assert {each.volume.grid for each in found.fixed} == {Grid(BOX, PIXEL)}
    finer = next(each for each in found.fixed if each.name == "pc1/vol_001")
    torch.testing.assert_close(finer.volume.voxels, blob(0).voxels, atol=0.02, rtol=0)  # edges of the box


def test_maps_of_another_extent_are_refused(output: Path):
    write_map(output / "analyze.2" / "pc1" / "vol_001.mrc", Volume(torch.rand(8, 8, 8), Grid(8, PIXEL)))
    with pytest.raises(DataError, match=r"E-MAPS-005 .*vol_001.mrc spans 32 Å"):
        shown(output)


def test_a_pickle_that_is_code_is_refused_and_never_run(output: Path, tmp_path: Path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    dump(output / "analyze.2" / "umap.pkl", Harmful())
    with pytest.raises(DataError, match="E-PKL-001"):
        shown(output)
    assert not (tmp_path / "harmed").exists()


def test_columns_of_other_particles_are_refused(output: Path):
    dump(output / "analyze.2" / "umap.pkl", np.zeros((COUNT + 1, 2)))
    with pytest.raises(DataError, match=r"E-COUNT-001 .*umap.pkl holds 61 × 2"):
        shown(output)


def test_what_a_folder_was_searched_for_is_told(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(DataError, match=r"E-VIEW-004 .*notes.txt; looked for: .*summary.json.*z.N.pkl.*mrc"):
        shown(tmp_path)
    with pytest.raises(DataError, match="E-PATH-001"):
        shown(tmp_path / "nowhere")


def test_a_cryodrgn_output_is_no_run_of_ours(output: Path):
    assert not is_run(output)
    (output / "run.json").write_text("{}")
    assert is_run(output)


@pytest.fixture(scope="module")
def particles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_dataset(folder, plan(hinge(), COUNT, Grid(BOX, PIXEL)))
    return folder / "particles.star"


def test_images_are_at_hand_where_the_settings_say(output: Path, particles: Path):
    write_config(output, particles=particles, datadir=particles.parent)
    found = shown(output)
    assert found.stack is not None
    assert found.poses is not None
    assert len(found.stack) == len(found.poses) == COUNT
    assert dict(found.summary)["particle images"] == str(particles)
    assert {"defocus", "view_latitude"} <= {column.name for column in found.columns}


def test_poses_that_it_found_win_over_those_of_the_file(output: Path, particles: Path):
    rotation = np.tile(np.eye(3), (COUNT, 1, 1))
    dump(output / "pose.2.pkl", (rotation, np.full((COUNT, 2), 0.25)))
    write_config(output, particles=particles)
    poses = shown(output).poses
    assert poses is not None
    torch.testing.assert_close(poses.rotation, torch.eye(3).expand(COUNT, 3, 3))
    torch.testing.assert_close(poses.shift, torch.full((COUNT, 2), -0.25 * BOX * PIXEL))


def test_images_that_were_left_out_of_training_are_left_out(output: Path, particles: Path, tmp_path: Path):
    kept = np.arange(0, COUNT, 2)
    dump(tmp_path / "ind.pkl", kept)
    shutil.rmtree(output / "analyze.2")
    dump(output / "z.10.pkl", latents_of(10)[kept], latents_of(10)[kept])
    write_config(output, particles=particles, ind=tmp_path / "ind.pkl")
    found = shown(output)
    assert found.stack is not None
    assert len(found.stack) == len(kept)


def test_why_images_are_not_at_hand_is_told(output: Path, particles: Path):
    found = shown(output)
    assert found.stack is None
    assert "/gone/p.star is not there" in dict(found.summary)["particle images"]
    shutil.rmtree(output / "analyze.2")
    dump(output / "z.10.pkl", latents_of(10)[:50], latents_of(10)[:50])
    with pytest.raises(DataError, match="E-COUNT-001"):
        shown_foreign(output, particles)


def test_a_scene_is_made_of_it(output: Path, particles: Path):
    write_config(output, particles=particles)
    scene = build_scene(shown(output), live=True)
    assert scene.record["states"][0]["name"] == "kmeans4/vol_001"
    assert scene.record["particles"]["count"] == COUNT
    assert scene.record["maps"]["box"] == BOX
    assert sum(state["particles"] for state in scene.record["states"]) == COUNT

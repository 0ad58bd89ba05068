"""Folders of cryoSPARC's 3D Variability and of RECOVAR, written by independent writers."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from morphem.data.errors import DataError
from morphem.report.foreign.opening import shown_foreign
from morphem.report.scene.build import build_scene
from morphem.report.viewer.live import Live
from morphem.report.viewer.opening import open_result

Dataset = pytest.importorskip("cryosparc.dataset").Dataset

COUNT, BOX, PIXEL = 40, 16, 3.0
RNG = np.random.default_rng(0)
MEAN, *MODES = RNG.normal(size=(4, BOX, BOX, BOX)).astype(np.float32)
VALUES = RNG.normal(size=(COUNT, 3)).astype(np.float32)
IMAGES = RNG.normal(size=(COUNT, BOX, BOX)).astype(np.float32)


def write_mrc(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as file:
        file.set_data(voxels)
        file.voxel_size = PIXEL


def write_job(folder: Path, components: int = 3) -> None:
    """A job as cryoSPARC writes it, its images above it in the project."""
    write_mrc(folder / "J11_map.mrc", MEAN)
    for number, mode in enumerate(MODES):
        write_mrc(folder / f"J11_component_{number}.mrc", mode)
    write_mrc(folder.parent / "J1" / "all.mrcs", IMAGES)
    full = {"blob/psize_A": PIXEL, "ctf/accel_kv": 300, "ctf/cs_mm": 2.7, "ctf/amp_contrast": 0.1}
    full |= {"ctf/df1_A": 15000, "ctf/df2_A": 15000, "ctf/df_angle_rad": 0, "ctf/phase_shift_rad": 0}
    fields = {name: np.full(COUNT, value, np.float32) for name, value in full.items()}
    fields |= {f"components_mode_{k}/value": VALUES[:, k] for k in range(components)}
    fields |= {
        "blob/path": np.full(COUNT, "J1/all.mrcs"),
        "blob/idx": np.arange(COUNT, dtype=np.uint32)[::-1],
        "blob/shape": np.full((COUNT, 2), BOX, np.uint32),
        "alignments3D/pose": RNG.normal(size=(COUNT, 3)).astype(np.float32),
        "alignments3D/shift": np.zeros((COUNT, 2), np.float32),
        "alignments3D/psize_A": np.full(COUNT, PIXEL, np.float32),
    }
    dataset = Dataset({"uid": np.arange(1, COUNT + 1, dtype=np.uint64), **fields})
    dataset.save(str(folder / "J11_particles.cs"))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "P3" / "J11"
    write_job(folder)
    return folder


def test_a_latent_is_the_mean_and_its_share_of_each_component(job: Path):
    found = shown_foreign(job)
    np.testing.assert_array_equal(found.latents.numpy(), VALUES)
    assert found.decode is not None
    expected = MEAN + sum(value * mode for value, mode in zip(VALUES[7], MODES, strict=True))
    density = found.decode(found.latents[7])
    np.testing.assert_allclose(density.voxels.numpy(), expected, atol=1e-5)
    assert density.grid.pixel_size == PIXEL


def test_images_of_a_job_are_found_and_belong_to_their_rows(job: Path):
    found = shown_foreign(job)
    assert found.stack is not None
    assert found.poses is not None
    assert found.stack.n_particles == COUNT
    shown = found.stack.read(torch.tensor([3])).images[0].numpy()
    agreement = [abs(np.corrcoef(shown.ravel(), image.ravel())[0, 1]) for image in IMAGES]
    assert int(np.argmax(agreement)) == COUNT - 1 - 3


def test_a_job_is_looked_at_live(job: Path):
    live = Live(open_result(job))
    assert live.map({"latent": VALUES[0].tolist()}) != live.map({"latent": VALUES[1].tolist()})


def test_components_without_their_values_are_refused(tmp_path: Path):
    folder = tmp_path / "J11"
    write_job(folder, components=2)
    with pytest.raises(DataError, match=r"no components_mode_2/value.*another job"):
        shown_foreign(folder)


def test_a_job_without_its_images_is_shown_without_them(job: Path):
    (job.parent / "J1" / "all.mrcs").unlink()
    found = shown_foreign(job)
    assert found.stack is None
    assert "all.mrcs" in dict(found.summary)["particle images"]


@pytest.fixture
def recovar(tmp_path: Path) -> Path:
    """Two widths, of which the first was analysed: four centres, a path of two."""
    write_mrc(tmp_path / "output" / "volumes" / "mean.mrc", MEAN)
    for width in (2, 3):
        place = tmp_path / "model" / f"zdim_{width}"
        place.mkdir(parents=True)
        np.save(place / "latent_coords.npy", VALUES[:, :width])
        np.save(place / "contrasts.npy", np.linspace(0.8, 1.2, COUNT))
    for folder, name, rows in (("kmeans", "center", [1, 5, 9, 11]), ("traj000", "state", [2, 3])):
        place = tmp_path / "analysis_2" / folder
        for number, row in enumerate(rows):
            write_mrc(place / f"{name}{number:03d}.mrc", MEAN + row)
            write_mrc(place / f"{name}{number:03d}_half1_unfil.mrc", MEAN)
        np.savetxt(place / "centers.txt", VALUES[rows, :2])
    return tmp_path


def test_recovar_is_shown_at_the_width_that_was_analysed(recovar: Path):
    found = shown_foreign(recovar)
    np.testing.assert_array_equal(found.latents.numpy(), VALUES[:, :2])
    names = [each.name for each in found.fixed]
    assert names == [*(f"kmeans/center00{k}" for k in range(4)), "traj000/state000", "traj000/state001"]
    for each, row in zip(found.fixed, [1, 5, 9, 11, 2, 3], strict=True):
        assert each.latent is not None
        np.testing.assert_allclose(each.latent.numpy(), VALUES[row, :2], rtol=1e-6)
        np.testing.assert_allclose(each.volume.voxels.numpy(), MEAN + row, atol=1e-5)
    assert [column.name for column in found.columns] == ["contrast"]
    assert build_scene(found, live=True).record["particles"]["count"] == COUNT


def test_recovar_without_an_analysis_shows_its_mean(recovar: Path):
    (recovar / "analysis_2").rename(recovar / "elsewhere")
    found = shown_foreign(recovar)
    assert found.latents.shape == (COUNT, 3)
    assert [(each.name, each.latent) for each in found.fixed] == [("mean", None)]

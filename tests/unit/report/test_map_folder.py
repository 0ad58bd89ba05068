"""Maps, latents and poses of other programs are read as what they are, or refused by name."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.mrc import write_map
from morphem.report.evaluate import evaluate, judged, open_result
from morphem.report.evaluate_checks import refuse_unknown_states
from morphem.report.evaluate_pairs import Limits, limits
from morphem.report.evaluate_plan import plan_maps, write_plan
from morphem.report.map_folder import read_latents, read_map_folder
from morphem.report.results import Result
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.ensembles import Bodies, Coordinate, PointEnsemble
from morphem.simulate.hinge import hinge
from morphem.simulate.motions import TableMotion
from morphem.simulate.particles import Conditions, Truth, known_truth

GRID = Grid(16, 16.0)
IMAGES = 120


@pytest.fixture(scope="module")
def truth() -> Truth:
    return plan(hinge(), IMAGES, GRID, 0, Conditions(snr=0.3))


@pytest.fixture(scope="module")
def data(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, truth)
    return folder


@pytest.fixture(scope="module")
def limit(truth: Truth) -> Limits:
    return limits(truth)


def folder_with(tmp_path: Path, table: str, grid: Grid = GRID, names: tuple[str, ...] = ("a", "b")) -> Path:
    """A table, and maps whose voxels are 0, 1, …"""
    for k, name in enumerate(names):
        write_map(tmp_path / f"{name}.mrc", Volume(torch.full((grid.box,) * 3, float(k)), grid))
    (tmp_path / "maps.csv").write_text(table)
    return tmp_path


def test_a_map_is_that_of_its_particle_whatever_the_order_of_the_table(
    tmp_path: Path, data: Path, truth: Truth
):
    found = read_map_folder(folder_with(tmp_path, "particle,file\n7,b.mrc\n3,a.mrc\n"), data, truth)
    assert found.particles is not None
    assert found.particles.tolist() == [7, 3]
    assert found.decode(torch.tensor([3, 7])).mean((1, 2, 3)).tolist() == [0, 1]


@pytest.mark.parametrize(
    "columns", ["angle (rad),optional domain (0 or 1)", "state1,state2"], ids=["names", "numbers"]
)
def test_maps_may_be_given_by_state(tmp_path: Path, data: Path, truth: Truth, columns: str):
    table = f"file,{columns}\na.mrc,0.2,1\nb.mrc,0.5,0\n"
    found = read_map_folder(folder_with(tmp_path, table), data, truth)
    assert found.states is not None
    torch.testing.assert_close(found.states, torch.tensor([[0.2, 1.0], [0.5, 0.0]]))
    assert found.particles is None


@pytest.mark.parametrize(
    ("table", "code", "words"),
    [
        ("file,particle,colour\na.mrc,3,red\n", "MAPS-001", "colour"),
        ("file\na.mrc\n", "MAPS-001", "state1 and state2"),
        ("file,state1\na.mrc,1\n", "MAPS-001", "state1"),
        ("file,particle\na.mrc,120\n", "MAPS-002", "particle 120, the set has 0 to 119"),
        ("file,particle\na.mrc,third\n", "MAPS-002", "'third', not a number"),
        ("file,particle\na.mrc,1\nc.mrc,2\n", "MAPS-004", "1 of 2 maps .* c.mrc"),
        ("file,particle\n", "MAPS-004", "names no map"),
        ("file,particle\na.mrc,1\nb.mrc,1\n", "MAPS-002", "1 particles twice, such as 1"),
        ("file,state1,state2\na.mrc,20,1\n", "MAPS-002", r"angle \(rad\) 20, .* angles in rad"),
        ("file,state1,state2\na.mrc,0.2,0.5\n", "MAPS-002", r"\(0 or 1\) 0.5, the set has 0, 1"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_what_is_wrong(
    tmp_path: Path, data: Path, truth: Truth, table: str, code: str, words: str
):
    with pytest.raises(DataError, match=words) as error:
        read_map_folder(folder_with(tmp_path, table), data, truth)
    assert error.value.code == code


def test_a_map_of_another_box_over_the_same_extent_is_resampled(tmp_path: Path, data: Path, truth: Truth):
    own = truth.volume(truth.state[0])
    write_map(tmp_path / "a.mrc", Volume(resize_map(own.voxels, 32), Grid(32, 8.0)))
    (tmp_path / "maps.csv").write_text("file,particle\na.mrc,0\n")
    found = read_map_folder(tmp_path, data, truth).decode(torch.tensor([0]))[0]
    torch.testing.assert_close(found, own.voxels, atol=1e-5, rtol=0)


def test_a_map_of_another_extent_is_refused(tmp_path: Path, data: Path, truth: Truth):
    folder = folder_with(tmp_path, "file,particle\na.mrc,3\n", Grid(16, 12.0))
    with pytest.raises(DataError, match=r"192 Å, the set 256 Å") as error:
        read_map_folder(folder, data, truth)
    assert error.value.code == "BOX-001"


def test_a_map_without_a_pixel_size_takes_that_of_the_set(tmp_path: Path, data: Path, truth: Truth):
    folder = folder_with(tmp_path, "file,particle\nb.mrc,3\n", Grid(16, 1.0))
    with pytest.warns(MetadataWarning, match=r"1 of 1 maps .* taken as spanning the set's 256 Å"):
        found = read_map_folder(folder, data, truth)
    assert found.decode(torch.tensor([3])).mean() == 1


def test_the_last_latents_and_poses_that_cryodrgn_left_are_taken(tmp_path: Path, data: Path, truth: Truth):
    folder = folder_with(tmp_path, "file,particle\na.mrc,3\n")
    for epoch in (2, 10):
        with (folder / f"z.{epoch}.pkl").open("wb") as file:
            pickle.dump(np.full((IMAGES, 8), epoch, np.float32), file)
    poses = truth.poses.rotation.numpy(), -truth.poses.shift.numpy() / GRID.extent
    with (folder / "pose.10.pkl").open("wb") as file:
        pickle.dump(poses, file)
    found = read_map_folder(folder, data, truth)
    assert found.latents is not None
    assert found.poses is not None
    assert found.latents.unique().tolist() == [10]
    torch.testing.assert_close(found.poses.shift, truth.poses.shift, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.poses.rotation, truth.poses.rotation)


def test_latents_of_another_set_are_refused(tmp_path: Path, data: Path, truth: Truth):
    folder = folder_with(tmp_path, "file,particle\na.mrc,3\n")
    np.save(folder / "latents.npy", np.zeros((50, 8)))
    with pytest.raises(DataError, match="50 rows, the set has 120 particles"):
        read_map_folder(folder, data, truth)


def test_poses_in_another_order_than_the_set_are_refused(tmp_path: Path, data: Path, truth: Truth):
    folder = folder_with(tmp_path, "file,particle\na.mrc,3\n")
    stars = (data / "particles.star").read_text().splitlines()
    (folder / "poses.star").write_text("\n".join(stars) + "\n")
    (folder / "particles.mrcs").symlink_to(data / "particles.mrcs")
    assert read_map_folder(folder, data, truth).poses is not None
    images = [row for row, line in enumerate(stars) if "@particles.mrcs" in line]
    stars[images[0]], stars[images[1]] = stars[images[1]], stars[images[0]]
    (folder / "poses.star").write_text("\n".join(stars) + "\n")
    with pytest.raises(DataError, match="row 0 is image 2, that of the set's particle file is image 1"):
        read_map_folder(folder, data, truth)


@pytest.mark.parametrize(
    ("change", "words"),
    [("seed", "planned for another simulated set"), ("latents", "holds other latents of the particles")],
)
def test_maps_planned_for_others_are_refused(
    tmp_path: Path, data: Path, truth: Truth, change: str, words: str
):
    late = truth.state + (change == "latents") * 0.1
    other = replace(truth, seed=truth.seed + (change == "seed"))
    for k, _ in enumerate(write_plan(other, late, tmp_path / "maps.csv").particles):
        write_map(tmp_path / f"vol_{k:03d}.mrc", Volume(torch.zeros(16, 16, 16), GRID))
    np.save(tmp_path / "latents.npy", truth.state.numpy())
    with pytest.raises(DataError, match=words):
        read_map_folder(tmp_path, data, truth)


def test_one_of_many_discrete_angles_is_known_by_its_rounded_value(tmp_path: Path):
    """Bodies in 100 states on a circle are looked up by the nearest key, whatever it is."""
    keys, still = torch.arange(100) * (2 * torch.pi / 100), torch.zeros(1, 3)
    bodies = Bodies(torch.eye(3).repeat(100, 1, 1, 1), torch.zeros(100, 1, 3), torch.ones(100, 1))
    angle = (Coordinate("angle (rad)", "circular"),)
    motion = TableMotion(still, torch.zeros(1).long(), keys, torch.full((100,), 0.01), bodies, angle)
    turning = PointEnsemble("turning", hinge().matter, motion)
    set_of_50 = known_truth(turning, torch.arange(50), GRID, 0, Conditions(), unit=1.0)
    refuse_unknown_states(tmp_path, torch.tensor([[0.063], [6.22], [-0.0628]]), set_of_50)
    for wrong in (0.03, 90.0):
        with pytest.raises(DataError, match=f"{wrong:g}, the set has 0, 0.06283"):
            refuse_unknown_states(tmp_path, torch.tensor([[wrong]]), set_of_50)


def test_latents_are_read_from_text_too(tmp_path: Path):
    np.savetxt(tmp_path / "z.txt", np.arange(3.0))
    assert read_latents(tmp_path / "z.txt").shape == (3, 1)


def test_a_folder_without_a_run_or_a_table_is_refused(tmp_path: Path, data: Path, truth: Truth):
    with pytest.raises(DataError, match=r"neither a finished run .* nor a folder of maps"):
        open_result(tmp_path, data, truth)


def test_a_folder_that_was_not_simulated_is_no_truth(tmp_path: Path):
    with pytest.raises(DataError, match=r"no truth/dataset\.json"):
        evaluate(tmp_path, tmp_path, tmp_path)


def test_maps_made_by_the_plan_score_as_the_program_that_made_them(
    tmp_path: Path, data: Path, truth: Truth, limit: Limits
):
    late = torch.tensor([0.1, 0.0])
    own = Result(lambda rows: torch.stack([truth.volume(s + late).voxels for s in truth.state[rows]]))
    own = replace(own, latents=truth.state)
    wanted = write_plan(truth, truth.state, tmp_path / "maps.csv").particles
    np.save(tmp_path / "latents.npy", truth.state.numpy())
    for k, voxels in enumerate(own.decode(wanted)):
        write_map(tmp_path / f"vol_{k:03d}.mrc", Volume(voxels, GRID))
    read = judged(read_map_folder(tmp_path, data, truth), truth, limit).written()
    expected = judged(own, truth, limit).written()
    assert read["maps"] == expected["maps"]
    assert read["latents"] == expected["latents"]
    assert set(wanted.tolist()) == set(plan_maps(truth, truth.state).particles.tolist())


def test_particles_that_a_program_chose_itself_are_judged_one_by_one(
    tmp_path: Path, data: Path, truth: Truth, limit: Limits
):
    (tmp_path / "maps.csv").write_text("file,particle\na.mrc,5\nb.mrc,9\n")
    for name, particle in (("a", 5), ("b", 9)):
        write_map(tmp_path / f"{name}.mrc", truth.volume(truth.state[particle]))
    record = judged(read_map_folder(tmp_path, data, truth), truth, limit).written()
    assert list(record["maps"]) == ["by_image"]
    assert record["maps"]["by_image"]["count"] == 2
    assert record["maps"]["by_image"]["deviation_fsc"]["value"] > 0.999

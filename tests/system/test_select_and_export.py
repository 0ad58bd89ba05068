"""From a finished run to a subset in another program's hands, by the commands alone."""

from __future__ import annotations

import json
import shutil
import warnings

import gemmi
import mrcfile
import numpy as np
import pytest
import starfile
import torch
import yaml

from morphem.core.rotations import to_quaternion
from morphem.data.stack import open_stack
from morphem.report.api import reconstruct

SMALL = {
    "latent": 2,
    "parts__gaussians": 64,
    "parts__layers": 4,
    "fine__gaussians": 128,
    "fine__layers": 4,
    "anchors__count": 2,
    "parts_descent__epochs": 2,
    "parts_descent__batch_size": 16,
    "fine_descent__epochs": 1,
    "fine_descent__batch_size": 16,
    "solving__latents__prototypes": 8,
}


@pytest.fixture(scope="module")
def finished(simulated, tmp_path_factory):
    """A project: particles, and a run of cryospire on them that knows where they are."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(simulated, folder / "set")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reconstruct("cryospire", folder / "set/particles.star", folder / "run", **SMALL)
    return folder


@pytest.fixture
def run(finished):
    """The run, without what an earlier test kept in it."""
    for name in ("select", "export"):
        shutil.rmtree(finished / "run" / name, ignore_errors=True)
    return finished / "run"


def chosen_rows(run, name):
    return np.array(json.loads((run / f"select/{name}.json").read_text())["particles"])


def test_a_condition_becomes_a_star_file_that_starts_a_new_run(morphem, run, finished, tmp_path):
    answer = morphem("select", run, "-o", "good", "--expr", "z1 > median(z1)")
    assert answer.status == 0, answer.err
    assert answer.out.startswith("100 of 200 particles (50.0%)")
    answer = morphem("export", run, "--to", "star", "--select", "good", "-o", tmp_path / "good.star")
    assert answer.status == 0, answer.err
    rows, z = chosen_rows(run, "good"), np.load(run / "latents.npy")
    np.testing.assert_array_equal(rows, np.flatnonzero(z[:, 0] > np.median(z[:, 0])))
    table = starfile.read(tmp_path / "good.star")["particles"]
    np.testing.assert_array_equal(table["morphemLatent1"].astype(np.float32), z[rows, 0])
    whole, again = open_stack(finished / "set/particles.star"), open_stack(tmp_path / "good.star")
    assert torch.equal(whole.read(torch.from_numpy(rows)).images, again.read(torch.arange(100)).images)
    answer = morphem("reconstruct", "backprojection", tmp_path / "good.star", "-o", tmp_path / "second")
    assert answer.status == 0, answer.err


def test_states_rows_and_set_algebra_count_as_they_should(morphem, run, tmp_path):
    (tmp_path / "rows.txt").write_text("0 1 2\n3\n")
    assert morphem("select", run, "-o", "first", "--rows", tmp_path / "rows.txt").out.startswith("4 of 200")
    assert morphem("select", run, "-o", "rest", "--not", "first").out.startswith("196 of 200")
    assert morphem("select", run, "-o", "all", "--or", "first", "rest").out.startswith("200 of 200")
    counts = []
    for state in (1, 2):
        answer = morphem("select", run, "-o", f"s{state}", "--state", state, "--states", 2)
        counts.append(int(answer.out.split()[0]))
    assert sum(counts) == 200
    both = morphem("select", run, "-o", "none", "--state", 1, "--and", "s2", "--states", 2)
    assert both.codes == ["E-SELECT-004"]
    assert not (run / "select/none.json").exists()


def test_columns_are_listed_and_a_misspelt_one_is_told(morphem, run):
    listed = morphem("select", run, "--columns")
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert {"z1", "z2", "PC1", "state", "cluster", "defocus"} <= set(names)
    answer = morphem("select", run, "-o", "x", "--expr", "defocuss > 3")
    assert answer.status == 1
    assert "did you mean defocus?" in answer.err
    assert answer.codes == ["E-SELECT-001"]


def test_a_lasso_of_another_run_is_refused(morphem, run, tmp_path):
    drawn = {"schema": 1, "name": "drawn", "run": "run", "count": 200, "made": {"how": "lasso"}}
    (tmp_path / "lasso.json").write_text(json.dumps({**drawn, "particles": [5, 9]}))
    assert morphem("select", run, "-o", "drawn", "--lasso", tmp_path / "lasso.json").out.startswith(
        "2 of 200"
    )
    (tmp_path / "lasso.json").write_text(json.dumps({**drawn, "run": "other", "particles": [5, 9]}))
    answer = morphem("select", run, "-o", "again", "--lasso", tmp_path / "lasso.json")
    assert answer.codes == ["E-SELECT-002"]


def test_every_format_is_written_in_the_runs_folder_and_opened_by_its_reader(morphem, run):
    for to in ("star", "csv", "chimerax", "mrc", "cif"):
        answer = morphem("export", run, "--to", to)
        assert answer.status == 0, answer.err
        assert answer.out.startswith("200 of 200 particles: ")
    folder = run / "export"
    names = {path.name for path in folder.iterdir()}
    assert names == {"all.star", "all.csv", "all-chimerax", "all-maps", "all.cif"}
    assert len(starfile.read(folder / "all.star")["particles"]) == 200
    assert len((folder / "all.csv").read_text().splitlines()) == 201
    # 200 particles make two states
    assert len(gemmi.read_structure(str(folder / "all.cif"))) == 2
    for where in ("all-maps", "all-chimerax"):
        with mrcfile.open(folder / where / "state_1.mrc") as file:
            assert file.data.shape == (32, 32, 32)
    assert mrcfile.validate(folder / "all-maps/state_1.mrc")


def test_the_original_cannot_be_overwritten_and_a_moved_one_is_asked_for(morphem, finished, run, tmp_path):
    path = finished / "set/particles.star"
    before = path.read_bytes()
    assert morphem("export", run, "--to", "star", "-o", path).codes == ["E-PATH-004"]
    assert path.read_bytes() == before
    moved = path.rename(path.with_name("moved.star"))
    try:
        assert morphem("export", run, "--to", "star").codes == ["E-PATH-005"]
        answer = morphem("export", run, "--to", "star", "--particles", moved)
        assert answer.status == 0, answer.err
        assert (run / "export/all.star").is_file()
    finally:
        moved.rename(path)


def cryosparc_set(star, folder):
    """The same particles as cryoSPARC would keep them."""
    stack = open_stack(star)
    n = len(stack)
    fields = [("uid", "<u8"), ("blob/path", "S13"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,))]
    fields += [("blob/psize_A", "<f4"), ("blob/sign", "<f4"), ("alignments3D/pose", "<f4", (3,))]
    fields += [("alignments3D/shift", "<f4", (2,)), ("alignments3D/psize_A", "<f4")]
    optics = {
        "df1_A": "defocus_u",
        "df2_A": "defocus_v",
        "df_angle_rad": "astigmatism",
        "accel_kv": "voltage_kv",
    }
    optics |= {"cs_mm": "cs_mm", "amp_contrast": "amplitude_contrast"}
    array = np.zeros(n, fields + [(f"ctf/{name}", "<f4") for name in optics])
    array["uid"] = np.random.default_rng(0).integers(2**63, 2**64, n, dtype=np.uint64)
    array["blob/path"], array["blob/idx"], array["blob/shape"] = b">J1/parts.mrc", np.arange(n), 32
    array["blob/psize_A"] = array["alignments3D/psize_A"] = stack.grid.pixel_size
    array["blob/sign"] = 1
    quaternion = to_quaternion(stack.poses.rotation.mT.double())
    sine = quaternion[:, 1:].norm(dim=1, keepdim=True)
    array["alignments3D/pose"] = quaternion[:, 1:] / sine * 2 * torch.atan2(sine, quaternion[:, :1])
    array["alignments3D/shift"] = -stack.poses.shift / stack.grid.pixel_size
    for name, ours in optics.items():
        array[f"ctf/{name}"] = getattr(stack.optics, ours)
    (folder / "J1").mkdir(parents=True)
    shutil.copy(star.with_suffix(".mrcs"), folder / "J1/parts.mrc")
    (folder / "J2").mkdir()
    path = folder / "J2/particles.cs"
    with path.open("wb") as file:
        np.save(file, array)
    return path


def test_a_run_of_cryosparcs_particles_goes_back_to_cryosparc(morphem, finished, tmp_path):
    dataset = pytest.importorskip("cryosparc.dataset").Dataset
    path = cryosparc_set(finished / "set/particles.star", tmp_path)
    answer = morphem("reconstruct", "backprojection", path, "-o", tmp_path / "run")
    assert answer.status == 0, answer.err
    answer = morphem("select", tmp_path / "run", "-o", "near", "--expr", "defocus < median(defocus)")
    assert answer.status == 0, answer.err
    out = tmp_path / "J3/near.csg"
    assert morphem("export", tmp_path / "run", "--to", "csg", "--select", "near", "-o", out).status == 0
    group = yaml.safe_load(out.read_text())
    assert set(group["results"]) == {"alignments3D", "blob", "ctf"}
    found, rows = dataset.load(str(out.with_suffix(".cs"))), chosen_rows(tmp_path / "run", "near")
    np.testing.assert_array_equal(np.array(found["uid"]), np.load(path)["uid"][rows])
    again, whole = open_stack(out), open_stack(path)
    assert torch.equal(whole.read(torch.from_numpy(rows)).images, again.read(torch.arange(len(rows))).images)
    refused = morphem("export", tmp_path / "run", "--to", "star", "-o", tmp_path / "x.star")
    assert refused.codes == ["E-EXPORT-001"]

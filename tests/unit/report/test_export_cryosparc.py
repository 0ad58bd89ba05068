"""Datasets and result groups that go back to cryoSPARC, read again by its own tools and by this package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from numpy.lib import recfunctions as rfn

from finished import LATENT, cs_arrays, cs_set, finished_run, save_cs, star_set
from morphem.data.errors import DataError
from morphem.data.stack import open_stack
from morphem.engine.files import read_tensors
from morphem.report.export import ExportOptions, export

Dataset = pytest.importorskip("cryosparc.dataset").Dataset

COUNT = 12
ROWS = np.array([0, 3, 4, 9])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A cryoSPARC project with a finished run; nothing of it is changed by a test."""
    folder = tmp_path_factory.mktemp("project")
    finished_run(folder / "run", cs_set(folder))
    return folder


@pytest.fixture
def exported(project, tmp_path):
    """A result group within the project, where its images are found."""
    return export(project / "run", "csg", project / f"exports/{tmp_path.name}/good.csg", ROWS)


def test_uid_and_every_field_keep_their_bits(exported):
    main, other = cs_arrays(COUNT)
    found = np.load(exported.with_suffix(".cs"), max_header_size=10**6)
    assert found["uid"].dtype == np.uint64
    assert found["uid"].min() > 2**63  # none of them is a float64
    for name in main.dtype.names:
        assert found.dtype[name] == main.dtype[name]
        assert found[name].tobytes() == main[ROWS][name].tobytes()
    passed = np.load(exported.with_name("good_passthrough_particles.cs"))
    assert passed.dtype == other.dtype
    of_uid = {row["uid"]: row for row in other}
    assert [row.tobytes() for row in passed] == [of_uid[uid].tobytes() for uid in main["uid"][ROWS]]


def test_cryosparcs_own_tools_read_latents_as_components(project, exported):
    found = Dataset.load(str(exported.with_suffix(".cs")))
    z = np.load(project / "run/latents.npy")[ROWS]
    np.testing.assert_array_equal(np.array(found["uid"]), cs_arrays(COUNT)[0]["uid"][ROWS])
    for k in range(LATENT):
        np.testing.assert_array_equal(np.array(found[f"components_mode_{k}/value"]), z[:, k])
        assert set(np.array(found[f"components_mode_{k}/component"]).tolist()) == {k}
    assert np.array(found["morphem/state"]).min() >= 1
    passed = Dataset.load(str(exported.with_name("good_passthrough_particles.cs")))
    joined = found.innerjoin(passed)
    assert len(joined) == len(ROWS)
    assert set(np.array(joined["blob/path"])) == {">J1/extract/mic.mrc"}


def test_the_result_group_names_each_result_with_its_file_and_type(exported):
    group = yaml.safe_load(exported.read_text())
    assert group["group"]["type"] == "particle"
    results = group["results"]
    assert {name: result["type"] for name, result in results.items()} == {
        "alignments3D": "particle.alignments3D",
        "ctf": "particle.ctf",
        "blob": "particle.blob",
        "location": "particle.location",
        **{f"components_mode_{k}": "particle.components" for k in range(LATENT)},
    }
    assert results["blob"]["metafile"] == ">good_passthrough_particles.cs"
    assert results["alignments3D"]["metafile"] == results["components_mode_0"]["metafile"] == ">good.cs"
    assert {result["num_items"] for result in results.values()} == {len(ROWS)}
    for result in results.values():
        path = exported.parent / result["metafile"].removeprefix(">")
        assert len(Dataset.load(str(path))) == result["num_items"]


def test_the_result_group_is_put_together_as_cryosparcs_own(exported, shared_data):
    job = shared_data / "real/learn_cryoem_math/t20s_3d/J209"
    real, ours = (yaml.safe_load(path.read_text()) for path in (job / "P9_J209_particles.csg", exported))
    assert kinds(ours) == kinds(real)
    assert kinds(ours["group"]) == kinds(real["group"])
    assert (ours["group"]["type"], ours["group"]["name"]) == (real["group"]["type"], real["group"]["name"])
    known = real["results"]["alignments3D"]
    for name, result in ours["results"].items():
        assert kinds(result) == kinds(known)
        assert result["type"] == real["results"].get(name, {"type": "particle.components"})["type"]
    outputs = json.loads((job / "job.json").read_text())["output_results"]
    least = {each["name"]: each["min_fields"] for each in outputs if each["group_name"] == "particles"}
    written = np.load(exported.with_name("good_passthrough_particles.cs")).dtype.fields
    for field, kind in least["blob"]:  # a particle is nothing without all of these
        found = written[f"blob/{field}"][0]
        assert found.kind == "S" if kind == "O" else found == np.dtype(kind)


def kinds(record):
    """The names in a part of a result group, and of which type each is."""
    return {name: type(value) for name, value in record.items()}


def test_the_group_read_again_is_the_same_particles_bit_for_bit(project, exported):
    whole, again = open_stack(project / "J9/J9_particles.cs"), open_stack(exported)
    assert whole.metadata is not None
    assert again.metadata is not None
    np.testing.assert_array_equal(again.metadata.uid, whole.metadata.uid[ROWS])
    rows = torch.from_numpy(ROWS)
    assert torch.equal(whole.read(rows).images, again.read(torch.arange(len(ROWS))).images)
    for record in ("poses", "optics"):
        for name, values in vars(getattr(whole, record)).items():
            assert torch.equal(values[rows], getattr(getattr(again, record), name)), name


def test_refined_poses_are_written_when_asked_for(project):
    out = export(
        project / "run", "cs", project / "exports/posed.cs", ROWS, None, ExportOptions(with_poses=True)
    )
    found, written = open_stack(out).poses, read_tensors(project / "run/poses.safetensors")[0]
    torch.testing.assert_close(found.rotation, written["rotation"][ROWS], atol=1e-5, rtol=0)  # float32
    torch.testing.assert_close(found.shift, written["shift"][ROWS], atol=1e-5, rtol=0)
    main = cs_arrays(COUNT)[0]
    assert np.load(out)["alignments3D/pose"].tobytes() != main["alignments3D/pose"][ROWS].tobytes()


def test_corrected_defoci_are_written_to_the_dataset_that_had_them(tmp_path):
    path = cs_set(tmp_path)
    main, other = cs_arrays(COUNT)
    ctf = [name for name in main.dtype.names if name.startswith("ctf/")]
    save_cs(path, rfn.drop_fields(main, ctf))
    row = {uid: n for n, uid in enumerate(main["uid"])}
    rows = [row.get(uid, 0) for uid in other["uid"]]
    passed = rfn.append_fields(other, ctf, [main[name][rows] for name in ctf], usemask=False)
    save_cs(path.with_name("J9_passthrough_particles.cs"), passed)
    run = finished_run(tmp_path / "run", path)
    defoci = 20_000 + 10 * np.arange(2 * COUNT, dtype=np.float32).reshape(COUNT, 2)
    np.save(run / "defocus.npy", defoci)
    for with_poses in (False, True):
        out = export(run, "csg", tmp_path / f"{with_poses}.csg", ROWS, None, ExportOptions(with_poses))
        beside = out.with_name(f"{with_poses}_passthrough_particles.cs")
        assert not any(name.startswith("ctf/") for name in np.load(out.with_suffix(".cs")).dtype.names)
        found = np.load(beside)
        assert found.dtype == passed.dtype
        expected = defoci[ROWS] if with_poses else np.stack([main["ctf/df1_A"], main["ctf/df2_A"]], 1)[ROWS]
        np.testing.assert_array_equal(np.stack([found["ctf/df1_A"], found["ctf/df2_A"]], 1), expected)
        np.testing.assert_array_equal(found["ctf/df_angle_rad"], main["ctf/df_angle_rad"][ROWS])
        assert yaml.safe_load(out.read_text())["results"]["ctf"]["metafile"] == f">{beside.name}"


def test_components_of_an_earlier_variability_job_are_kept(tmp_path):
    path = cs_set(tmp_path)
    main = np.load(path)
    dtype = [*main.dtype.descr, ("components_mode_0/component", "<u4"), ("components_mode_0/value", "<f4")]
    more = np.zeros(COUNT, dtype)
    for name in main.dtype.names:
        more[name] = main[name]
    more["components_mode_0/value"] = np.arange(COUNT)
    save_cs(path, more)
    found = np.load(export(finished_run(tmp_path / "run", path), "cs", tmp_path / "sub.cs", ROWS))
    assert found["components_mode_0/value"].tolist() == ROWS.tolist()
    z = np.load(tmp_path / "run/latents.npy")[ROWS]
    np.testing.assert_array_equal(found["components_mode_1/value"], z[:, 0])
    assert set(found["components_mode_1/component"].tolist()) == {1}


def test_particles_of_a_star_file_are_not_made_up_for_cryosparc(tmp_path):
    run = finished_run(tmp_path / "run", star_set(tmp_path))
    for to in ("cs", "csg"):
        with pytest.raises(DataError, match=r"EXPORT-001 .*--to star.*Import Particle Stack"):
            export(run, to, tmp_path / f"sub.{to}", ROWS)


def test_neither_the_dataset_nor_its_passthrough_is_replaced(project):
    folder = project / "J9"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("J9_particles.cs", "J9.cs", "J9_particles.csg"):
        with pytest.raises(DataError, match="PATH-004"):
            export(project / "run", name.rpartition(".")[2], folder / name, ROWS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_moved_dataset_is_taken_where_it_is_said_to_be(tmp_path):
    path = cs_set(tmp_path)
    run = finished_run(tmp_path / "run", path)
    (tmp_path / "J9").rename(tmp_path / "J10")
    with pytest.raises(DataError, match=r"PATH-005 .*\(--particles\)"):
        export(run, "cs", tmp_path / "sub.cs", ROWS)
    found = export(run, "cs", tmp_path / "sub.cs", ROWS, tmp_path / "J10/J9_particles.cs")
    assert len(np.load(found)) == len(ROWS)

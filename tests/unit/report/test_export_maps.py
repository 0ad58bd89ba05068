"""Maps, scripts, arrows and pseudo-atoms of a run, read by mrcfile, gemmi and line by line."""

from __future__ import annotations

import csv
import json
import re

import gemmi
import mrcfile
import numpy as np
import pytest
import torch

from finished import BOX, LATENT, PIXEL, cs_set, finished_run, star_set
from morphem.data.errors import DataError
from morphem.engine.reconstruction import Reconstruction
from morphem.report.export import ExportOptions, default_target, export
from morphem.report.export.mixtures import arrows_of, beads_of, part_colour
from morphem.report.export.states import views_of

CORNER = BOX // 2 * PIXEL


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return finished_run(folder / "run", star_set(folder, 40))


@pytest.fixture(scope="module")
def still_run(tmp_path_factory):
    """Of a method that knows one state."""
    folder = tmp_path_factory.mktemp("set")
    return finished_run(folder / "run", star_set(folder), density="voxels", latent=0)


@pytest.fixture(scope="module")
def shown(run, tmp_path_factory):
    """A folder for ChimeraX of two states."""
    out = tmp_path_factory.mktemp("out") / "chimerax"
    return export(run, "chimerax", out, options=ExportOptions(states=2))


def test_maps_are_the_density_at_the_latents_that_are_listed(run, shown):
    found = Reconstruction.load(run)
    rows = json.loads((shown / "export.json").read_text())["maps"]
    assert [row["map"] for row in rows[:2]] == ["state_1.mrc", "state_2.mrc"]
    for row in rows:
        with mrcfile.open(shown / row["map"]) as file:
            expected = found.volume(torch.tensor(row["latent"])).voxels.numpy()
            np.testing.assert_array_equal(file.data, expected)
            assert file.voxel_size.x == pytest.approx(PIXEL)
            assert file.header.origin.x == 0


def test_states_lie_in_the_two_groups_of_particles(shown):
    rows = json.loads((shown / "export.json").read_text())["maps"]
    large, small = (row["latent"][0] for row in rows[:2])
    assert large < 0.5 < small
    assert [row["nearest_particles"] for row in rows[:2]] == [26, 14]


def test_every_map_has_the_same_contour_and_the_volume_inside_it(shown):
    for row in json.loads((shown / "export.json").read_text())["maps"]:
        with mrcfile.open(shown / row["map"]) as file:
            assert row["enclosed"] == (file.data > np.float32(row["level"])).sum() * PIXEL**3
    levels = set(re.findall(r" level (\S+)", (shown / "open.cxc").read_text()))
    assert len(levels) == 1


def test_scripts_open_only_files_that_are_there(shown):
    scripts = sorted(shown.glob("*.cxc"))
    assert [path.name for path in scripts] == ["component.cxc", "morph.cxc", "open.cxc"]
    for script in scripts:
        for line in script.read_text().splitlines():
            if line.startswith("open "):
                files = [word for word in line.split()[1:] if "." in word]
                assert files
                assert all((shown / file).is_file() for file in files), line


def test_scripts_number_models_in_the_order_of_opening(shown):
    lines = (shown / "open.cxc").read_text().splitlines()
    opened = [line.split()[1] for line in lines if line.startswith("open ")]
    assert opened == ["state_1.mrc", "state_2.mrc", "parts.cif", "displacement.bild"]
    assert [line.split()[1] for line in lines if line.startswith("volume ")] == ["#1", "#2"]
    assert f"color #3/B {part_colour(2)}" in lines
    zones = [line.split()[2:5] for line in lines if line.startswith("color zone")]
    assert zones == [["#1", "near", "#3.1"], ["#2", "near", "#3.2"]]


def test_gemmi_reads_a_model_for_each_state_and_a_chain_for_each_part(run, tmp_path):
    out = export(run, "cif", tmp_path / "parts.cif", options=ExportOptions(states=2))
    structure = gemmi.read_structure(str(out))
    found = Reconstruction.load(run)
    views = views_of(found, None, 2)
    with torch.no_grad():
        expected = found.density.mixture(views.states.latents)
    assert len(structure) == 2
    assert [[len(chain) for chain in model] for model in structure] == [[20, 20], [20, 20]]
    for model, centres in zip(structure, expected.centres, strict=True):
        places = np.array([[*cra.atom.pos.tolist()] for cra in model.all()])
        np.testing.assert_allclose(places, centres.numpy() + CORNER, atol=6e-4)  # three decimals
    peak = expected.amplitudes.max()
    for model, amplitudes in zip(structure, expected.amplitudes, strict=True):
        shown = np.array([cra.atom.occ for cra in model.all()])
        np.testing.assert_allclose(shown, (amplitudes / peak).numpy(), atol=6e-5)  # four decimals


def test_b_factors_tell_how_far_each_gaussian_travels(run, tmp_path):
    structure = gemmi.read_structure(str(export(run, "cif", tmp_path / "parts.cif")))
    found = Reconstruction.load(run)
    ends = views_of(found, None).along.latents[[0, -1]]
    with torch.no_grad():
        first, last = found.density.mixture(ends).centres
    travel = [cra.atom.b_iso for cra in structure[0].all()]
    np.testing.assert_allclose(travel, (last - first).norm(dim=1).numpy(), atol=6e-4)
    block = gemmi.cif.read(str(tmp_path / "parts.cif")).sole_block()
    widths = [float(word) for word in block.find_values("_morphem_gaussian.standard_deviation")]
    np.testing.assert_allclose(widths, 0.05 * BOX * PIXEL, atol=1e-3)


def test_pseudo_atoms_lie_in_the_map_where_their_density_is(shown):
    structure = gemmi.read_structure(str(shown / "parts.cif"))
    for k, model in enumerate(structure, 1):
        map_ = gemmi.read_ccp4_map(str(shown / f"state_{k}.mrc"))
        inside = [map_.grid.interpolate_value(cra.atom.pos) for cra in model.all()]
        assert np.mean(inside) > 4 * map_.grid.array.mean()


def test_arrows_point_from_one_end_of_the_component_to_the_other(run, shown):
    found = Reconstruction.load(run)
    beads = beads_of(found, views_of(found, None))
    arrows = arrows_of(beads)
    lines = (shown / "displacement.bild").read_text().splitlines()
    drawn = [[float(word) for word in line.split()[1:]] for line in lines if line.startswith(".arrow")]
    assert len(drawn) == len(arrows) > 4
    for words, arrow in zip(drawn, arrows, strict=True):
        np.testing.assert_allclose(words[:3], (arrow.start + CORNER).numpy(), atol=6e-3)
        np.testing.assert_allclose(words[3:6], (arrow.stop + CORNER).numpy(), atol=6e-3)
        assert arrow.length >= 0.5
        assert 0 < words[8] < 1
    moved = {arrow.part for arrow in arrows}
    assert moved == {1, 2}
    # arrows are means of their Gaussians: none is longer than the farthest of these
    assert max(arrow.length for arrow in arrows) <= float(beads.travel.max()) + 1e-4


def test_a_selection_has_states_of_its_own(run, tmp_path):
    z1 = np.load(run / "latents.npy")[:, 0]
    rows = np.flatnonzero(z1 > 0.5)
    out = export(run, "mrc", tmp_path / "maps", rows, options=ExportOptions(states=2))
    record = json.loads((out / "export.json").read_text())
    assert record["particles"] == len(rows)
    assert all(row["latent"][0] > 0.5 for row in record["maps"])


def test_maps_take_the_origin_of_the_map_that_they_are_to_lie_on(run, tmp_path):
    like = tmp_path / "like.mrc"
    with mrcfile.new(like) as file:
        file.set_data(np.zeros((4, 4, 4), np.float32))
        file.header.origin = (-8.0, 4.0, 2.5)
    out = export(run, "chimerax", tmp_path / "out", options=ExportOptions(states=1, like=like))
    with mrcfile.open(out / "state_1.mrc") as file:
        assert file.header.origin.tolist() == (-8.0, 4.0, 2.5)
    plain = gemmi.read_structure(str(export(run, "cif", tmp_path / "a.cif", options=ExportOptions(states=1))))
    moved = gemmi.read_structure(str(out / "parts.cif"))
    shift = [b.atom.pos - a.atom.pos for a, b in zip(plain[0].all(), moved[0].all(), strict=True)]
    np.testing.assert_allclose([each.tolist() for each in shift], [[-8, 4, 2.5]] * len(shift), atol=2e-3)


def test_a_run_of_one_state_has_its_one_map(still_run, tmp_path):
    out = export(still_run, "chimerax", tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "mean.mrc", "open.cxc"]
    with pytest.raises(DataError, match=r"EXPORT-002 .*VoxelDensity, which has no Gaussians"):
        export(still_run, "cif", tmp_path / "parts.cif")


def test_an_earlier_export_is_replaced_whole_and_nothing_else_is(run, tmp_path):
    out = tmp_path / "maps"
    export(run, "mrc", out, options=ExportOptions(states=3))
    export(run, "mrc", out, options=ExportOptions(states=2))
    assert not (out / "state_3.mrc").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(DataError, match=r"PATH-004 .*no earlier export"):
        export(run, "mrc", tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "mine"]


def test_a_failure_leaves_the_earlier_export_as_it_was(run, tmp_path, monkeypatch):
    out = export(run, "chimerax", tmp_path / "out", options=ExportOptions(states=2))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*words):
        raise RuntimeError("no")

    monkeypatch.setattr("morphem.report.export.chimerax.write_cif", fail)
    with pytest.raises(RuntimeError, match="no"):
        export(run, "chimerax", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def rows_of_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_tells_identity_latents_states_and_poses_of_each_image(run, tmp_path):
    chosen = np.array([2, 7, 39])
    rows = rows_of_csv(export(run, "csv", tmp_path / "table.csv", chosen))
    assert [int(row["particle"]) for row in rows] == [int(row["image"]) for row in rows] == chosen.tolist()
    assert rows[0]["name"] == "000003@Extract/job1/mic0.mrcs"
    assert [int(row["row"]) for row in rows] == [3, 8, 40]
    z, std = np.load(run / "latents.npy"), np.load(run / "latents_std.npy")
    for k in range(LATENT):
        np.testing.assert_array_equal([np.float32(row[f"z{k + 1}"]) for row in rows], z[chosen, k])
        np.testing.assert_array_equal([np.float32(row[f"z{k + 1}_std"]) for row in rows], std[chosen, k])
    assert {row["optics_group"] for row in rows} == {"first", "second"}
    poses = Reconstruction.load(run).poses
    for row in rows:
        angles = [np.radians(float(row[name])) for name in ("rot", "tilt", "psi")]
        view = [
            -np.sin(angles[1]) * np.cos(angles[2]),
            np.sin(angles[1]) * np.sin(angles[2]),
            np.cos(angles[1]),
        ]
        rotation = poses.rotation[int(row["image"])].numpy()
        # the molecule's z axis as the microscope sees it, by RELION's angles
        np.testing.assert_allclose(rotation[:, 2], view, atol=1e-5)
        assert float(row["shift_x"]) == pytest.approx(float(poses.shift[int(row["image"]), 0]))
    assert all(re.fullmatch(r"state_\d", row["state"]) for row in rows)
    assert rows[0]["rlnClassNumber"] == "3"


def test_a_table_of_cryosparcs_particles_has_uids_to_the_last_digit(tmp_path):
    path = cs_set(tmp_path)
    rows = rows_of_csv(export(finished_run(tmp_path / "run", path), "csv", tmp_path / "table.csv"))
    assert [int(row["uid"]) for row in rows] == np.load(path)["uid"].tolist()


def test_an_unknown_format_or_a_wrong_suffix_is_told(run, tmp_path):
    with pytest.raises(DataError, match=r"EXPORT-003 'pkl' is no format; known are star, cs"):
        export(run, "pkl", tmp_path / "x.pkl")
    with pytest.raises(DataError, match=r"EXPORT-003 .*should end in \.star"):
        export(run, "star", tmp_path / "x.txt")
    with pytest.raises(DataError, match="SELECT-002"):
        export(run, "mrc", tmp_path / "maps", np.array([40]))
    assert default_target(run, "star", "good") == run / "export" / "good.star"

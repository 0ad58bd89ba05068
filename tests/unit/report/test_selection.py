"""Selections on disk, whose they are, and how criteria combine."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finished import finished_run, star_set
from morphem.data.errors import DataError
from morphem.engine.files import read_json, write_json
from morphem.report.selection import (
    as_record,
    check_name,
    new_selection,
    parse_selection,
    read_selection,
    selection_names,
    write_selection,
)
from morphem.report.selection_columns import latent_columns
from morphem.report.selection_criteria import Criteria, select

COUNT = 12


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return finished_run(folder / "run", star_set(folder))


@pytest.fixture
def run(original, tmp_path):
    import shutil

    return shutil.copytree(original, tmp_path / "run")


def keep(run, name, particles, **more):
    return write_selection(run, new_selection(run, name, np.array(particles), "by hand"), **more)


def test_a_selection_comes_back_as_it_was_kept(run):
    path = keep(run, "good", [5, 1, 1, 3])
    assert path == run / "select" / "good.json"
    found = read_selection(run, "good")
    assert found.particles.tolist() == [1, 3, 5]
    assert (found.run, found.count, found.made["how"]) == ("run", COUNT, "by hand")
    assert read_json(path)["schema"] == 1
    assert selection_names(run) == ["good"]


def test_a_selection_is_replaced_only_when_that_is_asked_for(run):
    keep(run, "good", [1])
    with pytest.raises(
        DataError, match=r"SELECT-003 .*exists; choose another name \(-o\), or state --overwrite"
    ):
        keep(run, "good", [2])
    keep(run, "good", [2], overwrite=True)
    assert read_selection(run, "good").particles.tolist() == [2]


def test_an_absent_selection_is_told_with_those_that_are_there(run):
    keep(run, "good", [1])
    with pytest.raises(DataError, match=r"SELECT-003 .*no selection bad \(it has: good\)"):
        read_selection(run, "bad")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a b", "n.json", "a\0b", "ä"])
def test_a_name_that_could_be_a_path_is_refused(run, name):
    with pytest.raises(DataError, match="SELECT-003"):
        check_name(name)
    with pytest.raises(DataError, match="SELECT-003"):
        read_selection(run, name)


def test_a_selection_of_another_run_is_refused(run, tmp_path):
    other = finished_run(tmp_path / "other", star_set(tmp_path / "set", 20))
    stranger = new_selection(other, "s", np.array([1]), "by hand")
    with pytest.raises(DataError, match=r"SELECT-002 .*of the run other with 20 particles, .* has 12"):
        write_selection(run, stranger)
    same_size = finished_run(tmp_path / "third", star_set(tmp_path / "set3"))
    with pytest.raises(DataError, match=r"SELECT-002 .*of the run third, not of run"):
        write_selection(run, new_selection(same_size, "s", np.array([1]), "by hand"))


def test_a_selection_follows_its_run_to_a_new_name(run):
    keep(run, "good", [1, 2])
    record = read_json(run / "run.json")
    moved = run.rename(run.with_name("better"))
    assert read_selection(moved, "good").particles.tolist() == [1, 2]
    write_json(moved / "run.json", record | {"begun": "another day"})
    with pytest.raises(DataError, match="SELECT-002"):
        read_selection(moved, "good")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"particles": [0, COUNT]},
        {"particles": [-1]},
        {"particles": [1.5]},
        {"particles": ["1"]},
        {"particles": [2**70]},
        {"particles": None},
        {"count": "12"},
        {"made": []},
        {"name": 3},
    ],
)
def test_a_spoilt_record_is_refused(run, change):
    record = as_record(new_selection(run, "s", np.array([1, 2]), "by hand"))
    assert parse_selection(record, "here").particles.tolist() == [1, 2]
    with pytest.raises(DataError, match="SELECT-002 here"):
        parse_selection({**record, **change}, "here")


def test_a_file_that_is_no_json_is_refused(run):
    (run / "select").mkdir()
    (run / "select" / "s.json").write_text("{")
    with pytest.raises(DataError, match="SELECT-002"):
        read_selection(run, "s")


@pytest.fixture
def columns(run):
    import torch

    return latent_columns(torch.from_numpy(np.load(run / "latents.npy")), 2)


def chosen(run, columns, **criteria):
    return select(run, "s", Criteria(**criteria), columns)


def test_criteria_must_all_hold(run, columns):
    z1, z2 = np.load(run / "latents.npy")[:, :2].T
    found = chosen(run, columns, expression="z2 > median(z2)", states=("1",))
    expected = np.flatnonzero((z2 > np.median(z2)) & (z1 < 0.5))
    assert 0 < len(expected) < (z1 < 0.5).sum()
    np.testing.assert_array_equal(found.particles, expected)
    assert found.made["how"] == "(z2 > median(z2)) and state in (1)"


def test_states_are_those_that_the_latents_fall_into(run, columns):
    z1 = np.load(run / "latents.npy")[:, 0]
    large, small = (chosen(run, columns, states=(k,)).particles for k in ("1", "state_2"))
    np.testing.assert_array_equal(large, np.flatnonzero(z1 < 0.5))
    np.testing.assert_array_equal(small, np.flatnonzero(z1 > 0.5))


def test_selections_are_joined_cut_and_left_out(run, columns):
    keep(run, "a", [0, 1, 2, 3])
    keep(run, "b", [2, 3, 4])
    assert chosen(run, columns, within=("a", "b")).particles.tolist() == [2, 3]
    assert chosen(run, columns, joined=("a", "b")).particles.tolist() == [0, 1, 2, 3, 4]
    assert chosen(run, columns, within=("a",), without=("b",)).particles.tolist() == [0, 1]
    assert chosen(run, columns, without=("a",)).particles.tolist() == list(range(4, COUNT))
    found = chosen(run, columns, within=("a",), joined=("b",), without=("b",))
    assert found.particles.tolist() == [0, 1]
    assert found.made["how"] == "((in a) or in b) and not in b"


def test_listed_rows_may_be_commented(run, columns, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("# chosen by eye\n3 1\n7, 8 # two\n\n")
    assert chosen(run, columns, rows=path).particles.tolist() == [1, 3, 7, 8]
    path.write_text("3\n12\n")
    with pytest.raises(DataError, match=r"SELECT-001 .*line 2: met '12'; .*from 0 to 11"):
        chosen(run, columns, rows=path)


def test_a_lasso_of_a_page_is_read(run, columns, tmp_path):
    path = tmp_path / "lasso.json"
    made = {"how": "lasso on PC1 and PC2", "x": "PC1", "y": "PC2", "polygon": [[0, 0], [1, 0], [1, 1]]}
    drawn = {"schema": 1, "name": "drawn", "run": "run", "count": COUNT, "made": made, "particles": [4, 5]}
    path.write_text(json.dumps(drawn))
    assert chosen(run, columns, lasso=path).particles.tolist() == [4, 5]
    path.write_text(json.dumps({**drawn, "run": "elsewhere"}))
    with pytest.raises(DataError, match="SELECT-002"):
        chosen(run, columns, lasso=path)


def test_an_empty_selection_and_no_criterion_are_refused(run, columns):
    with pytest.raises(DataError, match="SELECT-004 none of 12 particles is"):
        chosen(run, columns, expression="z1 > 1e9")
    with pytest.raises(DataError, match="SELECT-004 no criterion"):
        chosen(run, columns)


def test_an_unfinished_run_is_refused(run):
    (run / "summary.json").unlink()
    with pytest.raises(DataError, match=r"RUN-001 .*is not finished"):
        keep(run, "s", [1])

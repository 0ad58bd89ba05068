from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.data import DataError, MetadataWarning
from morphem.data.mrc import write_stack
from morphem.data.resolve import resolve_stacks


def put_stack(path: Path, count: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_stack(path, [torch.zeros(count, 4, 4)], Grid(4, 1.0))
    return path


def put_star(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "particles.star").touch()
    return folder / "particles.star"


def found(name: str, star: Path, datadir: Path | None = None) -> Path:
    return resolve_stacks([name], [3], star, datadir)[0].path


def test_a_stack_is_found_beside_the_star(tmp_path):
    stack = put_stack(tmp_path / "a.mrcs")
    assert found("a.mrcs", put_star(tmp_path)) == stack


def test_a_stack_is_found_from_the_project_that_the_star_lies_in(tmp_path):
    stack = put_stack(tmp_path / "Extract" / "job012" / "Micrographs" / "a.mrcs")
    star = put_star(tmp_path / "Refine3D" / "job020")
    assert found("Extract/job012/Micrographs/a.mrcs", star) == stack


def test_a_leading_sign_of_the_project_folder_is_not_part_of_the_name(tmp_path):
    stack = put_stack(tmp_path / "J2" / "a.mrcs")
    assert found(">J2/a.mrcs", put_star(tmp_path / "J3")) == stack


def test_an_absolute_name_is_taken_as_it_is(tmp_path):
    stack = put_stack(tmp_path / "elsewhere" / "a.mrcs")
    assert found(str(stack), put_star(tmp_path / "here")) == stack


@pytest.mark.parametrize("kept", ["Extract/job012/a.mrcs", "job012/a.mrcs", "a.mrcs"])
def test_datadir_may_hold_the_tree_from_any_of_its_folders_down(tmp_path, kept):
    stack = put_stack(tmp_path / "scratch" / kept)
    assert found("Extract/job012/a.mrcs", put_star(tmp_path / "here"), tmp_path / "scratch") == stack


def test_datadir_wins_over_the_folder_of_the_star(tmp_path):
    put_stack(tmp_path / "here" / "a.mrcs")
    stack = put_stack(tmp_path / "scratch" / "a.mrcs")
    assert found("a.mrcs", put_star(tmp_path / "here"), tmp_path / "scratch") == stack


def test_a_stack_is_found_by_file_name_beside_the_star_or_one_folder_down(tmp_path):
    flat, below = put_stack(tmp_path / "a.mrcs"), put_stack(tmp_path / "tilts" / "b.mrcs")
    star = put_star(tmp_path)
    assert found("gone/a.mrcs", star) == flat
    assert found("b.mrcs", star) == below


def test_a_stack_is_found_from_the_working_directory(tmp_path, monkeypatch):
    stack = put_stack(tmp_path / "work" / "a" / "b.mrcs")
    monkeypatch.chdir(tmp_path / "work")
    assert os.path.samefile(found("a/b.mrcs", put_star(tmp_path / "stars")), stack)


def test_the_one_stack_with_fitting_count_stands_in_with_a_warning(tmp_path):
    put_stack(tmp_path / "other.mrcs", count=9)
    stack = put_stack(tmp_path / "renamed.mrcs", count=3)
    with pytest.warns(MetadataWarning, match="gone.mrcs is not there"):
        assert found("gone.mrcs", put_star(tmp_path)) == stack


def test_of_two_fitting_stacks_none_stands_in(tmp_path):
    put_stack(tmp_path / "one.mrcs")
    put_stack(tmp_path / "two.mrcs")
    with pytest.raises(DataError, match="E-PATH-001"):
        found("gone.mrcs", put_star(tmp_path))


def test_a_missing_stack_is_reported_with_places_tried_and_their_hits(tmp_path):
    put_stack(tmp_path / "here" / "a.mrcs")
    with pytest.raises(DataError) as caught:
        resolve_stacks(["a.mrcs", "b.mrcs", "c.mrcs"], [3, 3, 3], put_star(tmp_path / "here"))
    message = str(caught.value)
    assert caught.value.code == "PATH-001"
    assert "2 of 3 stacks not found (first: b.mrcs, c.mrcs)" in message
    assert f"{tmp_path / 'here'}/ (as named): 1 of 3" in message
    assert message.count(" of 3") == 4  # the count of missing ones and three places
    assert "--datadir" in message


def test_a_datadir_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="E-PATH-001"):
        found("a.mrcs", put_star(tmp_path), tmp_path / "gone")


def test_the_renamed_stack_of_trpv1_is_found(shared_data):
    star = shared_data / "real" / "cryojax" / "trpv1_small_stack.star"
    with pytest.warns(MetadataWarning, match="batch_0_restacked"):
        headers = resolve_stacks(["./batch_0_restacked.mrc"], [10], star)
    assert headers[0].path.name == "trpv1_small_stack.mrcs"

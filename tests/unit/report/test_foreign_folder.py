"""A folder of maps, and the table beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.data.mrc import write_map
from morphem.report.foreign.opening import shown_foreign
from morphem.report.scene.build import build_scene

GRID = Grid(12, 3.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three maps, the tenth after the second."""
    for k, name in enumerate(("map_1", "map_2", "map_10")):
        axis = GRID.axis()
        squared = axis[:, None, None].square() + axis[:, None].square() + axis.square()
        write_map(tmp_path / f"{name}.mrc", Volume((k + 1) * torch.exp(-squared / 60), GRID))
    return tmp_path


def table(folder: Path, text: str, name: str = "maps.csv") -> None:
    (folder / name).write_text(text, encoding="utf-8")


def test_maps_alone_are_shown_in_the_order_people_count(folder: Path):
    found = shown_foreign(folder)
    assert [each.name for each in found.fixed] == ["map_1", "map_2", "map_10"]
    assert [round(float(each.volume.voxels.max())) for each in found.fixed] == [1, 2, 3]
    assert found.grid == GRID
    assert len(found.latents) == 0


def test_a_scene_is_made_of_maps_alone(folder: Path):
    scene = build_scene(shown_foreign(folder), live=True)
    assert [state["name"] for state in scene.record["states"]] == ["map_1", "map_2", "map_10"]
    assert scene.record["particles"]["count"] == 0


def test_a_map_is_of_the_latent_of_its_row(folder: Path):
    table(folder, "map,z1,z2\nmap_10.mrc,1,2\nmap_1,3,4\nmap_2,5,6\n")
    found = shown_foreign(folder)
    assert [each.latent.tolist() for each in found.fixed] == [[3, 4], [5, 6], [1, 2]]


def test_a_map_of_several_rows_is_of_the_one_in_their_middle(folder: Path):
    rows = ["map_1,0", "map_1,1", "map_1,4", "map_2,9", ",100"]
    table(folder, "map,z1\n" + "\n".join(rows) + "\n", "particles.csv")
    found = shown_foreign(folder)
    assert found.latents[:, 0].tolist() == [0, 1, 4, 9, 100]
    assert [None if each.latent is None else each.latent.item() for each in found.fixed] == [1, 9, None]
    columns = {column.name: column for column in found.columns}
    assert columns["map"].values.tolist() == [0, 0, 0, 1, -1]
    assert columns["map"].categories == ("map_1", "map_2", "map_10")


def test_numbers_and_words_become_columns_and_gaps_stay_unknown(folder: Path):
    table(folder, "z1,score,kind\n0,1.5,apo\n1,,holo\n2,nan,\n")
    columns = {column.name: column for column in shown_foreign(folder).columns}
    np.testing.assert_array_equal(columns["score"].values, np.array([1.5, np.nan, np.nan], np.float32))
    assert columns["kind"].categories == ("apo", "holo")
    assert columns["kind"].values.tolist() == [0, 1, -1]


def test_a_column_in_which_each_word_is_another_is_left_out_and_named(folder: Path):
    table(folder, "z1,image\n" + "\n".join(f"{k},{k:06d}@stack.mrcs" for k in range(80)) + "\n")
    found = shown_foreign(folder)
    assert found.columns == ()
    assert dict(found.summary)["columns left out"].startswith("image ")


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("map,z1\nmap_3,0\n", "MAPS-004", "names 1 maps that are not there: map_3"),
        ("map,z1\n../map_1.mrc,0\n", "MAPS-004", "not there: ../map_1.mrc"),
        ("z1,z3\n0,1\n", "MAPS-002", "number them z1, z2"),
        ("z1,z2\n0,none\n", "MAPS-002", "z2 is a latent"),
        ("z1,z2\n0\n", "MAPS-002", "line 2 has 1 cells, not 2"),
        ("z1,z1\n0,1\n", "MAPS-001", "columns should have names"),
        ("z1,z2\n", "MAPS-001", "a line for each row; it has none"),
    ],
    ids=["unknown-map", "path", "gap", "no-number", "ragged", "twice", "empty"],
)
def test_a_table_that_says_nothing_clear_is_refused(folder: Path, text: str, code: str, told: str):
    table(folder, text)
    with pytest.raises(DataError, match=told) as error:
        shown_foreign(folder)
    assert error.value.code == code


def test_of_several_tables_one_must_be_named(folder: Path):
    table(folder, "z1\n0\n", "a.csv")
    table(folder, "z1\n1\n", "b.csv")
    with pytest.raises(DataError, match=r"several tables \(a.csv, b.csv\)"):
        shown_foreign(folder)
    table(folder, "z1\n2\n")
    assert shown_foreign(folder).latents.tolist() == [[2]]


def test_maps_that_do_not_overlay_are_refused(folder: Path):
    write_map(folder / "other.mrc", Volume(torch.rand(12, 12, 12), Grid(12, 5.0)))
    with pytest.raises(DataError, match=r"E-MAPS-005 .*60 Å.*36 Å"):
        shown_foreign(folder)


def test_a_map_that_is_no_even_cube_is_refused(folder: Path):
    content = bytearray((folder / "map_1.mrc").read_bytes())
    content[0:12] = np.array([11, 11, 11], "<i4").tobytes()
    (folder / "odd.mrc").write_bytes(content)
    with pytest.raises(DataError, match=r"E-MAPS-006 .*11 × 11 × 11 voxels"):
        shown_foreign(folder)

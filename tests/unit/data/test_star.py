"""STAR tables, against starfile as an independent reader, and byte for byte on the way back."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import starfile

from morphem.data.errors import DataError
from morphem.data.star import read_star

TEXT = """# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
1  300.000000

# kept comment
data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnNote #3
000001@a.mrcs   10.50  plain
000002@a.mrcs  -20.25  "two words"
000003@b.mrcs    3e1   ""

data_end

_label  value
"""


@pytest.fixture
def star_path(tmp_path):
    path = tmp_path / "particles.star"
    path.write_text(TEXT)
    return path


def test_columns_and_quoted_words_are_read(star_path):
    table = read_star(star_path).table("particles")
    assert table is not None
    assert table.numbers("rlnAngleRot").tolist() == [10.5, -20.25, 30.0]
    assert table.texts("rlnNote") == ["plain", "two words", ""]


def test_label_value_pairs_are_a_table_of_one_row(star_path):
    table = read_star(star_path).table("end")
    assert table is not None
    assert table.texts("label") == ["value"]


def test_writing_all_rows_gives_the_same_bytes(star_path, tmp_path):
    star = read_star(star_path)
    table = star.table("particles")
    star.write(tmp_path / "copy.star", table, range(3), {})
    assert (tmp_path / "copy.star").read_bytes() == star_path.read_bytes()


def test_a_selection_is_the_file_without_the_other_rows(star_path, tmp_path):
    star = read_star(star_path)
    star.write(tmp_path / "some.star", star.table("particles"), [2, 0], {})
    lines = TEXT.splitlines(keepends=True)
    first = next(k for k, line in enumerate(lines) if line.startswith("000001"))
    expected = [*lines[:first], lines[first + 2], lines[first], *lines[first + 3 :]]
    assert (tmp_path / "some.star").read_text() == "".join(expected)


def test_added_columns_leave_the_text_of_the_others(star_path, tmp_path):
    star = read_star(star_path)
    star.write(tmp_path / "more.star", star.table("particles"), range(3), {"morphemCluster": ["4", "5", "6"]})
    text = (tmp_path / "more.star").read_text()
    assert "_rlnNote #3\n_morphemCluster #4\n" in text
    assert '000002@a.mrcs  -20.25  "two words" 5\n' in text


def test_a_replaced_column_changes_no_other(star_path, tmp_path):
    star = read_star(star_path)
    star.write(tmp_path / "turned.star", star.table("particles"), range(3), {"rlnAngleRot": ["1", "2", "3"]})
    table = read_star(tmp_path / "turned.star").table("particles")
    assert table is not None
    assert table.numbers("rlnAngleRot").tolist() == [1, 2, 3]
    assert table.texts("rlnNote") == ["plain", "two words", ""]


def test_windows_line_ends_and_bytes_that_are_not_utf8_survive(tmp_path):
    path = tmp_path / "odd.star"
    path.write_bytes(b"data_\r\nloop_\r\n_name #1\r\n_x #2\r\nM\xe9al 1\r\nb 2\r\n")
    star = read_star(path)
    star.write(tmp_path / "copy.star", star.tables[0], [0, 1], {})
    assert (tmp_path / "copy.star").read_bytes() == path.read_bytes()
    assert star.tables[0].numbers("x").tolist() == [1, 2]


def test_a_ragged_row_is_named_by_its_line(tmp_path):
    path = tmp_path / "ragged.star"
    path.write_text("data_\n\nloop_\n_a\n_b\n1 2\n\n3 4 5\n")
    with pytest.raises(DataError, match=r"STAR-001 .*ragged\.star, line 8: 3 values .* 2 columns"):
        read_star(path)


def test_a_word_where_a_number_should_be_is_named_by_its_line(tmp_path):
    path = tmp_path / "word.star"
    path.write_text("data_\nloop_\n_a\n_b\n1 2\n3 None\n")
    with pytest.raises(DataError, match=r"STAR-004 .*line 6: b should be a number, met 'None'"):
        read_star(path).tables[0].numbers("b")


def test_a_failed_write_leaves_neither_file_nor_remains(star_path, tmp_path):
    star = read_star(star_path)
    with pytest.raises(DataError, match="DISK-002"):
        star.write(tmp_path / "absent" / "x.star", star.table("particles"), [0], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["particles.star"]


def test_a_write_that_runs_out_of_room_leaves_the_file_that_was_there(star_path, tmp_path):
    target = tmp_path / "out.star"
    target.write_text("before")
    star = read_star(star_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(DataError, match=r"DISK-001 .*out\.star could not be written: File too large"):
            star.write(target, star.table("particles"), [0, 1], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.star", "particles.star"]


REAL = [
    ("emtools/refine3d/run_it016_data.star", "particles", 4748),
    ("manifoldem/RyR1GCs_clustRem.star", "images", 14491),
    ("simplecryoem/particles.star", "particles", 4501),
    ("cryodrgn/relion31.6opticsgroups.star", "particles", 139),
    ("cryodrgn/relion31.v2.star", "particles", 5),
]


@pytest.mark.parametrize(("name", "block", "n"), REAL)
def test_real_tables_equal_what_starfile_reads(shared_data, name, block, n):
    table = read_star(shared_data / "real" / name).table(block)
    assert table is not None
    frame = starfile.read(shared_data / "real" / name, always_dict=True)[block]
    assert len(table) == len(frame) == n
    assert list(table.labels) == list(frame.columns)
    numeric = list(frame.select_dtypes("number").columns)
    for label in numeric:
        np.testing.assert_array_equal(table.numbers(label), frame[label].to_numpy(float), err_msg=label)
    for label in set(table.labels) - set(numeric):
        assert table.texts(label) == frame[label].astype(str).tolist(), label


@pytest.mark.parametrize(("name", "block", "n"), REAL)
def test_real_files_come_back_byte_for_byte(shared_data, tmp_path, name, block, n):
    path = shared_data / "real" / name
    star = read_star(path)
    star.write(tmp_path / "copy.star", star.table(block), np.arange(n), {})
    assert (tmp_path / "copy.star").read_bytes() == path.read_bytes()

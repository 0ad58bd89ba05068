"""Packets as the page unpacks them, and what is kept of them."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from morphem.report.viewer.packets import packet
from morphem.report.viewer.recent import Recent


def unpacked(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """A second reader, written from the contract's words."""
    (length,) = struct.unpack_from("<I", content)
    header, at, arrays = json.loads(content[4 : 4 + length]), 4 + -(-length // 4) * 4, {}
    for each in header["arrays"]:
        kind = {"uint8": "<u1", "int32": "<i4", "float32": "<f4"}[each["kind"]]
        assert at % 4 == 0
        size = int(np.prod(each["shape"], dtype=int))
        arrays[each["name"]] = np.frombuffer(content, kind, size, at).reshape(each["shape"])
        at += -(-arrays[each["name"]].nbytes // 4) * 4
    assert at == len(content)
    return header, arrays


@pytest.mark.parametrize("name", ["", "a", "ab", "abc", "Å"])
def test_a_packet_is_read_back_whatever_its_header_is_long(name: str):
    arrays = {
        "map": np.arange(27, dtype=np.uint8).reshape(3, 3, 3),
        "rows": np.array([-1, 2**31 - 1], np.int32),
        "raw": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3).T,
        "none": np.zeros((0, 4), np.float32),
    }
    header, found = unpacked(packet({"name": name}, arrays))
    assert header["name"] == name
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)


def test_big_endian_arrays_are_turned_round():
    _, found = unpacked(packet({}, {"x": np.array([1, 2], ">i4")}))
    assert found["x"].tolist() == [1, 2]


def test_numbers_that_no_page_reads_are_refused():
    with pytest.raises(ValueError, match="float64 has no place"):
        packet({}, {"x": np.zeros(2)})


def test_what_was_asked_for_longest_ago_is_forgotten_first():
    recent = Recent(10)
    for key in (b"a", b"b"):
        recent.keep(key, key * 4)
    assert recent.get(b"a") == b"aaaa"
    recent.keep(b"c", b"cccc")
    assert recent.get(b"b") is None
    assert recent.get(b"a") == b"aaaa"
    assert recent.held == 8


def test_an_answer_beyond_the_budget_is_given_but_not_kept():
    recent = Recent(3)
    assert recent.keep(b"a", b"1234") == b"1234"
    assert recent.get(b"a") is None
    assert recent.held == 0


def test_an_answer_that_is_replaced_counts_once():
    recent = Recent(10)
    recent.keep(b"a", b"1234")
    recent.keep(b"a", b"12")
    assert recent.held == 2

"""The record of a particle set, and the doors to it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import morphem.data
from morphem.data.record import dense, numbered


@pytest.mark.parametrize("name", morphem.data.__all__)
def test_every_public_name_is_there(name):
    assert getattr(morphem.data, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = morphem.data.absent


def test_an_error_class_alone_imports_no_torch():
    code = "import sys; from morphem.data import DataError; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dense_labels_count_in_order_of_appearance():
    assert dense(np.array([7, 3, 7, 9, 3])).tolist() == [0, 1, 0, 2, 1]


def test_two_dimensional_columns_are_numbered_from_one():
    columns = numbered({"z": np.array([[1, 2], [3, 4]]), "c": np.array([5, 6])})
    assert {name: column.tolist() for name, column in columns.items()} == {
        "z1": [1, 3],
        "z2": [2, 4],
        "c": [5, 6],
    }

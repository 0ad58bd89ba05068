"""The page of conventions names tests that exist, and every test of this folder is named there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [row for row in (ROOT / "CONVENTIONS.md").read_text().splitlines() if row.startswith("| **")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[4:20])
def test_a_convention_is_held_by_tests_that_exist(row):
    names = re.findall(r"`((?:tests/\S+|test_\w+))`", row.rsplit("|", 2)[1])
    paths = [ROOT / name if "/" in name else ROOT / "tests/conventions" / f"{name}.py" for name in names]
    assert paths
    assert all(path.is_file() for path in paths), paths


def test_every_test_here_holds_a_convention():
    page = "\n".join(ROWS)
    here = {path.stem for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).stem}
    assert {name for name in here if f"`{name}`" not in page} == set()

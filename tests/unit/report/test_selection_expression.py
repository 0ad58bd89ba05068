"""Expressions over columns: what they say, and what they refuse to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphem.data.errors import DataError
from morphem.report.scene.shown import Column
from morphem.report.selection_expression import satisfied

N = 8
COLUMNS = {
    "z1": Column("z1", "latent 1", np.array([-2, -1, 0, 1, 2, 3, np.nan, 5], np.float32)),
    "PC1": Column("PC1", "component 1", np.linspace(0, 1, N, dtype=np.float32)),
    "state": Column(
        "state", "state", np.array([0, 1, 2, 0, 1, 2, 0, -1], np.int32), "", ("state_1", "state_2", "state_3")
    ),
    "half": Column("half", "half", np.array([0, 1] * 4, np.int32), "", ("1", "2")),
    "sign": Column("sign", "sign", np.array([0, 1] * 4, np.int32), "", ("-1", "1")),
    "grid": Column("grid", "grid", np.array([0, 1] * 4, np.int32), "", ("carbon", "gold")),
    "ctf/a": Column("ctf/a", "a", np.arange(N, dtype=np.float32)),
}
Z1, STATE = COLUMNS["z1"].values, COLUMNS["state"].values


def rows(expression):
    return np.flatnonzero(satisfied(expression, COLUMNS, N)).tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("z1 > 0.5", [3, 4, 5, 7]),
        ("0 <= z1 < 2", [2, 3]),
        ("z1 > 0 and state in (2, 3)", [4, 5]),
        ("z1 > 0 and state in {'state_2', 'state_3'}", [4, 5]),
        ("(z1 > 0) & (state == 1) | ~(half == 1) & (z1 < 0)", [1, 3]),
        ("not z1 > 0", [0, 1, 2, 6]),
        ("abs(z1) >= 2", [0, 4, 5, 7]),
        ("z1 ** 2 - 1 == 0", [1, 3]),
        ("-z1 > 1.5", [0]),
        ("max(z1, PC1 * 4) == z1", [5, 7]),
        ("z1 == max(z1) or z1 == min(z1)", [0, 7]),
        ("z1 >= percentile(z1, 90)", [7]),
        ("abs(z1 - mean(z1)) < 0.2", [3]),
        ("z1 == median(z1)", [3]),
        ("grid == 'gold' and z1 < 0", [1]),
        ("'gold' == grid and z1 < 0", [1]),
        ("sign == -1 and z1 < 0", [0]),
        ("column('ctf/a') % 2 == 1 and half == 2", [1, 3, 5, 7]),
        ("pc1 > 0.99", [7]),
        ("not known(z1)", [6]),
        ("1 < 2", list(range(N))),
        ("state in (3) and known(z1)", [2, 5]),
        ("state >= 2", [1, 2, 4, 5]),
    ],
)
def test_an_expression_chooses_what_it_says(expression, expected):
    assert rows(expression) == expected


@pytest.mark.parametrize("expression", ["z1 != 0", "z1 < 9", "z1 not in (1, 2)", "z1 == z1", "not z1 == z1"])
def test_an_unknown_value_satisfies_no_comparison(expression):
    assert (6 in rows(expression)) == expression.startswith("not ")


@pytest.mark.parametrize("expression", ["state != 1", "state not in (1,)", "state > 0", "state == 'state_1'"])
def test_an_unknown_category_satisfies_no_comparison(expression):
    assert 7 not in rows(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("zz1 > 0", r"SELECT-001 .*zz1 is no column.*did you mean z1\? it has z1, PC1, state"),
        ("grid == 'golden'", r"'golden' is no name in grid, which has carbon, gold"),
        ("grid > 1", r"grid holds names \(carbon, gold\); compare it with == or in"),
        ("z1", r"z1 is no condition"),
        ("z1 + 1", r"no condition"),
        ("z1 > 0 & state == 1", r"write and, or"),
        ("z1 > ", r"cannot be read"),
        ("", r"cannot be read"),
        ("state in z1", r"z1 is no list"),
        ("z1 is 3", r"write == or !="),
        ("percentile(z1)", r"too few or too many"),
        ("percentile(z1, 400)", r"from 0 to 100"),
        ("z1 == 'gold'", r"compared with no column of names"),
        ("z1 > None", r"neither a number nor a name"),
        ("z1 > 1j", r"neither a number nor a name"),
        ("column(z1) > 0", r"wants a name in quotes"),
    ],
)
def test_what_is_not_understood_is_told_with_what_would_be(expression, words):
    with pytest.raises(DataError, match=words):
        satisfied(expression, COLUMNS, N)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__",
        "z1.values",
        "z1[0] > 1",
        "(lambda: 1)() > 0",
        "[z1 for z1 in (1, 2)] == 1",
        "open('x') == 1",
        "print(z1)",
        "f'{z1}' == 'a'",
        "(z1 := 3) > 1",
        "max(z1, key=abs) > 1",
        "exec('1')",
        "True and await_",
        "z1 @ z1 > 0",
        "z1 // 0 > 1",
    ],
)
def test_nothing_but_the_listed_words_is_understood(expression):
    with pytest.raises(DataError, match="SELECT-001"):
        satisfied(expression, COLUMNS, N)


def test_a_tower_of_powers_ends_at_once():
    assert rows("9 ** 9 ** 9 ** 9 ** 9 > z1") == [0, 1, 2, 3, 4, 5, 7]


@pytest.mark.parametrize(
    "expression", ["(" * 3000 + "z1" + ")" * 3000, "not " * 990 + "z1 > 0", "z1 > 0 " * 900]
)
def test_a_text_without_end_is_refused(expression):
    with pytest.raises(DataError, match="SELECT-001"):
        satisfied(expression, COLUMNS, N)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="z1 PC()<>=!&|~+-*/%.,'0159andorit", max_size=30))
def test_any_text_is_a_selection_or_a_coded_error(text):
    try:
        found = satisfied(text, COLUMNS, N)
    except DataError:
        return
    assert found.shape == (N,)
    assert found.dtype == bool

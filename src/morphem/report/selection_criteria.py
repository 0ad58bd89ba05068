"""A subset of particles from criteria: expressions, clusters, states, a lasso, rows, other selections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from morphem.data.errors import DataError
from morphem.report.scene.shown import Column
from morphem.report.selection import (
    Selection,
    new_selection,
    particles_of,
    read_selection,
    read_selection_file,
)
from morphem.report.selection_expression import satisfied


@dataclass(frozen=True)
class Criteria:
    """What the particles of a selection have in common: all that is stated here.

    Attributes:
        expression: Over the run's columns, as ``z1 > 0.5 and state in (2, 3)``.
        clusters: Names or numbers of clusters.
        states: Likewise of states.
        lasso: File that a page's lasso saved.
        rows: Text file of particles, counted from 0 in the run's order; ``#`` begins a comment.
        within: Selections that particles must also be in.
        joined: Selections whose particles are added.
        without: Selections whose particles are left out.
    """

    expression: str = ""
    clusters: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    lasso: Path | None = None
    rows: Path | None = None
    within: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def select(run: Path, name: str, criteria: Criteria, columns: Mapping[str, Column]) -> Selection:
    """The particles that meet every criterion, then ``within``, ``joined`` and ``without``, in this order.

    Where only selections to be joined are stated, it begins with no particle, else with all.

    Args:
        run: A finished run.
        name: Of the selection.
        criteria: At least one.
        columns: Of the run, by name.

    Raises:
        DataError: ``SELECT-001`` for what cannot be read, ``SELECT-002`` for what is of another run,
            ``SELECT-004`` where no particle is left.
    """
    count = particles_of(run)
    if criteria == Criteria():
        raise DataError("SELECT-004", "no criterion was given; state --expr, --cluster, --state, --lasso, …")
    tests = _tests(run, criteria, columns, count)
    only_joined = bool(criteria.joined) and not (tests or criteria.within)
    chosen = np.full(count, not only_joined)
    for test in tests.values():
        chosen &= test
    words = [*tests, *(f"in {each}" for each in criteria.within)]
    for each in criteria.within:
        chosen &= _of_selection(run, each, count)
    how = " and ".join(words) or ("" if only_joined else "all")
    for each in criteria.joined:
        chosen |= _of_selection(run, each, count)
        how = f"({how}) or in {each}" if how else f"in {each}"
    for each in criteria.without:
        chosen &= ~_of_selection(run, each, count)
        how = f"({how}) and not in {each}"
    if not chosen.any():
        raise DataError("SELECT-004", f"none of {count} particles is {how}; nothing was kept")
    stated = {key: value for key, value in asdict(criteria).items() if value}
    return new_selection(run, name, np.flatnonzero(chosen), how, _as_json(stated))


def _tests(
    run: Path, criteria: Criteria, columns: Mapping[str, Column], count: int
) -> dict[str, Bool[np.ndarray, "p"]]:
    """Which particles meet each criterion, by its words."""
    tests = {}
    if criteria.expression:
        tests[f"({criteria.expression.strip()})"] = satisfied(criteria.expression, columns, count)
    for column, wanted in (("cluster", criteria.clusters), ("state", criteria.states)):
        if wanted:
            words = f"{column} in ({', '.join(_word(each) for each in wanted)})"
            tests[words] = satisfied(words, columns, count)
    if criteria.lasso is not None:
        drawn = read_selection_file(run, criteria.lasso)
        how = drawn.made.get("how", "")
        tests[f"in lasso {drawn.name}" + (f" ({how})" if how else "")] = _mask(drawn.particles, count)
    if criteria.rows is not None:
        tests[f"listed in {criteria.rows.name}"] = _mask(_listed_rows(criteria.rows, count), count)
    return tests


def _word(text: str) -> str:
    """A name or a number as it stands in an expression."""
    return text if text.isdecimal() else repr(text)


def _listed_rows(path: Path, count: int) -> np.ndarray:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            if not word.isdecimal() or int(word) >= count:
                rule = f"a particle is a whole number from 0 to {count - 1}, in the run's order"
                raise DataError("SELECT-001", f"{path}, line {number}: met {word!r}; {rule}")
            rows.append(int(word))
    return np.array(rows, np.int64)


def _of_selection(run: Path, name: str, count: int) -> Bool[np.ndarray, "p"]:
    return _mask(read_selection(run, name).particles, count)


def _mask(particles: np.ndarray, count: int) -> Bool[np.ndarray, "p"]:
    mask = np.zeros(count, bool)
    mask[particles] = True
    return mask


def _as_json(stated: Mapping[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in stated.items()}

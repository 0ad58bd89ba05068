"""Named subsets of a run's particles, kept as ``RUN/select/NAME.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from morphem import __version__
from morphem.data.errors import DataError
from morphem.engine.files import read_json, write_json

_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Selection:
    """Some of a run's particles, and how they came to be chosen.

    Attributes:
        name: Of the selection; also of its file.
        run: Title of the run.
        count: How many particles the run has.
        made: ``how`` in words; of a lasso also its columns ``x`` and ``y``, and its ``polygon`` in their
            units.
        particles: Indices into the run's order, rising.
        provenance: Criteria, version and times, and when the run was begun.
    """

    name: str
    run: str
    count: int
    made: Mapping[str, Any]
    particles: Int[np.ndarray, "m"]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def title_of(run: Path) -> str:
    """What a run is called: its folder."""
    return run.resolve().name


def particles_of(run: Path) -> int:
    """How many particles a finished run has.

    Raises:
        DataError: ``RUN-001`` if the folder holds no finished run.
    """
    path = run / "summary.json"
    if not path.is_file():
        state = "is not finished" if (run / "run.json").is_file() else "is no folder of a run"
        raise DataError(
            "RUN-001", f"{run} {state}: it has no summary.json; give the folder of a finished run"
        )
    return int(read_json(path)["particles"])


def new_selection(
    run: Path, name: str, particles: Int[np.ndarray, "m"], how: str, criteria: Mapping[str, Any] | None = None
) -> Selection:
    """A selection of a run's particles; indices are sorted, and each counts once."""
    provenance = {"version": __version__, "written": datetime.now(UTC).isoformat(timespec="seconds")}
    return Selection(
        name=check_name(name),
        run=title_of(run),
        count=particles_of(run),
        made={"how": how},
        particles=np.unique(particles.astype(np.int64)),
        provenance=provenance | {"criteria": dict(criteria or {})},
    )


def write_selection(run: Path, selection: Selection, overwrite: bool = False) -> Path:
    """Keep a selection with its run.

    Returns:
        ``RUN/select/NAME.json``.

    Raises:
        DataError: ``SELECT-002`` if it is of another run, ``SELECT-003`` if the name is taken or is no name.
    """
    refuse_foreign(run, selection, f"selection {selection.name}")
    path = run / "select" / f"{check_name(selection.name)}.json"
    if path.exists() and not overwrite:
        raise DataError("SELECT-003", f"{path} exists; choose another name (-o), or state --overwrite")
    path.parent.mkdir(exist_ok=True)
    begun = {"begun": _begun(run)}
    write_json(path, as_record(selection) | {"provenance": {**selection.provenance, **begun}})
    return path


def read_selection(run: Path, name: str) -> Selection:
    """A selection that :func:`write_selection` kept.

    Raises:
        DataError: ``SELECT-003`` if there is none of that name, ``SELECT-002`` if it is of another run.
    """
    path = run / "select" / f"{check_name(name)}.json"
    if not path.is_file():
        known = ", ".join(selection_names(run)) or "none yet; make one with morphem select"
        raise DataError("SELECT-003", f"{run} has no selection {name} (it has: {known})")
    return read_selection_file(run, path)


def read_selection_file(run: Path, path: Path) -> Selection:
    """A selection of this run from any file, such as the one that a page's lasso saves."""
    try:
        record = read_json(path)
    except ValueError as error:
        raise DataError("SELECT-002", f"{path} is no selection: {error}; save it again") from error
    selection = parse_selection(record, str(path))
    refuse_foreign(run, selection, str(path))
    return selection


def selection_names(run: Path) -> list[str]:
    """Names of the selections that are kept with a run."""
    return sorted(path.stem for path in (run / "select").glob("*.json"))


def as_record(selection: Selection) -> dict[str, Any]:
    """A selection as JSON."""
    return {
        "schema": _SCHEMA,
        "name": selection.name,
        "run": selection.run,
        "count": selection.count,
        "made": dict(selection.made),
        "particles": selection.particles.tolist(),
        "provenance": dict(selection.provenance),
    }


def parse_selection(record: object, where: str) -> Selection:
    """A selection from JSON that anybody may have written.

    Raises:
        DataError: ``SELECT-002`` with the first thing that is wrong.
    """
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        raise DataError("SELECT-002", f"{where} is no selection of schema {_SCHEMA}; save it again")
    kinds = {"name": str, "run": str, "count": int, "made": dict, "particles": list}
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            met = f"{where}: {key} is missing or is no {kind.__name__}"
            raise DataError("SELECT-002", f"{met}; save it again")
    particles = _whole_numbers(record["particles"], where)
    if len(particles) and not 0 <= particles[0] <= particles[-1] < record["count"]:
        met = f"{where}: particles {particles[0]} to {particles[-1]} of a run of {record['count']}"
        raise DataError("SELECT-002", f"{met}; save it again")
    provenance = record.get("provenance")
    return Selection(
        name=check_name(record["name"]),
        run=record["run"],
        count=record["count"],
        made=record["made"],
        particles=particles,
        provenance=provenance if isinstance(provenance, dict) else {},
    )


def refuse_foreign(run: Path, selection: Selection, where: str) -> None:
    """Raise ``SELECT-002`` unless a selection was made on this run (whose folder may have a new name)."""
    title, count = title_of(run), particles_of(run)
    if selection.count != count:
        met = f"{where} is of the run {selection.run} with {selection.count} particles, {run} has {count}"
        raise DataError("SELECT-002", f"{met}; give the run that it was made on")
    begun = selection.provenance.get("begun")
    if selection.run != title and not (begun and begun == _begun(run)):
        met = f"{where} is of the run {selection.run}, not of {title}"
        raise DataError(
            "SELECT-002", f"{met}: the same numbers may be other particles; select them again here"
        )


def check_name(name: str) -> str:
    """A name of a selection, unless it could not be a file's."""
    if not _NAME.fullmatch(name) or name.endswith(".json"):
        rule = "letters, digits, _ . and -, at most 64, the first a letter or a digit; no .json"
        raise DataError("SELECT-003", f"{name!r} is no name for a selection: {rule}")
    return name


def _whole_numbers(values: list[Any], where: str) -> Int[np.ndarray, "m"]:
    """Rising, each once."""
    if not all(isinstance(value, int) and abs(value) < 2**63 for value in values):
        raise DataError("SELECT-002", f"{where}: particles is no list of whole numbers; save it again")
    return np.unique(np.array(values, np.int64))


def _begun(run: Path) -> str:
    path = run / "run.json"
    return str(read_json(path).get("begun", "")) if path.is_file() else ""

"""STAR tables as columns, and back with every untouched character in place.

The text of each row is kept, so that a file written from selected or extended rows differs from its
source only where something was changed. Numbers are parsed from that text when a column is first asked
for, by ``numpy.loadtxt``: its loop over rows and words is compiled, and it makes no Python object for
each value, of which a million rows would have tens of millions.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from morphem.data.atomic import atomic_path
from morphem.data.errors import DataError

_TOKEN = re.compile(r""""[^"]*"|'[^']*'|\S+""")


@dataclass(frozen=True)
class StarTable:
    """One block of a file: a loop, or label-value pairs seen as a loop of one row.

    Attributes:
        path: File that holds it, for messages.
        name: What follows ``data_``.
        labels: Column names without the leading underscore.
        rows: Text of each row, line end included.
        line_numbers: Line of each row in the file, from 1.
        label_lines: Line of each label in the file, from 1.
    """

    path: Path
    name: str
    labels: tuple[str, ...]
    rows: Sequence[str] = field(repr=False)
    line_numbers: Sequence[int] = field(repr=False)
    label_lines: Sequence[int] = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, label: str) -> bool:
        return label in self.labels

    def numbers(self, label: str) -> Float[np.ndarray, "n"]:
        """A column as float64."""
        if label in self._numeric:
            return self._numeric[label]
        texts = self.texts(label)  # a quoted number, or no number
        bad = next((row for row, text in enumerate(texts) if not _is_number(text)), None)
        if bad is None:
            return np.array([float(text) for text in texts])
        where = f"{self.path}, line {self.line_numbers[bad]}"
        raise DataError("STAR-004", f"{where}: {label} should be a number, met {texts[bad]!r}")

    @cached_property
    def _numeric(self) -> dict[str, Float[np.ndarray, "n"]]:
        """Columns that begin with a number, all in one pass over the text; none where a row has no number."""
        words = _split(self.rows[0]) if self.rows else []
        positions = [k for k, word in enumerate(words) if _is_number(word)]
        try:
            block = np.loadtxt(self.rows, np.float64, comments=None, usecols=positions, ndmin=2)
        except ValueError:
            return {}
        return {self.labels[k]: block[:, column] for column, k in enumerate(positions)}

    def texts(self, label: str) -> list[str]:
        """A column as text, without quotes."""
        position = self._position(label)
        if any('"' in row or "'" in row for row in self.rows):
            return [_split(row)[position].strip("\"'") for row in self.rows]
        return np.loadtxt(self.rows, object, comments=None, usecols=position, ndmin=1).tolist()

    def _position(self, label: str) -> int:
        if label not in self.labels:
            has = ", ".join(self.labels)
            raise DataError("STAR-003", f"{self.path}: data_{self.name} has no column _{label}; it has {has}")
        return self.labels.index(label)


@dataclass(frozen=True)
class StarFile:
    """A STAR file, line by line and table by table."""

    path: Path
    lines: Sequence[str] = field(repr=False)
    tables: Sequence[StarTable]

    def table(self, *names: str) -> StarTable | None:
        """The first block called by one of ``names``, if there is one."""
        return next((table for table in self.tables if table.name in names), None)

    def pack(self) -> PackedStar:
        """Its text, compressed four- to fivefold."""
        text = "".join(self.lines).encode("utf-8", "surrogateescape")
        return PackedStar(self.path, zlib.compress(text, level=1))

    def write(
        self,
        path: Path,
        table: StarTable,
        rows: Sequence[int] | np.ndarray,
        columns: Mapping[str, Sequence[str]],
    ) -> None:
        """Write the file with only ``rows`` of ``table``, and ``columns`` of it replaced or added.

        Everything else keeps its text: other blocks, comments, spacing. The file appears whole or not
        at all.
        """
        replaced = {table.labels.index(label): text for label, text in columns.items() if label in table}
        added = {label: text for label, text in columns.items() if label not in table}
        texts = [_replace(table.rows[row], replaced, i) for i, row in enumerate(rows)]
        texts = [_append(text, [column[i] for column in added.values()]) for i, text in enumerate(texts)]
        head = table.label_lines[-1]
        tail = table.line_numbers[-1] if len(table) else head
        between = self.lines[head : table.line_numbers[0] - 1] if len(table) else []
        labels = [self._label(table, k, label) for k, label in enumerate(added, 1)]
        with atomic_path(path) as temporary:
            output = [*self.lines[:head], *labels, *between, *texts, *self.lines[tail:]]
            # surrogateescape: bytes that are not UTF-8 go out as they came in
            temporary.write_bytes("".join(output).encode("utf-8", "surrogateescape"))

    def _label(self, table: StarTable, k: int, label: str) -> str:
        last = self.lines[table.label_lines[-1] - 1]
        number = f" #{len(table.labels) + k}" if "#" in last else ""
        end = "\r\n" if last.endswith("\r\n") else "\n"
        return f"_{label}{number}{end}"


@dataclass(frozen=True)
class PackedStar:
    """The text of a file, compressed: enough to write it again, even where the file has gone since."""

    path: Path
    text: bytes = field(repr=False)

    def unpack(self) -> StarFile:
        """The file as it was read."""
        return parse_star(self.path, zlib.decompress(self.text))


def read_star(path: Path) -> StarFile:
    """Every table of a STAR file; ragged rows are refused with their line."""
    return parse_star(Path(path), Path(path).read_bytes())


def parse_star(path: Path, content: bytes) -> StarFile:
    """Every table of the content of a STAR file called ``path``."""
    text = content.decode("utf-8", "surrogateescape")
    if text.startswith("version https://git-lfs"):
        raise DataError("STAR-002", f"{path} is a git-lfs pointer, not the file itself; run `git lfs pull`")
    lines = text.splitlines(keepends=True) if "\r" not in text else re.findall(r"[^\n]*\n|[^\n]+", text)
    tables = [_read_table(path, lines, *block) for block in _blocks(lines)]
    if not tables:
        raise DataError("STAR-002", f"{path} has no data_ block with columns, so it is not a STAR file")
    return StarFile(path, lines, tables)


def _blocks(lines: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Name and line indices of each table; a second ``loop_`` of one block is a table of its own."""
    blocks: list[tuple[str, list[int]]] = []
    for index, line in enumerate(lines):
        word = line.strip() if len(line) < 200 else line
        if word.startswith("data_") and " " not in word:
            blocks.append((word[len("data_") :], []))
        elif word == "loop_" and blocks:
            blocks.append((blocks[-1][0], []))
        elif word and not word.startswith("#") and blocks:
            blocks[-1][1].append(index)
    return [(name, members) for name, members in blocks if members and lines[members[0]].lstrip()[0] == "_"]


def _read_table(path: Path, lines: Sequence[str], name: str, members: list[int]) -> StarTable:
    n_labels = next((k for k, i in enumerate(members) if lines[i].lstrip()[0] != "_"), len(members))
    head, body = members[:n_labels], members[n_labels:]
    words = [_split(lines[i]) for i in head]
    numbers = [i + 1 for i in head]
    labels = tuple(word[0][1:] for word in words)
    if not body and all(len(word) > 1 and word[1][0] != "#" for word in words):
        row = " ".join(word[1] for word in words)
        return StarTable(path, name, labels, (row,), numbers[:1], numbers)
    rows = [lines[i] for i in body]
    for index, row in zip(body, rows, strict=True):
        met = len(_split(row))
        if met != n_labels:
            where = f"{path}, line {index + 1}"
            raise DataError("STAR-001", f"{where}: {met} values in data_{name}, which has {n_labels} columns")
    return StarTable(path, name, labels, rows, [i + 1 for i in body], numbers)


def _split(line: str) -> list[str]:
    return _TOKEN.findall(line) if '"' in line or "'" in line else line.split()


def _replace(row: str, columns: Mapping[int, Sequence[str]], i: int) -> str:
    if not columns:
        return row
    spans = [match.span() for match in _TOKEN.finditer(row)]
    for position in sorted(columns, reverse=True):
        start, stop = spans[position]
        row = row[:start] + columns[position][i].rjust(stop - start) + row[stop:]
    return row


def _append(row: str, values: Sequence[str]) -> str:
    if not values:
        return row
    body = row.rstrip()
    end = "\r\n" if row.endswith("\r\n") else "\n"
    return " ".join([body, *values]) + end


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""Plain tables for a terminal or a log."""

from __future__ import annotations

from collections.abc import Sequence

from morphem.methods import registry


def show_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned; a last column that is empty leaves no trace."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_methods() -> int:
    """List what `reconstruct` can do."""
    print("usage: morphem reconstruct METHOD PARTICLES -o RUN      morphem reconstruct METHOD --help\n")
    show_rows([(f"  {entry.name}", entry.summary) for entry in registry().values()])
    return 0

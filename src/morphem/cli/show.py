"""Plain tables for a terminal or a log."""

from __future__ import annotations

from collections.abc import Sequence


def show_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned; a last column that is empty leaves no trace."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

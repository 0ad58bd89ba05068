"""The table of particles in a scene: columns, their arrays, what to plot against what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from morphem.data.stack import order
from morphem.report.scene.exhibits import packed_size
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.records import reference
from morphem.report.scene.shown import Column

_SHARE = 0.5  # of a page's size that columns may take
_KEPT_BITS = 12  # of a number's 23 behind the point, in a page on disk
_FEWEST = 1000  # particles, however many columns they have


def table_of(
    columns: Sequence[Column], count: int, options: SceneOptions | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Columns and their arrays; all particles in full without options, else as many as there is room for."""
    if options is None:
        arrays = {f"column-{k + 1}": _array(column) for k, column in enumerate(columns)}
        return _described(columns, arrays, count, None), arrays
    drawn = count
    room = _SHARE * 1e6 * options.megabytes
    wanted = min(count, options.drawn)
    while True:
        rows = order(count, 0, 0)[:wanted].sort().values.numpy() if wanted < count else np.arange(count)
        arrays = {f"column-{k + 1}": _short(_array(column)[rows]) for k, column in enumerate(columns)}
        size = sum(map(packed_size, arrays.values()))
        if size <= room or wanted <= _FEWEST:
            break
        wanted = max(_FEWEST, int(0.97 * wanted * room / size))
    drawn = None
    if wanted < count:
        arrays["drawn"] = rows.astype(np.int32)
        drawn = reference("drawn", arrays["drawn"])
    return _described(columns, arrays, count, drawn), arrays


def _described(
    columns: Sequence[Column], arrays: dict[str, np.ndarray], count: int, drawn: dict[str, Any] | None
) -> dict[str, Any]:
    described = [
        {
            "name": column.name,
            "label": column.label,
            "unit": column.unit,
            "kind": "category" if column.categories else "number",
            "categories": list(column.categories),
            "values": reference(f"column-{k + 1}", arrays[f"column-{k + 1}"]),
        }
        for k, column in enumerate(columns)
    ]
    return {"count": count, "columns": described, "drawn": drawn}


def _array(column: Column) -> np.ndarray:
    return np.ascontiguousarray(column.values, np.int32 if column.categories else np.float32)


def _short(values: np.ndarray) -> np.ndarray:
    """Numbers to four digits, which take half the room."""
    if values.dtype != np.float32:
        return values
    lost = 23 - _KEPT_BITS
    bits = values.view(np.uint32).astype(np.uint64) + (1 << (lost - 1))
    short = (bits >> lost << lost).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(values) & np.isfinite(short), short, values)


def plots_of(columns: Sequence[Column]) -> list[dict[str, str]]:
    """Pairs to plot, the best first."""
    names = [column.name for column in columns]
    pairs = [("PC1", "PC2"), ("PC1", "PC3"), ("PC2", "PC3"), ("z1", "z2")]
    if "PC2" not in names:
        pairs = [("PC1", "std"), ("PC1", "view_latitude"), ("PC1", "defocus"), *pairs]
    pairs += [("view_longitude", "view_latitude"), ("shift_x", "shift_y"), ("defocus", "astigmatism")]
    labels = {column.name: column.label for column in columns}
    return [
        {"title": f"{labels[x]} and {labels[y]}", "x": x, "y": y}
        for x, y in pairs
        if x in names and y in names
    ]

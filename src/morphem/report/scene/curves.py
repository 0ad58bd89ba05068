"""Curves and histograms of a result: loss, half-map correlation, how views and defoci are covered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from morphem.report.scene.agreement import Measured
from morphem.report.scene.shown import Column, Shown

LATITUDES, LONGITUDES = 18, 36
_BINS = 40
_ENDS = (0.1, 99.9)  # percentiles between which histograms run: single values would squeeze them
_PLOTTED = ("defocus", "astigmatism", "shift", "in_plane", "std", "contrast")
_TERMS = {"image": "misfit of the images", "latent": "penalty on latents", "feature": "penalty on features"}
_FSC = {"fsc_corrected": "corrected for the mask", "fsc_masked": "masked", "fsc": "unmasked"}


def curves_of(
    shown: Shown, measured: Sequence[Measured | None], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Correlation of half maps, of all particles and of states, and loss by images seen."""
    found = [_half_maps(shown.record.get("fsc")), *_states(measured, names)]
    images = len(shown.poses) if shown.poses is not None else len(shown.latents)
    return [curve for curve in found if curve is not None] + _losses(shown.record.get("history"), images)


def coverage_of(shown: Shown, columns: Sequence[Column]) -> dict[str, Any]:
    """Images by direction of view, in cells of one solid angle, and histograms of how they were made."""
    views = None
    if shown.poses is not None:
        edges = np.degrees(np.arcsin(np.linspace(-1, 1, LATITUDES + 1)))
        views = {"counts": view_counts(shown.poses.rotation[:, 2]), "latitudes": edges.tolist()}
    by_name = {column.name: column for column in columns if not column.categories}
    drawn = [by_name[name] for name in _PLOTTED if name in by_name]
    histograms = [histogram for column in drawn if (histogram := _histogram(column)) is not None]
    return {"views": views, "histograms": histograms}


def view_counts(direction: Float[Tensor, "n 3"]) -> list[list[int]]:
    """Images in each cell, rows of equal height along z from −1, columns of longitude from −180°."""
    row = ((direction[:, 2].double() / 2 + 0.5) * LATITUDES).long().clamp(0, LATITUDES - 1)
    turn = torch.atan2(direction[:, 1].double(), direction[:, 0].double()) / (2 * torch.pi) + 0.5
    column = (turn * LONGITUDES).long().clamp(0, LONGITUDES - 1)
    return (
        torch.bincount(row * LONGITUDES + column, minlength=LATITUDES * LONGITUDES)
        .view(LATITUDES, -1)
        .tolist()
    )


def _half_maps(record: object) -> dict[str, Any] | None:
    if not isinstance(record, dict) or "frequency" not in record:
        return None
    lines = [
        _line(label, record["frequency"][1:], record[name][1:])
        for name, label in _FSC.items()
        if name in record
    ]
    return _correlation("fsc", "Half maps of all particles", lines, (0.143,))


def _states(measured: Sequence[Measured | None], names: Sequence[str]) -> list[dict[str, Any] | None]:
    known = [(name, each) for name, each in zip(names, measured, strict=True) if each is not None]
    if not known:
        return []
    halves, model = (
        [_line(name, each.frequency[1:], getattr(each, side)[1:]) for name, each in known]
        for side in ("halves", "model")
    )
    return [
        _correlation("state_halves", "Half maps of each state's own images", halves, (0.143,)),
        _correlation("state_agreement", "Each state's map and the mean of its own images", model, (0.5,)),
    ]


def _line(label: str, x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """A line through what are numbers."""
    pairs = [pair for pair in zip(x, y, strict=True) if all(map(_is_number, pair))]
    return {"label": label, "x": [at for at, _ in pairs], "y": [value for _, value in pairs]}


def _correlation(
    name: str, title: str, lines: list[dict[str, Any]], marks: Sequence[float]
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "abscissa": "spatial frequency (1/Å)",
        "ordinate": "Fourier shell correlation",
        "kind": "resolution",
        "lines": lines,
        "marks": [{"label": f"{value:g}", "value": value} for value in marks],
    }


def _losses(history: object, images: int) -> list[dict[str, Any]]:
    """Each term by images seen, stages one after another; what did not go by epochs is left out."""
    if not isinstance(history, dict):
        return []
    stages = {
        name: [row for row in rows if isinstance(row, dict) and "epoch" in row]
        for name, rows in history.items()
        if isinstance(rows, list)
    }
    terms = list(
        dict.fromkeys(key for rows in stages.values() for row in rows for key in row if key != "epoch")
    )
    begun = 0
    lines: dict[str, list[dict[str, Any]]] = {term: [] for term in terms}
    for stage, rows in stages.items():
        for term in terms:
            pairs = [(begun + images * row["epoch"], row[term]) for row in rows if _is_number(row.get(term))]
            if pairs:
                x, y = zip(*pairs, strict=True)
                lines[term].append({"label": stage, "x": list(x), "y": list(y)})
        begun += images * max((int(row["epoch"]) for row in rows), default=0)
    return [
        {
            "name": f"loss_{term}",
            "title": f"Convergence: {_TERMS.get(term, term)}",
            "abscissa": "images seen",
            "ordinate": term,
            "kind": "plain",
            "lines": found,
            "marks": [],
        }
        for term, found in lines.items()
        if found
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _histogram(column: Column) -> dict[str, Any] | None:
    values = column.values[np.isfinite(column.values)].astype(np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    low, high = np.percentile(values, _ENDS)
    if not high > low:
        low, high = values.min(), values.max()
    counts, edges = np.histogram(values, _BINS, (low, high))
    abscissa = f"{column.label} ({column.unit})" if column.unit else column.label
    return {"title": column.label, "abscissa": abscissa, "edges": edges.tolist(), "counts": counts.tolist()}

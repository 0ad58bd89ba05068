"""Everything that is known of each image as one table of text."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import isnan
from pathlib import Path

import numpy as np
import torch

from morphem.core.rotations import to_euler
from morphem.report.export.source import Chosen
from morphem.report.export.targets import together
from morphem.report.scene.shown import Column

_BLOCK = 10_000  # rows turned into text at a time


def write_csv(chosen: Chosen, columns: Mapping[str, Column], out: Path) -> Path:
    """Write one row for each image: whose it is and where it lies, its pose, and its particle's columns.

    ``particle`` and ``image`` count from 0 in the run's order, ``row`` from 1 in the particle file; the name
    of the image is RELION's, its number from 1. Poses are the run's: Euler angles as RELION's, in degrees,
    and the displacement of the particle in its image in Å (RELION's origin with its sign turned).

    Args:
        chosen: Which images.
        columns: Of all particles of the run.
        out: Where to; whole or not at all.
    """
    table = _identity(chosen) | _poses(chosen)
    table |= {name: _column(column, chosen) for name, column in columns.items() if name not in table}
    if chosen.spread is not None:
        table |= {f"z{k}_std": values for k, values in enumerate(chosen.spread.T, 1)}
    with together(out, chosen.originals) as place, place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for first in range(0, len(chosen.images), _BLOCK):
            words = [_words(values[first : first + _BLOCK]) for values in table.values()]
            writer.writerows(zip(*words, strict=True))
    return out


def _identity(chosen: Chosen) -> dict[str, np.ndarray]:
    metadata, images = chosen.metadata, chosen.images
    places = zip(metadata.image_index[images].tolist(), metadata.file_index[images].tolist(), strict=True)
    table = {
        "particle": chosen.particle,
        "image": images,
        "row": metadata.row[images] + 1,
        "name": np.array([f"{number + 1:06d}@{metadata.files[file]}" for number, file in places]),
        "optics_group": np.array(metadata.group_names)[metadata.group[images]],
        "half": metadata.half[images],
    }
    return table if metadata.uid is None else {**table, "uid": metadata.uid[images]}


def _poses(chosen: Chosen) -> dict[str, np.ndarray]:
    rot, tilt, psi = torch.rad2deg(to_euler(chosen.poses.rotation.double())).T.numpy()
    x, y = chosen.poses.shift.double().numpy().T
    return {"rot": rot, "tilt": tilt, "psi": psi, "shift_x": x, "shift_y": y}


def _column(column: Column, chosen: Chosen) -> np.ndarray:
    values = column.values[chosen.particle]
    return np.array([*column.categories, ""])[values] if column.categories else values


def _words(values: np.ndarray) -> list[str]:
    """Text of numbers, from which they come back exactly; nothing where a value is unknown."""
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    digits = 9 if values.dtype == np.float32 else 10
    return ["" if isnan(value) else f"{value:.{digits}g}" for value in values.tolist()]

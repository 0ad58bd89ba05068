"""A folder of maps, with a table of particles or of the maps themselves beside them, if there is one."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.data.errors import DataError
from morphem.report.foreign.map_series import MapFile, in_order, read_maps
from morphem.report.scene.shown import Column, Shown

_MAP = ("map", "file")  # what the column that names maps is called
_LATENT = re.compile(r"z_?(\d+)", re.IGNORECASE)
_MOST_CATEGORIES = 64  # more, and they are names rather than groups
_MISSING = ("", "nan", "na", "none", "null", "-")


@dataclass(frozen=True)
class Table:
    """What a CSV file says of each row.

    Attributes:
        path: The file.
        latents: Columns z1, z2, …; of no width where there are none.
        map: Which of the maps a row belongs to, −1 for none; None without such a column.
        columns: All others that can be coloured by.
        left_out: Names of those that cannot.
    """

    path: Path
    latents: Float[Tensor, "p z"]
    map: Int[np.ndarray, "p"] | None
    columns: tuple[Column, ...]
    left_out: tuple[str, ...]


def has_maps(folder: Path) -> bool:
    """Whether there are maps in a folder."""
    return any(folder.glob("*.mrc"))


def shown_folder(folder: Path) -> Shown:
    """Maps and their table as a page shows them.

    Columns ``z1``, ``z2``, … are the latent of a row, ``map`` (or ``file``) names the map that it belongs to;
    by any other column rows are coloured. A map is of the latent of its row; of several rows, of that nearest
    to their mean.

    Raises:
        DataError: If maps do not overlay, or the table names what is not there.
    """
    paths = in_order(folder.glob("*.mrc"))
    table = _table(folder, paths)
    latents = torch.zeros(0, 0) if table is None else table.latents
    places = [None] * len(paths) if table is None else _places(table, len(paths))
    maps = read_maps([MapFile(path.stem, path, z) for path, z in zip(paths, places, strict=True)])
    return Shown(
        title=folder.resolve().name,
        subtitle="a folder of maps" + ("" if table is None else f" and {table.path.name}"),
        latents=latents,
        grid=maps[0].volume.grid,
        fixed=maps,
        columns=() if table is None else table.columns,
        summary=(("maps", str(len(paths))), *_told(table)),
    )


def _told(table: Table | None) -> tuple[tuple[str, str], ...]:
    if table is None:
        return (("table", "none; a CSV file with z1, z2, … and map beside the maps is shown with them"),)
    rows = [("table", f"{table.path.name}, {len(table.latents)} rows")]
    if table.left_out:
        rows.append(("columns left out", f"{', '.join(table.left_out)} (more than {_MOST_CATEGORIES} words)"))
    return tuple(rows)


def _table(folder: Path, maps: Sequence[Path]) -> Table | None:
    """The only CSV file of a folder, or ``maps.csv``."""
    found = sorted(folder.glob("*.csv"))
    chosen = [path for path in found if path.name == "maps.csv"] or found
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise DataError("MAPS-001", f"{folder} has several tables ({names}); leave one, or call it maps.csv")
    return _read_table(chosen[0], maps) if chosen else None


def _read_table(path: Path, maps: Sequence[Path]) -> Table:
    texts = _texts(path)
    count = len(next(iter(texts.values())))
    naming = next((name for name in texts if name.lower() in _MAP), None)
    named = None if naming is None else _assigned(path, texts[naming], maps)
    latent = _latent_columns(path, texts)
    numbers = [_numbers(texts[name]) for name in latent]
    for name, values in zip(latent, numbers, strict=True):
        if values is None or not np.isfinite(values).all():
            raise DataError("MAPS-002", f"{path}: {name} is a latent, but not a number in every row")
    stacked = [values for values in numbers if values is not None]
    others = {name: column for name, column in texts.items() if name not in (*latent, naming)}
    columns = {name: _column(name, column) for name, column in others.items()}
    kept = [column for column in columns.values() if column is not None]
    if named is not None and len(maps) <= _MOST_CATEGORIES and count > len(maps):
        names = tuple(each.stem for each in maps)
        kept.insert(0, Column("map", "map", named.astype(np.int32), categories=names))
    return Table(
        path=path,
        latents=torch.from_numpy(np.stack(stacked, 1)) if stacked else torch.zeros(count, 0),
        map=named,
        columns=tuple(kept),
        left_out=tuple(name for name, column in columns.items() if column is None),
    )


def _texts(path: Path) -> dict[str, list[str]]:
    """Cells of a table by column."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True)
        try:
            rows = [row for row in reader if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError("MAPS-001", f"{path} is no table ({error}); write it as CSV") from error
    if len(rows) < 2:
        raise DataError(
            "MAPS-001", f"{path} should hold a line of names and a line for each row; it has none"
        )
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < len(names) or "" in names:
        raise DataError("MAPS-001", f"{path}: columns should have names, each another: {', '.join(names)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise DataError("MAPS-002", f"{path}: line {number} has {len(row)} cells, not {len(names)}")
    return {name: [row[place].strip() for row in rows[1:]] for place, name in enumerate(names)}


def _latent_columns(path: Path, texts: dict[str, list[str]]) -> list[str]:
    """z1, z2, … in the order of their numbers, none of which may be missing."""
    numbered = {int(match[1]): name for name in texts if (match := _LATENT.fullmatch(name))}
    first = min(numbered, default=1)
    wanted = range(first, first + len(numbered))
    if first > 1 or sorted(numbered) != list(wanted):
        raise DataError("MAPS-002", f"{path} has {', '.join(numbered.values())}; number them z1, z2, …")
    return [numbered[number] for number in wanted]


def _assigned(path: Path, names: Sequence[str], maps: Sequence[Path]) -> Int[np.ndarray, "p"]:
    """Which map each row names, by its file's name with or without suffix."""
    places = {each.name: place for place, each in enumerate(maps)}
    places |= {each.stem: place for place, each in enumerate(maps)} | dict.fromkeys(_MISSING, -1)
    unknown = [name for name in dict.fromkeys(names) if name not in places]
    if unknown:
        met = f"{path} names {len(unknown)} maps that are not there: {', '.join(unknown[:3])}"
        raise DataError("MAPS-004", f"{met}{' …' if len(unknown) > 3 else ''}; put them beside the table")
    return np.array([places[name] for name in names])


def _column(name: str, texts: Sequence[str]) -> Column | None:
    """Numbers where all that is told are numbers, else groups; None where each is another."""
    numbers = _numbers(texts)
    if numbers is not None:
        return Column(name, name, numbers)
    words = sorted({text for text in texts if text.lower() not in _MISSING})
    if len(words) > _MOST_CATEGORIES:
        return None
    codes = {word: code for code, word in enumerate(words)}
    return Column(name, name, np.array([codes.get(text, -1) for text in texts], np.int32), "", tuple(words))


def _numbers(texts: Sequence[str]) -> Float[np.ndarray, "p"] | None:
    """Numbers, NaN where nothing is told; None if something else is."""
    try:
        told = [float("nan") if text.lower() in _MISSING else float(text) for text in texts]
    except ValueError:
        return None
    return np.array(told, np.float32)


def _places(table: Table, count: int) -> list[Float[Tensor, "z"] | None]:
    """Latent of each map: of the row nearest to the mean of its rows."""
    if table.map is None or not table.latents.shape[1]:
        return [None] * count
    places: list[Float[Tensor, "z"] | None] = []
    for number in range(count):
        own = table.latents[torch.from_numpy(table.map == number)]
        nearest = (own - own.mean(0)).square().sum(1)
        places.append(own[nearest.argmin()] if len(own) else None)
    return places

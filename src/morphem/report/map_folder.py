"""Maps, latents and poses that another program left in a folder."""

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

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Poses
from morphem.data.errors import DataError
from morphem.data.foreign import read_arrays, read_poses
from morphem.data.metadata import read_metadata
from morphem.data.mrc import read_map
from morphem.report.evaluate_checks import (
    refuse_another_dataset,
    refuse_other_extents,
    refuse_other_images,
    refuse_other_latents,
    refuse_unknown_states,
)
from morphem.report.results import Result
from morphem.simulate.particles import Truth

TABLE = "maps.csv"


@dataclass(frozen=True)
class MapTable:
    """What ``maps.csv`` says.

    Attributes:
        path: Of the table.
        files: A map each.
        particles: At whose latent each was made; or
        states: the true state that each stands for.
    """

    path: Path
    files: tuple[Path, ...]
    particles: Int[Tensor, "m"] | None
    states: Float[Tensor, "m q"] | None


def read_map_folder(folder: Path, data: Path, truth: Truth) -> Result:
    """Result of another program: ``maps.csv`` and its maps; latents and poses where there are files of them.

    Maps of another extent, states that the set does not have, and what was planned for another set or at
    other latents are refused. That nameless rows of latents are in the set's order cannot be told.

    Args:
        folder: With ``latents.npy``, ``z.pkl`` or cryoDRGN's ``z.N.pkl`` (the last one counts); and
            ``poses.star``, ``poses.pkl`` or ``pose.N.pkl`` if the program found poses.
        data: Folder of the simulated set.
        truth: Of the set.
    """
    table = read_map_table(folder, truth)
    latents = _latents(folder, truth)
    if table.particles is not None:
        refuse_other_latents(table.path, table.particles, latents)
    return Result(
        decode=lambda rows: _decoded(table, rows, truth.grid),
        latents=latents,
        poses=_poses(folder, data, len(truth)),
        particles=table.particles,
        states=table.states,
        facts={"method": folder.resolve().name, "maps": len(table.files)},
    )


def read_map_table(folder: Path, truth: Truth) -> MapTable:
    """Which map belongs to which particle or state.

    Raises:
        DataError: If the table, a column or a map is missing, or names what the set does not have.
    """
    path = _only_table(folder)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        rows, columns = list(reader), [name.strip() for name in reader.fieldnames or ()]
    names = [coordinate.name for coordinate in truth.ensemble.coordinates]
    states = _state_columns(columns, names)
    known = {"file", "particle", "serves", *states}
    unknown = [name for name in columns if name not in known]
    if unknown or "file" not in columns or ("particle" in columns) == bool(states):
        met = f"{path} has columns {', '.join(columns) or 'none'}"
        wanted = "file, and either particle or " + (
            " and ".join(_numbered(names)) if len(names) > 1 else "state"
        )
        raise DataError("MAPS-001", f"{met}; they should be {wanted}")
    files = tuple(folder / row["file"].strip() for row in rows)
    _refuse_missing(path, files)
    refuse_another_dataset(path, truth)
    refuse_other_extents(files, truth.grid)
    if states:
        given = torch.tensor([[_number(path, row, name) for name in states] for row in rows])
        refuse_unknown_states(path, given, truth)
        return MapTable(path, files, None, given)
    return MapTable(path, files, _particles(path, rows, len(truth)), None)


def _particles(path: Path, rows: list[dict[str, str]], n: int) -> Int[Tensor, "m"]:
    """Particles that a table names, each once."""
    particles = torch.tensor([int(_number(path, row, "particle")) for row in rows])
    outside = particles[(particles < 0) | (particles >= n)]
    if len(outside):
        met = f"{path} names particle {int(outside[0])}, the set has 0 to {n - 1}"
        raise DataError("MAPS-002", f"{met}; particles are counted from 0 in the order of the particle file")
    each, times = particles.unique(return_counts=True)
    if len(each) < len(particles):
        met = f"{path} names {int((times > 1).sum())} particles twice, such as {int(each[times.argmax()])}"
        raise DataError("MAPS-002", f"{met}; give one map of each")
    return particles


def read_latents(path: Path) -> Float[Tensor, "p z"]:
    """Latents of an ``.npy`` file, a text file, or a pickle of cryoDRGN's."""
    if not path.exists():
        raise DataError("PATH-001", f"{path} does not exist")
    if path.suffix == ".pkl":
        held = read_arrays(path)
    elif path.suffix == ".npy":
        held = np.load(path, allow_pickle=False)
    else:
        held = np.loadtxt(path, ndmin=2)
    if isinstance(held, tuple) or held.ndim != 2:
        raise DataError("MAPS-003", f"{path} should hold one array of particles × latent numbers")
    return torch.from_numpy(np.ascontiguousarray(held, np.float32))


def _only_table(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if (folder / TABLE).exists():
        return folder / TABLE
    if len(tables) == 1:
        return tables[0]
    met = f"{folder} is neither a finished run (no summary.json) nor a folder of maps (no {TABLE})"
    raise DataError("MAPS-001", f"{met}; docs/evaluate.md tells what {TABLE} holds")


def _numbered(names: Sequence[str]) -> list[str]:
    return [f"state{k}" for k in range(1, len(names) + 1)]


def _state_columns(columns: list[str], names: list[str]) -> list[str]:
    """The columns that give a state, by any of their names, in the order of the coordinates."""
    for wanted in (names, _numbered(names), ["state"] if len(names) == 1 else []):
        if wanted and all(name in columns for name in wanted):
            return list(wanted)
    return []


def _number(path: Path, row: dict[str, str], column: str) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError) as error:
        raise DataError("MAPS-002", f"{path}: {column} is {row[column]!r}, not a number") from error


def _refuse_missing(path: Path, files: Sequence[Path]) -> None:
    if not files:
        raise DataError("MAPS-004", f"{path} names no map")
    missing = [file.name for file in files if not file.exists()]
    if missing:
        met = f"{len(missing)} of {len(files)} maps that {path} names are missing: {', '.join(missing[:3])}"
        raise DataError("MAPS-004", f"{met}{' …' if len(missing) > 3 else ''}; put them beside the table")


def _latents(folder: Path, truth: Truth) -> Float[Tensor, "p z"] | None:
    paths = [folder / name for name in ("latents.npy", "z.pkl") if (folder / name).exists()]
    path = paths[0] if paths else _last(folder, "z")
    if path is None:
        return None
    latents = read_latents(path)
    if len(latents) != len(truth):
        met = f"{path} has {len(latents)} rows, the set has {len(truth)} particles"
        raise DataError("COUNT-001", f"{met}; give latents of all, in the order of the particle file")
    return latents


def _poses(folder: Path, data: Path, n: int) -> Poses | None:
    named = [folder / name for name in ("poses.star", "poses.pkl", "pose.pkl") if (folder / name).exists()]
    path = named[0] if named else _last(folder, "pose")
    if path is None:
        return None
    if path.suffix == ".pkl":
        rotation, shift = read_poses(path, read_metadata(data / "particles.star"))
        return Poses(torch.from_numpy(rotation).float(), torch.from_numpy(shift).float())
    found = read_metadata(path)
    if len(found.poses) != n:
        raise DataError("COUNT-001", f"{path} has {len(found.poses)} poses, the set has {n} particles")
    refuse_other_images(path, found, read_metadata(data / "particles.star"))
    return found.poses


def _last(folder: Path, stem: str) -> Path | None:
    """``stem.N.pkl`` with the largest N."""
    found = {int(m[1]): p for p in folder.glob(f"{stem}.*.pkl") if (m := re.search(r"\.(\d+)\.pkl$", p.name))}
    return found[max(found)] if found else None


def _decoded(table: MapTable, rows: Int[Tensor, "k"], grid: Grid) -> Float[Tensor, "k d d d"]:
    """Maps of particles, or of states by row of the table."""
    if table.particles is None:
        chosen = rows.tolist()
    else:
        place = {particle: k for k, particle in enumerate(table.particles.tolist())}
        chosen = [place[particle] for particle in rows.tolist()]
    return torch.stack([_on_grid(table.files[k], grid) for k in chosen])


def _on_grid(path: Path, grid: Grid) -> Float[Tensor, "d d d"]:
    """A map on the grid of the set, resampled if it has another box over the same extent."""
    return resize_map(read_map(path, grid.pixel_size).voxels, grid.box)

"""Maps that a program wrote with numbered names, and the latents that they are of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.data.mrc import read_header, read_map
from morphem.report.scene.shown import FixedMap

LARGEST = 128  # voxels a side that are kept: a page shows no more, and memory is finite
_MOST = 40


@dataclass(frozen=True)
class MapFile:
    """A map that is there, not yet read.

    Attributes:
        name: For people.
        path: Its file.
        latent: That it is of, if that is known.
    """

    name: str
    path: Path
    latent: Float[Tensor, "z"] | None = None


def numbered_maps(folder: Path, width: int, named: str = "vol_*.mrc") -> list[MapFile]:
    """Maps so named of a folder in the order of their numbers, with the latents that they are of.

    A text file beside them tells, if it has a row for each map and ``width`` numbers in each.
    """
    paths = in_order(folder.glob(named))
    latents = _latents(folder, len(paths), width)
    names = [f"{folder.name}/{path.stem}" for path in paths]
    each = [None] * len(paths) if latents is None else list(latents)
    return [MapFile(name, path, z) for name, path, z in zip(names, paths, each, strict=True)]


def some(files: Sequence[MapFile]) -> list[MapFile]:
    """As many maps as a page can hold, spread evenly over those that are there."""
    places = np.linspace(0, len(files) - 1, min(_MOST, len(files))).round().astype(int)
    return [files[place] for place in places]


def read_maps(files: Sequence[MapFile], pixel_size: float | None = None) -> tuple[FixedMap, ...]:
    """Maps on one grid: that of the smallest box, of no more than ``LARGEST`` voxels a side.

    Args:
        files: The maps.
        pixel_size: Å a voxel of the maps' own grid, for headers that do not tell; a header that does wins.

    Raises:
        DataError: If maps have different extents, or one cannot be read.
    """
    if not files:
        return ()
    grids = {each.path: _grid_of(each.path, pixel_size) for each in files}
    first = files[0].path
    for path, grid in grids.items():
        if abs(grid.extent - grids[first].extent) > 1e-3 * grids[first].extent:
            sizes = f"{path} spans {grid.extent:g} Å, {first} {grids[first].extent:g} Å"
            raise DataError("MAPS-005", f"{sizes}: they do not overlay; keep maps of one box in a folder")
    box = min(LARGEST, *(grid.box for grid in grids.values()))
    grid = grids[first].resized(box)
    return tuple(
        FixedMap(each.name, _on_grid(each.path, grids[each.path], grid), each.latent) for each in files
    )


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Paths as people count: ``vol_9`` before ``vol_10``."""
    return sorted(paths, key=lambda path: [_counted(part) for part in re.split(r"(\d+)", path.name)])


def _counted(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdigit() else (-1, part)


def _latents(folder: Path, count: int, width: int) -> Float[Tensor, "m z"] | None:
    preferred = [folder / "z_values.txt", folder / "centers.txt"]
    others = [path for path in in_order(folder.glob("*.txt")) if path not in preferred]
    for path in [*preferred, *others]:
        numbers = _numbers(path) if path.is_file() else None
        if numbers is not None and numbers.size == count * width and width in numbers.shape:
            return torch.from_numpy(numbers.reshape(count, width))
    return None


def _numbers(path: Path) -> Float[np.ndarray, "r c"] | None:
    """A table of numbers, unless it is none."""
    try:
        found = np.loadtxt(path, dtype=np.float32, ndmin=2)
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _grid_of(path: Path, pixel_size: float | None) -> Grid:
    header = read_header(path)
    box, size = header.shape[0], header.cell[0]
    # 1 Å is what programs write that do not know better
    told = pixel_size if pixel_size is not None and (size <= 0 or abs(size - 1) < 1e-6) else size
    if len(set(header.shape)) > 1 or box % 2:
        met = f"{path} has {' × '.join(map(str, header.shape))} voxels"
        raise DataError("MAPS-006", f"{met}; cubes of an even number are shown: crop or pad it")
    if not told > 0:
        raise DataError("MAPS-006", f"{path} does not say how large its voxels are; write it with its cell")
    return Grid(box, float(told))


def _on_grid(path: Path, own: Grid, grid: Grid) -> Volume:
    voxels = read_map(path, own.pixel_size).voxels
    return Volume(voxels if own.box == grid.box else resize_map(voxels, grid.box), grid)

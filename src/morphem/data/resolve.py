"""Where the image stacks lie that a particle file names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from morphem.data.errors import DataError, MetadataWarning
from morphem.data.mrc import MrcHeader, read_header

_STACK_SUFFIXES = (".mrcs", ".mrc", ".st")


@dataclass(frozen=True)
class _Place:
    """A folder, and how much of a stack's name to keep below it."""

    folder: Path
    depth: int | None = None

    def path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        return self.folder.joinpath(*(parts if self.depth is None else parts[-self.depth :]))

    def __str__(self) -> str:
        tail = {None: "as named", 1: "by file name"}.get(
            self.depth, f"by the last {self.depth} parts of the name"
        )
        return f"{self.folder}{os.sep} ({tail})"


def resolve_stacks(
    names: Sequence[str], counts: Sequence[int], source: Path, datadir: Path | None = None
) -> tuple[MrcHeader, ...]:
    """Headers of the stacks that ``source`` names, one per name.

    Looked for under ``datadir`` if given, beside the particle file, in the working directory, in each folder
    above the particle file (its project), then by file name alone. If one single name is found nowhere, the
    one stack beside the particle file with as many images as the rows ask for stands in, with a warning.

    Args:
        names: As the particle file gives them; a leading ``>`` is cryoSPARC's project folder.
        counts: Images of each stack that rows ask for: the highest number met.
        source: The particle file.
        datadir: Where the user says that the stacks are.
    """
    plain = [name.lstrip(">") for name in names]
    places = _places(plain, source, datadir)
    found = [_first(name, places) for name in plain]
    missing = [k for k, path in enumerate(found) if path is None]
    if len(names) == 1 and missing:
        found = [_stand_in(plain[0], counts[0], source, datadir)]
        missing = [k for k, path in enumerate(found) if path is None]
    if missing:
        raise DataError("PATH-001", _not_found([plain[k] for k in missing], plain, places, source))
    return tuple(read_header(path) for path in found if path is not None)


def _places(names: Sequence[str], source: Path, datadir: Path | None) -> list[_Place]:
    """Folders to try, the most telling first."""
    if datadir is not None and not datadir.is_dir():
        raise DataError("PATH-001", f"--datadir {datadir} is not a folder")
    home = source.absolute().parent
    depth = max(len(PurePosixPath(name).parts) for name in names)
    places = []
    if datadir is not None:
        # a copy of part of the project: its tree may begin anywhere in the name
        places += [_Place(datadir), *(_Place(datadir, kept) for kept in range(depth - 1, 0, -1))]
    places += [_Place(home), _Place(Path.cwd())]
    places += [_Place(folder) for folder in home.parents if folder != folder.parent]
    below = sorted(Path(entry.path) for entry in os.scandir(home) if entry.is_dir())
    places += [_Place(folder, 1) for folder in (home, *below)]
    return places


def _first(name: str, places: Sequence[_Place]) -> Path | None:
    return next((path for path in (place.path(name) for place in places) if path.is_file()), None)


def _stand_in(name: str, count: int, source: Path, datadir: Path | None) -> Path | None:
    """The only stack beside the particle file that holds exactly ``count`` images."""
    folder = datadir or source.absolute().parent
    fitting = [
        path for path in sorted(folder.iterdir()) if path.suffix in _STACK_SUFFIXES and _fits(path, count)
    ]
    if len(fitting) != 1:
        return None
    warnings.warn(
        f"{source}: {name} is not there; {fitting[0]} holds exactly the {count} images asked for, "
        "and is read in its place",
        MetadataWarning,
        stacklevel=4,
    )
    return fitting[0]


def _fits(path: Path, count: int) -> bool:
    try:
        header = read_header(path)
    except DataError:
        return False
    sections, rows, columns = header.shape
    return sections == count and rows == columns


def _not_found(missing: list[str], names: list[str], places: list[_Place], source: Path) -> str:
    hits = {place: sum(place.path(name).is_file() for name in names) for place in places}
    best = sorted(places, key=lambda place: -hits[place])[:3]
    tried = "; ".join(f"{place}: {hits[place]} of {len(names)}" for place in best)
    return (
        f"{source}: {len(missing)} of {len(names)} stacks not found (first: {', '.join(missing[:3])}). "
        f"Tried {tried}. Give the folder that holds them with --datadir"
    )

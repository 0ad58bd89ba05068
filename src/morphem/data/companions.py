"""Metadata files that another metadata file names."""

from __future__ import annotations

from pathlib import Path

from morphem.data.errors import DataError


def find_companion(origin: Path, name: str, datadir: Path | None = None) -> Path | None:
    """Where a file named by ``origin`` lies: as given, or relative to a folder above it, or beside it.

    Programs name files from their project folder, which is somewhere above the file that names them.
    """
    name = name.lstrip(">")
    folders = [datadir] if datadir is not None else []
    folders += [Path(), *origin.resolve().parents]
    candidates = [folder / name for folder in folders] + [origin.parent / Path(name).name]
    return next((path for path in candidates if path.is_file()), None)


def require_companion(origin: Path, name: str, datadir: Path | None = None) -> Path:
    """The same, or an error that says where the file was looked for."""
    found = find_companion(origin, name, datadir)
    if found is None:
        message = f"{origin} names {name}, found neither in the working directory, nor in a folder above it"
        raise DataError("PATH-001", f"{message}, nor beside it; state datadir, the folder it is relative to")
    return found

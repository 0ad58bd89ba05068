"""Particle files of any kind as metadata."""

from __future__ import annotations

import warnings
from pathlib import Path

from morphem.data.checks import check
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.options import MetadataOptions
from morphem.data.record import AbstractSource, Metadata, write_metadata
from morphem.data.relion import read_relion
from morphem.data.star import StarFile, StarTable, read_star

__all__ = ["AbstractSource", "Metadata", "MetadataOptions", "read_metadata", "write_metadata"]


def read_metadata(path: Path | str, options: MetadataOptions | None = None) -> Metadata:
    """What a particle file says of each image, in this package's units; no image is read.

    What the file holds beyond the model, and what had to be assumed, is said in one warning.
    """
    path, options = Path(path), options or MetadataOptions()
    if not path.is_file():
        raise DataError("PATH-001", f"{path} does not exist; check the spelling and the working directory")
    metadata = check(_read(path, options), options)
    notes = [f"not modelled: {', '.join(metadata.unmodelled)}"] if metadata.unmodelled else []
    notes += [f"assumed: {', '.join(metadata.assumed)}"] if metadata.assumed else []
    if notes:
        warnings.warn(f"{path}: {'; '.join(notes)}", MetadataWarning, stacklevel=2)
    return metadata


def _read(path: Path, options: MetadataOptions) -> Metadata:
    if path.suffix == ".star":
        star = read_star(path)
        return read_relion(star, _particle_table(star), options)
    raise DataError("PATH-003", f"{path}: a particle file ends in .star, .cs, .csg, .mrcs or .txt")


def _particle_table(star: StarFile) -> StarTable:
    for table in star.tables:
        if "rlnImageName" in table:
            return table
    names = ", ".join(f"data_{table.name}" for table in star.tables)
    raise DataError("STAR-003", f"{star.path}: no table has a column _rlnImageName (met {names})")

"""Particle files of any kind as metadata."""

from __future__ import annotations

import difflib
import os
import warnings
from pathlib import Path

from morphem.data.checks import check
from morphem.data.cs import read_cs, read_csg
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.foreign import read_arrays, read_bare_stack, with_pickles
from morphem.data.options import MetadataOptions
from morphem.data.record import AbstractSource, Metadata, write_metadata
from morphem.data.relion import read_relion
from morphem.data.star import StarFile, read_star
from morphem.data.tomo import has_tilt_rows, read_optimisation_set, read_tilt_rows, read_tomo

__all__ = ["AbstractSource", "Metadata", "MetadataOptions", "read_metadata", "write_metadata"]


def read_metadata(path: Path | str, options: MetadataOptions | None = None) -> Metadata:
    """What a particle file says of each image, in this package's units; no image is read.

    What the file holds beyond the model, and what had to be assumed, is said in one warning.
    """
    path, options = Path(path), options or MetadataOptions()
    if not path.is_file():
        raise DataError("PATH-001", f"{path} {_absence(path)}")
    try:
        metadata = check(with_pickles(_read(path, options), options), options)
    except OSError as error:
        message = f"{error.filename or path} cannot be read: {error.strerror}; check its permissions"
        raise DataError("PATH-001", message) from error
    notes = [f"not modelled: {', '.join(metadata.unmodelled)}"] if metadata.unmodelled else []
    notes += [f"assumed: {', '.join(metadata.assumed)}"] if metadata.assumed else []
    if notes:
        warnings.warn(f"{path}: {'; '.join(notes)}", MetadataWarning, stacklevel=2)
    return metadata


def _absence(path: Path) -> str:
    """What is wrong with a path that is no file, and the file that may have been meant."""
    if path.is_dir():
        inside = sorted(each.name for each in path.iterdir() if each.suffix in _PARTICLE_FILES)
        return f"is a folder; name a particle file in it ({', '.join(inside[:3]) or 'it has none'})"
    if not path.parent.is_dir():
        return f"does not exist, nor does {path.parent}{os.sep}; the working directory is {Path.cwd()}"
    near = difflib.get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=1)
    return f"does not exist; {f'did you mean {near[0]}?' if near else 'check the spelling'}"


def _read(path: Path, options: MetadataOptions) -> Metadata:
    if path.suffix == ".star":
        return _read_star(read_star(path), options)
    if path.suffix == ".cs":
        return read_cs(path, options)
    if path.suffix == ".csg":
        return read_csg(path, options)
    if path.suffix in (".mrcs", ".mrc", ".txt"):
        return read_bare_stack(path, options)
    if path.suffix == ".pkl":
        n = len(read_arrays(path))
        message = f"{path} holds {n} arrays or rows, but no images"
        raise DataError("PATH-003", f"{message}; open the stack or star, and state this file as poses or ctf")
    raise DataError("PATH-003", f"{path}: a particle file ends in .star, .cs, .csg, .mrcs or .txt")


def _read_star(star: StarFile, options: MetadataOptions) -> Metadata:
    if any("rlnTomoParticlesFile" in table for table in star.tables):
        return read_optimisation_set(star, options)
    table = next((table for table in star.tables if "rlnImageName" in table), None)
    if table is None:
        raise DataError("STAR-003", f"{star.path}: {_without_images(star)}")
    if "rlnTomoName" in table:
        return read_tomo(star, options)
    if has_tilt_rows(table):
        return read_tilt_rows(star, table, options)
    return read_relion(star, table, options)


_PARTICLE_FILES = (".star", ".cs", ".csg", ".mrcs", ".txt")

_OTHER_FILES = {
    "rlnExperimentalDataStarFile": "an optimiser state, not particles; open the …_data.star of the same job",
    "rlnReferenceImage": "a model, not particles; open the …_data.star of the same job",
    "rlnJobTypeLabel": "the settings of a job, not particles; open the star file that the job wrote",
    "rlnTomoTiltSeriesPixelSize": "tomograms, not particles; open the optimisation set",
    "rlnTomoNominalStageTiltAngle": "one tilt series, not particles; open the optimisation set",
    "rlnCenteredCoordinateXAngst": "positions without images; extract the particles first",
    "rlnCoordinateX": "positions without images (no _rlnImageName); extract the particles first",
}


def _without_images(star: StarFile) -> str:
    """What a star file without particle images is instead."""
    labels = {label for table in star.tables for label in table.labels}
    known = next((words for label, words in _OTHER_FILES.items() if label in labels), None)
    if known is not None:
        return f"this is {known}"
    names = ", ".join(f"data_{table.name}" for table in star.tables[:6])
    return f"no table has a column _rlnImageName (met {names})"

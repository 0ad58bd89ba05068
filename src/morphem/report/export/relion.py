"""The way back to RELION: rows of the original star file, untouched but for columns at their end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from morphem.data.companions import find_companion
from morphem.data.errors import DataError
from morphem.data.images import DiskImages
from morphem.data.record import write_metadata
from morphem.data.relion import RelionSource, image_table
from morphem.data.star import StarTable, read_star
from morphem.data.tomo import TomoSource
from morphem.report.export.source import Chosen
from morphem.report.export.targets import together

_COMPANIONS = ("rlnTomoTomogramsFile", "rlnTomoTrajectoriesFile", "rlnTomoManifoldsFile")


def write_star(
    chosen: Chosen,
    columns: Mapping[str, np.ndarray],
    out: Path,
    with_poses: bool = False,
    project: Path | None = None,
) -> Path:
    """Write the original rows of the chosen images, and for tomography an optimisation set beside them.

    Every block, column and comment of the original stays as it is. An image's name is only changed where it
    would not lead to the same stack from ``project`` (or, without one, from the folder of ``out`` or one
    above it); then it is relative to ``project``, or the whole path.

    Args:
        chosen: Which images.
        columns: To add, one value or row for each image.
        out: Where to.
        with_poses: Whether to write the run's poses in place of the file's.
        project: Folder that RELION is started in.

    Raises:
        DataError: ``EXPORT-001`` if the particles did not come from a star file.
    """
    source = chosen.metadata.source
    if not isinstance(source, RelionSource | TomoSource):
        message = f"{source.path} is no star file, and what it lacks for RELION would have to be invented"
        raise DataError("EXPORT-001", f"{message}; export with --to {_own_format(source.path)}")
    added = dict(columns) | _image_names(chosen, source, out, project)
    with together(out, chosen.originals) as place:
        write_metadata(
            chosen.metadata,
            place,
            rows=chosen.images,
            extra=added,
            poses=chosen.poses if with_poses else None,
        )
        if isinstance(source, TomoSource):
            beside = place.with_name(f"{out.stem}_optimisation_set.star")
            beside.write_text(_optimisation_set(chosen, out, project), encoding="utf-8")
    return out


def _own_format(path: Path) -> str:
    return "cs or csg" if path.suffix in (".cs", ".csg") else "csv"


def _image_names(
    chosen: Chosen, source: RelionSource | TomoSource, out: Path, project: Path | None
) -> dict[str, np.ndarray]:
    """Names of the images, if one has to change."""
    metadata, images = chosen.metadata, chosen.stack.images
    if not isinstance(images, DiskImages):
        return {}
    used = np.unique(metadata.file_index[chosen.images])
    names = {
        int(file): _reachable(metadata.files[file], images.stacks[file].path, out, project) for file in used
    }
    if all(name == metadata.files[file] for file, name in names.items()):
        return {}
    texts = image_table(source.star.unpack()).texts("rlnImageName")
    rows, files = metadata.row[chosen.images], metadata.file_index[chosen.images]
    return {
        "rlnImageName": np.array(
            [
                _renamed(texts[row], names[file])
                for row, file in zip(rows.tolist(), files.tolist(), strict=True)
            ]
        )
    }


def _renamed(text: str, name: str) -> str:
    number, at, _ = text.partition("@")
    return f"{number}@{name}" if at else name


def _reachable(name: str, path: Path, out: Path, project: Path | None) -> str:
    """A name that leads to the file ``path`` for a program in ``project``; the old one where it does."""
    home = out.absolute().parent
    folders = [home, *home.parents] if project is None else [project.absolute()]
    if any(_is_file(folder / name, path) for folder in folders):
        return name
    whole = path.absolute()
    if project is not None and whole.is_relative_to(project.absolute()):
        return os.fspath(whole.relative_to(project.absolute()))
    return os.fspath(whole)


def _is_file(candidate: Path, path: Path) -> bool:
    return candidate.is_file() and candidate.samefile(path)


def _optimisation_set(chosen: Chosen, out: Path, project: Path | None) -> str:
    """RELION 5's list of the files that belong together: the new particles, and the old tomograms."""
    files = {"rlnTomoParticlesFile": _written(out, project)}
    for label, (name, path) in _companions(chosen).items():
        files[label] = _reachable(name, path, out, project)
    lines = "".join(f"_{label} {name}\n" for label, name in files.items())
    return f"\n# version 50001\n\ndata_\n\n{lines}\n"


def _written(out: Path, project: Path | None) -> str:
    inside = project is not None and out.absolute().is_relative_to(project.absolute())
    return os.fspath(out.absolute().relative_to(project.absolute()) if inside and project else out.absolute())


def _companions(chosen: Chosen) -> dict[str, tuple[str, Path]]:
    """Files that the opened optimisation set names, or the tomograms that were stated or lie beside."""
    opened = chosen.stack.opened
    if opened is None:
        return {}
    origin, datadir = opened.path, opened.options.datadir
    named = _set_table(origin)
    found = {
        label: (named.texts(label)[0], find_companion(origin, named.texts(label)[0], datadir))
        for label in _COMPANIONS
        if named is not None and label in named
    }
    if opened.options.tomograms is not None:
        stated = str(opened.options.tomograms)
        found["rlnTomoTomogramsFile"] = (stated, find_companion(origin, stated, datadir))
    if "rlnTomoTomogramsFile" not in found:
        beside = next(iter(sorted(chosen.metadata.source.path.parent.glob("*tomograms.star"))), None)
        found["rlnTomoTomogramsFile"] = ("" if beside is None else beside.name, beside)
    return {label: (name, path) for label, (name, path) in found.items() if path is not None}


def _set_table(path: Path) -> StarTable | None:
    """The one row of an optimisation set; None if the file is none."""
    return next((table for table in read_star(path).tables if "rlnTomoParticlesFile" in table), None)

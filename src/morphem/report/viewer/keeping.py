"""What a page can have written: selections, kept with the run, and exports, sent and forgotten."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from morphem.data.errors import DataError
from morphem.report.export import export_particles
from morphem.report.selection import parse_selection, read_selection, write_selection
from morphem.report.viewer.errors import ConflictError

FORMATS = ("star", "cs")


@dataclass(frozen=True)
class Download:
    """A file to be sent."""

    name: str
    content: bytes


def keep_selection(run: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Keep a page's selection in ``RUN/select/NAME.json``; tell where, and what can be done with it.

    The same particles may be kept again under their name, as by whoever keeps and then exports them.

    Args:
        run: The run.
        record: A ``Selection`` of ``web/src/scene.ts``; ``"overwrite": true`` replaces one of its name.

    Raises:
        DataError: ``SELECT-002`` or ``SELECT-003`` if it is none, of another run, or its name is taken.
    """
    selection = parse_selection(record, "the selection")
    path = run / "select" / f"{selection.name}.json"
    overwrite = record.get("overwrite") is True
    if overwrite or not path.exists():
        write_selection(run, selection, overwrite)
    elif not np.array_equal(read_selection(run, selection.name).particles, selection.particles):
        met = f"there is a selection {selection.name} already, of other particles"
        raise ConflictError("SELECT-003", f"{met}; choose another name")
    export = f"morphem export {run} --select {selection.name} --to"
    commands = (
        ("export these particles to RELION", f"{export} star -o {selection.name}.star"),
        ("export these particles to cryoSPARC", f"{export} cs -o {selection.name}.cs"),
    )
    return {
        "file": str(path),
        "commands": [{"purpose": purpose, "command": command} for purpose, command in commands],
    }


def exported(run: Path, name: str, to: str, particles: Path | None) -> Download:
    """A kept selection in another program's format; several files come as one archive.

    Raises:
        DataError: If there is no such selection or format, or the particle file is not at hand.
    """
    if to not in FORMATS:
        raise DataError("EXPORT-003", f"{to!r} is no format of particles; known are {', '.join(FORMATS)}")
    rows = read_selection(run, name).particles
    with TemporaryDirectory(prefix="morphem-export-") as folder:
        export_particles(run, rows, to, Path(folder) / f"{name}.{to}", particles)
        files = sorted(path for path in Path(folder).iterdir() if path.is_file())
        if len(files) == 1:
            return Download(files[0].name, files[0].read_bytes())
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as together:
            for path in files:
                together.write(path, path.name)
    return Download(f"{name}-{to}.zip", archive.getvalue())

"""The particles of a run, found again after it has ended."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.stack import ParticleStack, open_stack
from morphem.engine.files import read_json
from morphem.engine.identity import fingerprint

_SAME = ("images", "box", "pixel_size", "grey_values")  # of a fingerprint: what tells whose images they are


def source_of(stack: ParticleStack) -> dict[str, Any]:
    """How to open a stack again, as JSON, with whole paths; empty for images that never were a file."""
    if stack.opened is None:
        return {}
    options = {name: _whole(value) for name, value in asdict(stack.opened.options).items()}
    return {"path": _whole(stack.opened.path), "options": options, "crop": stack.opened.crop}


def reopen(run: Path, path: Path | None = None) -> ParticleStack:
    """The particles that a run looked at, opened as they were then.

    Args:
        run: The run's folder.
        path: Where the particle file is now, if it has moved.

    Raises:
        DataError: If the run does not tell, or if they are not the same images any more.
    """
    record = read_json(run / "run.json")
    source = record.get("source", {})
    if not source and path is None:
        raise DataError(
            "PATH-005", f"{run} does not tell which particles it is of; give their file (--particles)"
        )
    options = source.get("options", {})
    found = open_stack(
        path or source["path"],
        MetadataOptions(**{name: _path(name, value) for name, value in options.items()}),
        source.get("crop"),
    )
    before, now = record["identity"]["data"], fingerprint(found)
    differ = [name for name in _SAME if before[name] != now[name]]
    if differ:
        met = f"{path or source['path']} is not what {run} was made of any more: {', '.join(differ)} differ"
        raise DataError("PATH-006", f"{met}; give the file that it was made of (--particles)")
    return found


def _whole(value: Any) -> Any:
    """A path from the root on, as text; everything else as it is."""
    if isinstance(value, tuple):
        return [_whole(each) for each in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def _path(name: str, value: Any) -> Any:
    """What a field of the options was before it was JSON."""
    if isinstance(value, list):
        return tuple(Path(each) for each in value)
    kind = MetadataOptions.__annotations__[name]
    return Path(value) if isinstance(value, str) and "Path" in str(kind) else value

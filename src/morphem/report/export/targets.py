"""Where an export is written: all of its files appear together or none, and nothing of others is replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from morphem.data.errors import DataError

RECORD = "export.json"  # by which a folder is known as an earlier export


@contextmanager
def together(out: Path, originals: Iterable[Path] = ()) -> Iterator[Path]:
    """A place to write ``out`` and files beside it; they are moved when the block ends well, ``out`` last.

    Args:
        out: The file to be written.
        originals: Files that must not be replaced.

    Yields:
        Path of the same name in a hidden folder beside ``out``.

    Raises:
        DataError: ``PATH-004`` if a file would replace one of ``originals``, or one in a run's folder itself.
    """
    out = out.absolute()
    originals = [path.resolve() for path in originals]
    _refuse(out, originals)
    with _hidden_folder(out.parent) as hidden:
        yield hidden / out.name
        names = sorted((path.name for path in hidden.iterdir()), key=lambda name: name == out.name)
        for name in names:
            _refuse(out.parent / name, originals)
        for name in names:
            os.replace(hidden / name, out.parent / name)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A hidden folder that becomes ``out`` when the block ends well.

    Raises:
        DataError: ``PATH-004`` if ``out`` is there and is neither empty nor an earlier export.
    """
    out = out.absolute()
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / RECORD).is_file())):
        raise DataError("PATH-004", f"{out} is there and is no earlier export; choose another folder (-o)")
    with _hidden_folder(out.parent) as hidden:
        yield hidden
        if out.exists():
            # a folder in use cannot be replaced by renaming another onto it
            os.replace(out, hidden.with_suffix(".before"))
        os.replace(hidden, out)
        shutil.rmtree(hidden.with_suffix(".before"), ignore_errors=True)


def _refuse(path: Path, originals: list[Path]) -> None:
    if path.resolve() in originals:
        message = f"{path} would replace an original, from which it comes"
        raise DataError("PATH-004", f"{message}; choose another name (-o)")
    if path.is_dir() or (path.exists() and (path.parent / "run.json").exists()):
        message = f"{path} is a folder" if path.is_dir() else f"{path} is a file of the run itself"
        raise DataError("PATH-004", f"{message}; choose another name (-o)")


@contextmanager
def _hidden_folder(parent: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, unless it was given another name."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(mkdtemp(prefix=".export-", dir=parent))
    except OSError as error:
        message = f"{parent} cannot be written to: {error.strerror}"
        raise DataError("DISK-002", f"{message}; choose another folder (-o)") from error
    hidden.chmod(0o755)  # mkdtemp shuts others out
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)

"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from morphem.data.errors import DataError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends well, else removed."""
    path = Path(path)
    # the suffix stays: numpy and mrcfile go by it
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{path} could not be written: {reason}; free space or choose another folder"
        raise DataError("DISK-001", message) from error
    finally:
        temporary.unlink(missing_ok=True)

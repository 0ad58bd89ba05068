"""A browser opened on an address that nobody else on this machine gets to see."""

from __future__ import annotations

import html
import os
import sys
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


def has_screen(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser that is opened here would be seen by who is at the keyboard."""
    if "SSH_CONNECTION" in environment:
        return False
    return sys.platform in ("darwin", "win32") or any(
        environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


@contextmanager
def opened(address: str) -> Iterator[None]:
    """The user's browser on an address, for as long as a server runs.

    The address holds a token, and the arguments of a process can be read by all users of a machine: the
    browser is given a file that leads there, which its owner alone can read.
    """
    with TemporaryDirectory(prefix="morphem-view-") as folder:
        file = Path(folder) / "open.html"
        target = html.escape(address, quote=True)
        file.write_text(
            f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0;url={target}"><a href="{target}">Morphem</a>',
            encoding="utf-8",
        )
        webbrowser.open(file.as_uri())
        yield

"""``python -m morphem`` in a process of its own, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a command left behind: its exit status and all that it said."""

    status: int
    out: str
    err: str

    @property
    def codes(self) -> list[str]:
        """Codes of the messages on stderr, in order."""
        return [line.split()[0] for line in self.err.splitlines() if line.startswith("E-")]


def environment() -> dict[str, str]:
    """This process's, as if no test runner or launcher had started it."""
    ours = {name: text for name, text in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {**ours, "OMP_NUM_THREADS": "1"}


def start(*words: object, module: str = "morphem", **settings: object) -> subprocess.Popen[str]:
    """``python -m morphem …`` in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str]) -> Answer:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=240)
    return Answer(process.returncode, out, err)

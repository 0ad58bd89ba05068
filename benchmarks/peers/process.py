"""What a program takes: time, processor time, memory; stopped when its time is up."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_GRACE = 30.0  # seconds from the request to end to the order
_TICK = 0.2  # seconds


@dataclass(frozen=True)
class Usage:
    """What a program took.

    Attributes:
        command: As it can be typed.
        seconds: By the clock.
        cpu_seconds: Of all its processes.
        peak_mib: Memory of the largest of them.
        stopped: Whether it was ended because its time was up.
    """

    command: str
    seconds: float
    cpu_seconds: float
    peak_mib: float
    stopped: bool = False

    def record(self) -> dict[str, Any]:
        """Rounded, as JSON holds it."""
        figures = {name: round(value, 1) for name, value in asdict(self).items() if isinstance(value, float)}
        return asdict(self) | figures


class ProgramError(RuntimeError):
    """A program ended with an error; the message holds its last lines."""


class UnfinishedError(RuntimeError):
    """A program came to no result in its time."""


def environment(threads: int, **more: str) -> dict[str, str]:
    """Variables that keep a program's libraries to so many threads."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA")
    return os.environ | {f"{name}_NUM_THREADS": str(threads) for name in names} | more


def measured(
    command: list[str | Path], log: Path, variables: dict[str, str], budget: float | None = None
) -> Usage:
    """Run a program to its end, or to the end of its time, in seconds; what it says is added to ``log``.

    Raises:
        ProgramError: If it ends by itself with an error.
    """
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"$ {shlex.join(words)}\n")
        sink.flush()
        started = subprocess.Popen(
            words, stdout=sink, stderr=subprocess.STDOUT, env=variables, start_new_session=True
        )
        try:
            stopped, status, used = _waited(started, begun, budget)
        except BaseException:
            os.killpg(started.pid, signal.SIGKILL)
            raise
    if status != 0 and not stopped:
        raise ProgramError(f"{shlex.join(words)}\nended with status {status}; {log} ends:\n{_tail(log)}")
    seconds = time.monotonic() - begun
    return Usage(shlex.join(words), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, stopped)


def _waited(
    started: subprocess.Popen[bytes], begun: float, budget: float | None
) -> tuple[bool, int, resource.struct_rusage]:
    """Whether its time ran out, its status, and what it used."""
    orders = [] if budget is None else [(budget, signal.SIGTERM), (budget + _GRACE, signal.SIGKILL)]
    stopped = False
    while True:
        done, status, used = os.wait4(started.pid, os.WNOHANG)
        if done:
            started.returncode = os.waitstatus_to_exitcode(status)
            return stopped, started.returncode, used
        if orders and time.monotonic() - begun > orders[0][0]:
            os.killpg(started.pid, orders.pop(0)[1])
            stopped = True
        time.sleep(_TICK)


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

"""Being asked to stop, answered between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

REQUEUE = 75  # EX_TEMPFAIL: the scheduler may start the same command again
BY_HAND = 130  # as shells report Ctrl-C
_EXIT_CODES = {signal.SIGTERM: REQUEUE, signal.SIGUSR1: REQUEUE, signal.SIGINT: BY_HAND}


class Interrupted(SystemExit):
    """The process was asked to stop and has saved what it had; ``code`` is its exit status."""


@dataclass
class StopRequest:
    """Whether, and as which exit status, the process was asked to stop; 0 is no."""

    code: int = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """SIGTERM, SIGUSR1 and SIGINT as a request to look at between steps; a second SIGINT acts at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may be told of signals
        return

    def ask(number: int, frame: FrameType | None) -> None:
        request.code = _EXIT_CODES[signal.Signals(number)]
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in _EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Being asked to stop: answered between two steps, or at once where there are none."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from morphem.engine import ranks

REQUEUE = 75  # EX_TEMPFAIL: the scheduler may start the same command again
BY_HAND = 130  # as shells report Ctrl-C
_EXIT_CODES = {signal.SIGTERM: REQUEUE, signal.SIGUSR1: REQUEUE, signal.SIGINT: BY_HAND}
_LOG = logging.getLogger("morphem")


class Interrupted(SystemExit):
    """The process was asked to stop and has saved what it had; ``code`` is its exit status."""


@dataclass
class StopRequest:
    """Whether, and as which exit status, the process was asked to stop; 0 is no."""

    code: int = 0


@dataclass
class _Asked:
    """Handler that keeps a request to stop, and lets a second SIGINT act at once."""

    request: StopRequest
    number: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number, self.request.code = number, _EXIT_CODES[signal.Signals(number)]
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """SIGTERM, SIGUSR1 and SIGINT as a request to look at between steps; a second SIGINT acts at once.

    One that came too late to be looked at is handed to whoever answered signals before.
    """
    asked = _Asked(StopRequest(_kept()))
    with _answered_by(asked):
        yield asked.request
    if asked.number:
        signal.raise_signal(asked.number)


@contextmanager
def stop_at_once() -> Iterator[None]:
    """SIGTERM, SIGUSR1 and SIGINT as :class:`Interrupted`: between the stages of a run nothing is unsaved.

    One of several processes keeps the request until the next :func:`stop_requests`, where all of them agree:
    were it to leave alone, those that are told a moment later would wait for it in vain.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        _LOG.warning("stopped; the same command goes on after the last finished stage")
        raise Interrupted(_EXIT_CODES[signal.Signals(number)])

    with _answered_by(leave if ranks.world() == 1 else _Asked(StopRequest())):
        yield


def _kept() -> int:
    """Exit status of a request that came between two stages and is not answered yet; 0 is none."""
    handler = signal.getsignal(signal.SIGTERM)
    return handler.request.code if isinstance(handler, _Asked) else 0


@contextmanager
def _answered_by(answer: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may be told of signals
        return
    before = {number: signal.signal(number, answer) for number in _EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

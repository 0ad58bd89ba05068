"""How far the work is: a bar or lines on the terminal, ``status.json``, ``log.txt``, ``log.jsonl``."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from morphem.data.errors import DataError
from morphem.engine import ranks
from morphem.engine.files import write_json

LINE_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0


@dataclass
class Progress:
    """Tells how far a stage is, from its first image to its last; only the main process speaks.

    Attributes:
        folder: Of the run; None leaves files out.
        stage: What is being done.
        total: Images to go through, all passes together.
        seen: Images gone through.
        terms: Means of the terms since the last line.
        last_checkpoint: File name.
    """

    folder: Path | None
    stage: str
    total: int
    seen: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    last_checkpoint: str = ""

    def __enter__(self) -> Progress:
        self._console = Console(stderr=True, quiet=not ranks.is_main())
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(self.stage, total=self.total, completed=self.seen, facts="")
        self._started = self._spoke = time.monotonic()
        self._before, self._timed = self.seen, False
        self._stopped = threading.Event()
        self._bar.start()
        self._heart = threading.Thread(target=self._beat, name="morphem-heartbeat", daemon=True)
        if self.folder is not None and ranks.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._heart.is_alive():
            self._heart.join()
        self._bar.stop()

    def begin(self, seen: int) -> None:
        """Say that ``seen`` images were done before this start."""
        self.seen = self._before = seen
        self._bar.update(self._task, completed=seen)

    def advance(self, seen: int, terms: dict[str, float]) -> None:
        """Say that ``seen`` images are done; a line now and then."""
        if not self._timed:
            # the first step compiles kernels and warms caches: rates count from its end
            self._timed, self._started, self._before = True, time.monotonic(), seen
        self.seen, self.terms = seen, terms
        self._bar.update(self._task, completed=seen, facts=self._facts())
        if time.monotonic() - self._spoke > LINE_SECONDS:
            self.record({})

    def record(self, facts: dict[str, Any]) -> None:
        """Write a line to the logs, and to the terminal unless it shows a bar."""
        self._spoke = time.monotonic()
        self._append("log.jsonl", json.dumps({**self._status(), **facts}))
        self.say(f"{self.seen:,}/{self.total:,} images, {self._facts()}")

    def say(self, text: str) -> None:
        """Write a sentence to ``log.txt`` and the terminal."""
        line = f"{self.stage}: {text}" if self.stage else text
        self._append("log.txt", f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}")
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def images_per_second(self) -> float:
        """Since the end of the first step of this start."""
        return (self.seen - self._before) / max(1e-9, time.monotonic() - self._started)

    def _facts(self) -> str:
        terms = ", ".join(f"{name} {value:.6g}" for name, value in self.terms.items())
        rate = self.images_per_second
        left = f"{_clock((self.total - self.seen) / rate)} left" if rate > 0 else "measuring"
        return f"{rate:,.0f} images/s, {left}" + (f", {terms}" if terms else "")

    def _status(self) -> dict[str, Any]:
        rate = self.images_per_second
        status = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "stage": self.stage,
            "step": self.seen,
            "total": self.total,
            "eta_s": round((self.total - self.seen) / rate, 1) if rate > 0 else None,
            "images_per_second": round(rate, 2),
            "terms": self.terms,
            "rss_mib": psutil.Process().memory_info().rss >> 20,
            "last_checkpoint": self.last_checkpoint,
        }
        if torch.cuda.is_initialized():
            status["vram_mib"] = torch.cuda.max_memory_allocated() >> 20
        return status

    def _beat(self) -> None:
        while True:
            if self.folder is not None:
                with suppress(DataError):  # a heartbeat that cannot be written must not end the work
                    write_json(self.folder / "status.json", self._status())
            if self._stopped.is_set():
                return
            self._stopped.wait(HEARTBEAT_SECONDS)

    def _append(self, name: str, line: str) -> None:
        if self.folder is None or not ranks.is_main():
            return
        with (self.folder / name).open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def tell(folder: Path, what: str, text: str) -> None:
    """A sentence about something for whoever reads the ``log.txt`` of a run."""
    with Progress(folder, what, 0) as progress:
        progress.say(text)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

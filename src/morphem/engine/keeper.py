"""Keeps a descent safe: checkpoints, requests to stop, steps that are no numbers."""

from __future__ import annotations

import time
from typing import Any

from jaxtyping import Int
from torch import Tensor

from morphem.engine import ranks
from morphem.engine.descent import Descent
from morphem.engine.files import write_json
from morphem.engine.identity import refuse_change
from morphem.engine.progress import Progress
from morphem.engine.run import Run
from morphem.engine.signals import Interrupted, StopRequest

STRIKES = 3  # steps in a row that are no numbers, until the descent is set back
HALVINGS = 2  # times it is set back, until it is given up


class Keeper:
    """Looks after a descent between its steps."""

    def __init__(self, descent: Descent, run: Run, identity: dict[str, Any], stop: StopRequest) -> None:
        self.descent, self.run, self.identity, self.stop = descent, run, identity, stop
        self._saved = time.monotonic()

    def begin(self, progress: Progress) -> None:
        """Go on from the last checkpoint, or make the first."""
        self.progress = progress
        found = self.run.load_checkpoint()
        ranks.barrier()
        if found is None:
            self.save()
            return
        tensors, record = found
        refuse_change(record["identity"], self.identity, str(self.run.folder))
        self.descent.unpack(tensors, record)
        progress.begin(self.descent.seen)
        progress.say(f"going on after {self.descent.seen:,} of {self.descent.total:,} images")

    def accept(self, rows: Int[Tensor, "_"], finite: bool) -> bool:
        """Look at the step just made with ``rows``; False if the descent was set back to a checkpoint."""
        descent = self.descent
        descent.strikes = 0 if finite else descent.strikes + 1
        if not finite:
            self._report(rows)
        if descent.strikes == STRIKES:
            self._set_back(rows)
            return False
        self.progress.advance(descent.seen, descent.means)
        self._stop_if_asked()
        if time.monotonic() - self._saved > 60 * descent.config.checkpoint_minutes:
            self.save()
        return True

    def end_epoch(self) -> None:
        """Close an epoch."""
        facts = self.descent.end_epoch()
        self.progress.record(facts)
        self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        self._saved = time.monotonic()
        if not ranks.is_main():
            return
        tensors, record = self.descent.pack()
        path = self.run.save_checkpoint(self.descent.steps, tensors, {**record, "identity": self.identity})
        self.progress.last_checkpoint = str(path.relative_to(self.run.root))

    def _stop_if_asked(self) -> None:
        code = ranks.largest(self.stop.code)
        if not code:
            return
        self.save()
        self.progress.say(f"stopped after {self.descent.seen:,} images; the same command goes on from here")
        raise Interrupted(code)

    def _report(self, rows: Int[Tensor, "_"]) -> None:
        self.progress.say(f"{self._where()} left out: not a number; images in rows {rows.tolist()}")

    def _set_back(self, rows: Int[Tensor, "_"]) -> None:
        """Return to the last checkpoint at half the learning rate, or give up."""
        descent = self.descent
        if descent.halvings == HALVINGS:
            self._give_up(rows)
        halvings, found = descent.halvings + 1, self.run.load_checkpoint()
        ranks.barrier()
        if found is None:
            raise FileNotFoundError(f"{self.run.folder}: the checkpoint to go back to has been removed")
        descent.unpack(*found)
        descent.halvings, descent.strikes = halvings, 0
        self.save()
        self.progress.say(f"{STRIKES} such steps in a row: back to {self._where()}, learning rates halved")

    def _give_up(self, rows: Int[Tensor, "_"]) -> None:
        path = self.run.root / "not_a_number.json"
        if ranks.is_main():
            write_json(path, {"stage": self.run.name, "batch": self._where(), "rows": rows.tolist()})
        raise FloatingPointError(
            f"E-TRAIN-NAN {self.run.name or 'training'}: loss or gradient was no number for {STRIKES} steps "
            f"in a row, also after learning rates were halved {HALVINGS} times (last: {self._where()}); "
            f"{path} names the rows: look at these images and their defocus, or lower the learning rates"
        )

    def _where(self) -> str:
        return f"batch {self.descent.batch} of epoch {self.descent.epoch + 1}"

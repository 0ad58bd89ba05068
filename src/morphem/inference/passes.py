"""Passes over stored images, dealt to processes, told of as they go, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from jaxtyping import Int
from torch import Tensor

from morphem.core.types import PerParticle
from morphem.engine import ranks
from morphem.engine.identity import refuse_change
from morphem.engine.progress import Progress
from morphem.engine.run import Run
from morphem.engine.signals import Interrupted, stop_requests

Record = TypeVar("Record", bound=PerParticle)


def blocks(rows: Int[Tensor, "n"], size: int, run: Run | None, name: str) -> Iterator[Int[Tensor, "_"]]:
    """This process's share of ``rows`` in blocks; a request to stop is answered between two of them.

    All processes stop together, each after its own block or its last.
    """
    mine = rows[ranks.rank() :: ranks.world()]
    folder = None if run is None else run.root
    with stop_requests() as stop, Progress(folder, name, len(mine)) as progress:
        for block in mine.split(size):
            if len(block):
                yield block
            progress.advance(progress.seen + len(block), {})
            if stop.code:
                break
        # one that left alone would fail the sums of those that have nothing left to do
        if code := ranks.largest(stop.code):
            progress.say("stopped; the same command begins this pass again")
            raise Interrupted(code)


def shared(record: Record) -> Record:
    """A record whose rows each process filled for itself, zero elsewhere, as all of them know it."""
    for value in vars(record).values():
        if isinstance(value, PerParticle):
            shared(value)
        else:
            ranks.sum_tensors([value])
    return record


def put(record: PerParticle, rows: Int[Tensor, "b"], part: PerParticle) -> None:
    """Write a batch's rows into a record of all."""
    for name, value in vars(part).items():
        whole = getattr(record, name)
        if isinstance(value, PerParticle):
            put(whole, rows, value)
        else:
            whole[rows] = value


def remembered(
    run: Run, identity: dict[str, Any], make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What ``make`` gives, or gave when the stage was first finished; all processes have the main one's.

    Processors round differently: where each went by its own numbers, they might not decide alike.
    """
    if run.finished:
        tensors, record = run.load_result()
        refuse_change(record["identity"], identity, str(run.folder))
        return tensors
    tensors = make()
    run.save_result(tensors, {"identity": identity, "history": {}})
    return tensors if ranks.is_main() else run.load_result()[0]

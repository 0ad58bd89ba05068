"""Sums over all particles, then an answer: the loop of back-projection and expectation–maximisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from morphem.core.types import Particles
from morphem.data.feed import feed
from morphem.data.stack import ParticleStack
from morphem.engine import ranks
from morphem.engine.progress import Progress
from morphem.engine.run import Run
from morphem.engine.signals import Interrupted, stop_requests


class AbstractStatistic(ABC):
    """Something that is summed over particles and then solved for."""

    batch_size: int = 256
    device: str = "cpu"

    @abstractmethod
    def gather(self, batch: Particles) -> None:
        """Add a batch to the sums."""

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """The sums, zero before a pass begins; they are added up over processes in place."""

    @abstractmethod
    def solve(self) -> None:
        """Turn the sums into the answer; where a pass follows, set them back to zero."""


Gathered = TypeVar("Gathered", bound=AbstractStatistic)


def sweep(
    statistic: Gathered,
    stack: ParticleStack,
    passes: int,
    run: Run | None = None,
    rows: Int[Tensor, "m"] | None = None,
) -> Gathered:
    """Gather over all particles and solve, ``passes`` times.

    Args:
        statistic: What is summed.
        stack: The particles.
        passes: How often.
        run: Where progress is told.
        rows: Images to use; all by default.
    """
    used = torch.arange(len(stack)) if rows is None else rows
    # a process without rows in a small batch sits it out
    mine = [own for own, share in map(ranks.deal, used.split(statistic.batch_size)) if share]
    name = type(statistic).__name__.lower()
    folder = None if run is None else run.root
    with stop_requests() as stop, Progress(folder, name, passes * sum(map(len, mine))) as progress:
        for _ in range(passes):
            for batch in feed(stack, mine, statistic.device):
                statistic.gather(batch)
                progress.advance(progress.seen + len(batch), {})
                if stop.code:
                    break
            # one that left alone would fail the sums of those that have nothing left to do
            if code := ranks.largest(stop.code):
                progress.say("stopped; the same command begins this pass again")
                raise Interrupted(code)
            ranks.sum_tensors(statistic.tensors())
            statistic.solve()
    return statistic

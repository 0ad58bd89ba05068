"""Gradient descent over particles: the loop that every trained method shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from morphem.core.types import Particles
from morphem.data.feed import feed
from morphem.data.stack import ParticleStack
from morphem.engine import ranks
from morphem.engine.descent import Descent, DescentConfig
from morphem.engine.identity import fingerprint, refuse_change, settings
from morphem.engine.keeper import Keeper
from morphem.engine.objective import AbstractObjective
from morphem.engine.progress import Progress
from morphem.engine.run import Run
from morphem.engine.signals import stop_requests

__all__ = ["AbstractObjective", "DescentConfig", "descend"]

Goal = TypeVar("Goal", bound=AbstractObjective)


def descend(objective: Goal, stack: ParticleStack, config: DescentConfig, run: Run) -> Goal:
    """Minimise ``objective`` over the images of ``stack``; it comes back on the CPU.

    Goes on where the last checkpoint in ``run`` was made, and only reloads the result if there is one. Killed
    at any moment and started again, it ends bit for bit as if never stopped (one process, on the CPU).
    """
    identity = {"descent": settings(config), "data": fingerprint(stack)}
    if run.finished:
        return _reload(objective, run, identity)
    device = ranks.own_device(config.device)
    descent = Descent(objective.to(device), config, len(stack))
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        stop_requests() as stop,
        Progress(run.root, run.name, descent.total) as progress,
    ):
        torch.manual_seed(config.seed + ranks.rank())
        keeper = Keeper(descent, run, identity, stop)
        keeper.begin(progress)
        while not descent.done:
            for rows, batch, share in _remaining(descent, stack):
                finite = descent.step(batch, share)
                if not keeper.accept(rows, finite):
                    break
            else:
                keeper.end_epoch()
    run.save_result(objective.cpu().state_dict(), {"identity": identity, "history": descent.history})
    return objective


def _remaining(descent: Descent, stack: ParticleStack) -> Iterator[tuple[Int[Tensor, "_"], Particles, float]]:
    """The epoch's batches that are still to come: all rows, this process's particles, its share."""
    config = descent.config
    batches = stack.order(config.seed, descent.epoch).split(config.batch_size)[descent.batch :]
    dealt = [ranks.deal(rows) for rows in batches]
    fed = feed(stack, [mine for mine, _ in dealt], ranks.own_device(config.device))
    for rows, (_, share), batch in zip(batches, dealt, fed, strict=True):
        yield rows, batch, share


def _reload(objective: Goal, run: Run, identity: dict[str, object]) -> Goal:
    tensors, record = run.load_result()
    refuse_change(record["identity"], identity, str(run.folder))
    objective.load_state_dict(tensors)
    return objective

"""Batches read in the background while the last one is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Int
from torch import Tensor

from morphem.core.types import Particles
from morphem.data.stack import ParticleStack

_AHEAD = 2  # batches


def feed(
    stack: ParticleStack, batches: Iterable[Int[Tensor, "_"]], device: torch.device | str = "cpu"
) -> Iterator[Particles]:
    """Batches on ``device``, in the order of ``batches``; two are read ahead by a thread.

    What goes wrong in the thread is raised here. Leaving the loop early ends the thread.
    """
    waiting: deque[Future[Particles]] = deque()
    reader = ThreadPoolExecutor(1, thread_name_prefix="morphem-feed")
    try:
        for rows in batches:
            waiting.append(reader.submit(_read, stack, rows, device))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)


def _read(stack: ParticleStack, rows: Int[Tensor, "_"], device: torch.device | str) -> Particles:
    return stack.read(rows).to(device)

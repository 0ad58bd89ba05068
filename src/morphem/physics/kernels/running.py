"""How the compiled loops are built and shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code of a function, kept on disk where a folder can be written."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside the source nor in the user's cache folder
        return njit(nogil=True, error_model="numpy")(function)


def share(work: Callable[[int, int], None], count: int, threads: int) -> None:
    """Call ``work(start, stop)`` on equal runs of ``range(count)``, one for each thread."""
    threads = max(1, min(threads, count))
    cuts = [count * i // threads for i in range(threads + 1)]
    if threads == 1:
        work(0, count)
        return
    # A pool for each call: threads kept between calls would not survive a fork.
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work, *run) for run in pairwise(cuts[1:])]
        work(cuts[0], cuts[1])
        for other in others:
            other.result()

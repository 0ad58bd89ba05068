"""Images and maps of a data set, made by several processes, and gone on with after a stop."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import torch

from morphem.core.types import Volume
from morphem.data.mrc import make_room, read_map, write_images, write_map
from morphem.simulate.particles import Truth, photograph
from morphem.simulate.true_maps import LANDMARKS, common_mask

_BLOCK = 256  # images between two notes of what is done
_PARTIAL, _DONE = "particles.partial.mrcs", "particles.done"

_truth: Truth | None = None  # of a worker process


def state_file(k: int) -> str:
    """Name of the map of a state."""
    return f"state{k:03d}.mrc"


def make_files(folder: Path, truth: Truth, workers: int, told: Callable[[int], None]) -> None:
    """Make what is not there yet: maps of states, the mask, and ``particles.mrcs``."""
    states, _ = truth.ensemble.landmarks(LANDMARKS)
    left = [k for k in range(len(states)) if not (folder / "truth" / state_file(k)).exists()]
    blocks = _blocks_left(folder, truth)
    tasks: list[tuple[Callable[..., int], int]] = [(_make_map, k) for k in left]
    tasks += [(_make_block, k) for k in blocks]
    told(len(truth) - sum(min(_BLOCK, len(truth) - k * _BLOCK) for k in blocks))
    if workers > 1 and len(tasks) > 2 * workers:
        _shared_out(tasks, folder, min(workers, len(tasks)), told)
    else:
        for task, k in tasks:
            told(task(folder, k, truth))
    if not (folder / "truth" / "mask.mrc").exists():
        maps = [read_map(folder / "truth" / state_file(k)).voxels for k in range(len(states))]
        write_map(
            folder / "truth" / "mask.mrc", Volume(common_mask(torch.stack(maps), truth.grid), truth.grid)
        )
    if (folder / _PARTIAL).exists():
        os.replace(folder / _PARTIAL, folder / "particles.mrcs")
    (folder / _DONE).unlink(missing_ok=True)


def _blocks_left(folder: Path, truth: Truth) -> list[int]:
    """Blocks of images not on disk yet; room is made for them all before the first."""
    count = -(-len(truth) // _BLOCK)
    if (folder / "particles.mrcs").exists():
        return []
    done = folder / _DONE
    if not (folder / _PARTIAL).exists() or not done.exists():
        make_room(folder / _PARTIAL, len(truth), truth.grid)
        done.write_bytes(bytes(count))
    return [k for k, byte in enumerate(done.read_bytes()) if not byte]


def _make_map(folder: Path, k: int, truth: Truth) -> int:
    """Write the exact map of a state; no image is made."""
    states, _ = truth.ensemble.landmarks(LANDMARKS)
    write_map(folder / "truth" / state_file(k), truth.volume(states[k]))
    return 0


def _make_block(folder: Path, k: int, truth: Truth) -> int:
    """Write a block of images, then note that it is there; how many it has."""
    first = k * _BLOCK
    rows = torch.arange(first, min(first + _BLOCK, len(truth)))
    write_images(folder / _PARTIAL, first, photograph(truth[rows]))
    note = os.open(folder / _DONE, os.O_WRONLY)
    try:
        os.pwrite(note, b"\1", k)
    finally:
        os.close(note)
    return len(rows)


def _shared_out(
    tasks: list[tuple[Callable[..., int], int]], folder: Path, workers: int, told: Callable[[int], None]
) -> None:
    # spawn: a fork of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(folder,))
    try:
        with _one_thread_each():
            waiting = [pool.submit(_work, task, folder, k) for task, k in tasks]
            for finished in as_completed(waiting):
                told(finished.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work(task: Callable[..., int], folder: Path, k: int) -> int:
    return task(folder, k, _truth)


def _start(folder: Path) -> None:
    """Load the truth once a process, and end with the parent, however that ends."""
    global _truth
    from morphem.simulate.datasets import read_truth

    torch.set_num_threads(1)
    _truth = read_truth(folder)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Libraries of the processes started inside use one thread."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before

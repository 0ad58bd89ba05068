"""The only lines that know of several processes (``torchrun``)."""

from __future__ import annotations

import atexit
import os

import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch import distributed as processes


def world() -> int:
    """How many processes work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


def named_device(name: str) -> torch.device:
    """A device by its name, the CPU for ``auto``; a ValueError if none is called so."""
    try:
        return torch.device("cpu" if name == "auto" else name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is none; cpu, cuda, cuda:1 or auto is meant") from error


def own_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is this process's accelerator if there is one.

    Raises:
        ValueError: If it is none, or a GPU where PyTorch finds none.
    """
    found = torch.cuda.is_available()
    if name == "auto" and found:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    device = named_device(name)
    if device.type == "cuda" and not found:
        met = f"device {name!r}: PyTorch finds no GPU"
        raise ValueError(f"{met}; `morphem doctor` tells why, auto takes what there is")
    return device


def deal(rows: Int[Tensor, "_"]) -> tuple[Int[Tensor, "_"], float]:
    """This process's rows of a batch and their share of it.

    Fewer rows than processes leave some without: these take the first row with share 0.
    """
    mine = rows[rank() :: world()]
    return (mine, len(mine) / len(rows)) if len(mine) else (rows[:1], 0.0)


def sum_tensors(tensors: list[Tensor]) -> None:
    """Add each tensor up over all processes, in place."""
    if world() == 1:
        return
    _join()
    for tensor in tensors:
        total = tensor.detach().contiguous()
        processes.all_reduce(total)
        tensor.detach().copy_(total)


def average(tensors: list[Tensor], share: float) -> None:
    """Replace each tensor by its mean over all processes, in place; shares add up to 1."""
    if world() == 1:
        return
    # one message for all: a model has dozens of small tensors
    packed = torch.cat([tensor.detach().flatten() for tensor in tensors])
    # a process without share adds nothing, not even 0 · NaN
    packed = packed * share if share else torch.zeros_like(packed)
    sum_tensors([packed])
    for tensor, part in zip(tensors, packed.split([each.numel() for each in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def gather_rows(rows: Shaped[Tensor, "b *size"]) -> Shaped[Tensor, "c *size"]:
    """The rows of all processes, process after process; the same on each."""
    if world() == 1:
        return rows
    _join()
    counts = rows.new_zeros(world(), dtype=torch.long)
    counts[rank()] = len(rows)
    processes.all_reduce(counts)
    # a collective needs equal lengths: pad, then cut
    padded = rows.new_zeros(int(counts.max()), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world())]
    processes.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])


def largest(number: int) -> int:
    """The largest of all processes' numbers, so that they act alike."""
    if world() == 1:
        return number
    return int(gather_rows(torch.tensor([number])).max())


def barrier() -> None:
    """Wait until every process is here."""
    largest(0)


def _join() -> None:
    if processes.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(own_device("auto"))
    processes.init_process_group(backend)
    atexit.register(processes.destroy_process_group)

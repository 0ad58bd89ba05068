"""Images of a case, and the particle file that tells a method nothing of their poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from benchmarks.fire_cases import Case, molecule
from torch import Tensor

from morphem.data.mrc import write_stack
from morphem.data.stack import open_stack
from morphem.simulate.datasets import plan, read_truth, write_dataset
from morphem.simulate.particles import Truth

WITHHELD = ("_rlnAngle", "_rlnOrigin", "_morphemTrue")  # columns
_AXES = {"rotated": (-2, -1), "mirrored": (-2,)}


@dataclass(frozen=True)
class Job:
    """A case with a seed, and how it is run.

    Attributes:
        case: With the images that were asked for.
        seed: Of the images and of the method.
        method: ``fast`` or ``paper``.
        told: Further words of the command.
        folder: For data and results.
    """

    case: Case
    seed: int
    method: str
    told: tuple[str, ...]
    folder: Path

    @property
    def data(self) -> Path:
        """Folder of the images."""
        return self.folder / f"{self.case.data_name}_s{self.seed}"

    @property
    def run(self) -> Path:
        """Folder of the results; cases that ask for the same share it."""
        words = (self.case.images, self.method, self.case.change, *self.case.options, *self.told)
        return self.data / "runs" / "_".join(str(word).strip("-").replace("/", "-") for word in words if word)

    @property
    def order(self) -> Tensor:
        """Of particles that are relabelled."""
        generator = torch.Generator().manual_seed(1000 + self.seed)
        return torch.randperm(self.case.images, generator=generator)


def simulated(job: Job, structures: Path | None) -> Truth:
    """The images, made unless they are there, and their truth."""
    if not (job.data / "particles.star").exists():
        case, count = job.case, job.case.images + job.case.held_out
        write_dataset(job.data, plan(molecule(case, structures), count, case.grid, job.seed, case.conditions))
    return read_truth(job.data)


def withheld(job: Job, held_out: bool = False) -> Path:
    """A particle file without poses, beside the images; of changed images where the case asks for that.

    Args:
        job: Whose images.
        held_out: Whether of those that the method may not learn from.
    """
    case = job.case
    head, rows = read_rows(job.data / "particles.star")
    rows = rows[case.images :] if held_out else rows[: case.images]
    if case.change == "relabelled":
        rows = [rows[k] for k in job.order.tolist()]
    if case.change in _AXES:
        _flip_images(job, job.data / f"{case.change}.mrcs")
    labels = [text.split()[0] for text in head.split("data_particles")[1].splitlines() if text[:1] == "_"]
    kept = [k for k, label in enumerate(labels) if not label.startswith(WITHHELD)]
    words = [_changed_row(row.split(), labels, case.change) for row in rows]
    loop = "".join(f"{labels[k]} #{place}\n" for place, k in enumerate(kept, 1))
    body = "".join(" ".join(row[k] for k in kept) + "\n" for row in words)
    path = job.data / f"blind-{case.images}-{case.change or 'as-made'}-{'test' if held_out else 'train'}.star"
    before = head.split("data_particles")[0]
    path.write_text(f"{before}data_particles\n\nloop_\n{loop}{body}\n", encoding="utf-8")
    return path


def read_rows(table: Path) -> tuple[str, list[str]]:
    """All of a particle file before its particles, and the lines of those."""
    lines = table.read_text(encoding="utf-8").splitlines()
    last = max(k for k, text in enumerate(lines) if text.startswith("_"))
    return "\n".join(lines[: last + 1]), [text for text in lines[last + 1 :] if text.strip()]


def _changed_row(row: list[str], labels: list[str], change: str) -> list[str]:
    """A row of flipped images: their stack, and the axis of astigmatism of those that were mirrored."""
    if change in _AXES:
        name, angle = labels.index("_rlnImageName"), labels.index("_rlnDefocusAngle")
        row[name] = row[name].split("@")[0] + f"@{change}.mrcs"
        row[angle] = f"{-float(row[angle]):.6f}" if change == "mirrored" else row[angle]
    return row


def _flip_images(job: Job, path: Path) -> None:
    """Write the images rotated by π about the origin, pixel d // 2, or mirrored in y."""
    if path.exists():
        return
    axes = _AXES[job.case.change]
    stack = open_stack(job.data / "particles.star")
    blocks = torch.arange(len(stack)).split(256)
    flipped = (stack.read(rows).images.flip(axes).roll((1,) * len(axes), axes) for rows in blocks)
    write_stack(path, flipped, stack.grid)

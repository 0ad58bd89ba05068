"""The command that reads poses and latents off particles that a run never saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from morphem.cli.commands import Argument, ParticleOptions
from morphem.report.options import Preparation


@dataclass(frozen=True)
class InferOptions:
    """Poses and latents of new particles, in the maps of a finished run; nothing is learned.

    In a run of cryofire the particles need no poses; in one of cryospire they keep theirs. Their box must
    have the run's extent in Å; finer pixels are cropped in Fourier space. Results lie in a folder like a
    run's.
    """

    run: Argument[Path]
    """Folder of the finished run."""
    source: Annotated[ParticleOptions, tyro.conf.arg(name="")]
    """The new particles."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the results."""
    proposals: Literal["search", "encoder"] = "search"
    """Rough poses by a search of all rotations, or by an encoder trained on simulated images."""
    sign: float | None = None
    """1 if protein is bright, -1 if dark; detected by default."""
    radius: float | None = None
    """Of the particle, Å; background is measured outside. Default: 0.42 of the box."""
    overwrite: bool = False
    """Forget other results that are in the folder."""


def infer(arguments: list[str]) -> int:
    """Place new particles in the maps of a run."""
    options = tyro.cli(InferOptions, args=arguments, prog="morphem infer")
    from morphem.data.stack import open_stack
    from morphem.engine.ranks import is_main
    from morphem.report.infer import finished_run
    from morphem.report.infer import infer as inferred

    finished_run(options.run)
    source = options.source
    stack = open_stack(source.particles, source.input, source.crop)
    how = Preparation(sign=options.sign, radius=options.radius)
    found = inferred(options.run, stack, options.out, options.proposals, how, options.overwrite)
    if is_main():
        print(f"{len(found.poses)} images placed; results are in {options.out}")
    return 0

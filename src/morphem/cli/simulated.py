"""Commands about particles whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from morphem.cli.show import show_rows

Argument = tyro.conf.Positional


@dataclass(frozen=True)
class DemoOptions:
    """Simulate a moving molecule, find its parts and states, compare with the truth (minutes)."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("demo")
    """Folder to write to."""
    images: int = 5000
    """Particles to simulate."""
    box: int = 64
    """Pixels along a side of the images."""
    snr: float = 0.1
    """Variance of the signal to that of the noise."""
    seed: int = 0
    """Of the particles and of the reconstruction."""
    preset: str = "quick"
    """Of CryoSPIRE."""


def demo(arguments: list[str]) -> int:
    """Run the demonstration and name the pictures to open."""
    options = tyro.cli(DemoOptions, args=arguments, prog="morphem demo")
    from morphem.report.demo import DemoConfig, demonstrate

    config = DemoConfig(options.images, options.box, options.snr, options.seed, options.preset)
    scores = demonstrate(options.out, config)
    _show(scores)
    print("pictures to open:")
    for picture in [options.out / "evaluation.png", *sorted((options.out / "run").rglob("*.png"))]:
        print(f"  {picture}")
    print(f"maps to open in ChimeraX: {options.out / 'run' / 'volumes' / 'open.cxc'}")
    return 0


@dataclass(frozen=True)
class EvaluateOptions:
    """How close a run on simulated particles came to their truth."""

    run: Argument[Path]
    """The run's folder."""
    truth: Path
    """Folder that `morphem simulate` wrote."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where to write evaluation.json and evaluation.png; the run's folder by default."""


def evaluate(arguments: list[str]) -> int:
    """Score a run."""
    options = tyro.cli(EvaluateOptions, args=arguments, prog="morphem evaluate")
    from morphem.report.api import load
    from morphem.report.demo import evaluate_run

    _show(evaluate_run(load(options.run), options.run, options.truth, options.out or options.run))
    return 0


def _show(scores: dict[str, float | None]) -> None:
    rows = [(name, "–" if score is None else f"{score:.3f}") for name, score in scores.items()]
    show_rows(rows)

"""The command that shows the whole road on a molecule whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from morphem.cli.show import show_rows


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


def _show(scores: dict[str, float | None]) -> None:
    rows = [(name, "–" if score is None else f"{score:.3f}") for name, score in scores.items()]
    show_rows(rows)

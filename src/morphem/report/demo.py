"""The whole road on a molecule whose truth is known: simulate, check, reconstruct, compare."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from morphem.core.grid import Grid
from morphem.data.mrc import read_map
from morphem.data.stack import open_stack
from morphem.engine.files import read_json, write_json
from morphem.engine.reconstruction import Reconstruction
from morphem.report.api import preset_of, reconstruct
from morphem.report.check import check_particles
from morphem.report.evaluate import evaluate
from morphem.report.options import Choice, Preparation
from morphem.report.volumes import write_volumes
from morphem.simulate.datasets import plan, read_truth, write_dataset
from morphem.simulate.hinge import hinge
from morphem.simulate.particles import Conditions


@dataclass(frozen=True)
class DemoConfig:
    """The demonstration: a body, a domain that swings by 60°, and one that 30 % of the particles lack."""

    images: int = 5000
    """Particles to simulate."""
    box: int = 64
    """Pixels along a side, at 4 Å each for 64."""
    snr: float = 0.1
    """Variance of the signal to that of the noise."""
    seed: int = 0
    """Of the particles and of the reconstruction."""
    preset: str = "quick"
    """Of CryoSPIRE."""
    states: int = 4
    """Maps to write, at the centres of as many k-means clusters of the latents."""


def demonstrate(out: Path, config: DemoConfig) -> dict[str, float | None]:
    """Scores of the demonstration, also in ``out/evaluation.json``; the run is ``out/run``."""
    begun = time.monotonic()
    grid = Grid(config.box, 256 / config.box)
    truth = plan(hinge(), config.images, grid, config.seed, Conditions(snr=config.snr))
    star = write_dataset(out / "data", truth)
    report = check_particles(open_stack(star))
    report.save(out / "check")
    if not report.ok:
        raise ValueError(f"the simulated particles fail their check; see {out / 'check' / 'report.json'}")
    spent = time.monotonic()
    found = reconstruct(
        "cryospire", star, out / "run", config.preset, Preparation(), overwrite=True, seed=config.seed
    )
    spent = time.monotonic() - spent
    write_volumes(found, Choice(states=config.states), out / "run" / "volumes")
    scores = evaluate_run(found, out / "run", out / "data", out)
    scores["seconds"] = time.monotonic() - begun
    scores["images_per_second"] = images_seen(config) / spent
    write_json(out / "evaluation.json", scores)
    return scores


def evaluate_run(found: Reconstruction, run: Path, data: Path, out: Path) -> dict[str, float | None]:
    """Scores of a run on a simulated set, with the run's own consensus as the floor.

    The last shell that counts is where the corrected correlation of the consensus's half maps falls to 0.5.
    """
    fsc = torch.tensor(read_json(run / "fsc.json")["fsc_corrected"])
    return evaluate(found, read_truth(data), read_map(run / "consensus.mrc"), fsc, out)


def images_seen(config: DemoConfig) -> int:
    """Images that both stages of training look at."""
    method: Any = preset_of("cryospire", config.preset)
    return config.images * (method.parts_descent.epochs + method.fine_descent.epochs)

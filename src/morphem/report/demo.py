"""The whole road on a molecule whose truth is known: simulate, check, reconstruct, compare."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morphem.core.grid import Grid
from morphem.data.stack import open_stack
from morphem.engine.files import write_json
from morphem.report.api import preset_of, reconstruct
from morphem.report.check import check_particles
from morphem.report.evaluate import evaluate
from morphem.report.options import Choice, Preparation
from morphem.report.volumes import write_volumes
from morphem.simulate.datasets import plan, write_dataset
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
    """Main scores of the demonstration, also in ``out/demo.json``; the run is ``out/run``.

    All of them are in ``out/evaluation.json``.
    """
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
    scores = headline(evaluate(out / "run", out / "data", out))
    scores["seconds"] = time.monotonic() - begun
    scores["images_per_second"] = images_seen(config) / spent
    write_json(out / "demo.json", scores)
    return scores


def headline(record: dict[str, Any]) -> dict[str, float | None]:
    """The few numbers of an evaluation that tell whether the demonstration went well."""
    states, images = record["maps"]["by_state"], record["maps"]["by_image"]
    angle, optional = record["latents"]["coordinates"].values()
    bodies = record["latents"]["bodies"].values()
    values = {
        "deviation_fsc": states["deviation_fsc"],
        "deviation_fsc_per_image": images["deviation_fsc"],
        "moving_region_fsc": states["moving_region_fsc"],
        "moving_region_fsc_consensus": record["consensus"]["moving_region_fsc"],
        "auc": states["auc"],
        "auc_consensus": record["consensus"]["auc"],
        "latent_rank_correlation": angle["rank_correlation"],
        "occupancy_auroc": optional["auroc"],
        "occupancy_auroc_decoded": next((body.get("occupancy_auroc_decoded") for body in bodies), None),
        "parts_ari": (record["parts"] or {}).get("adjusted_rand"),
    }
    scores = {name: None if score is None else score["value"] for name, score in values.items()}
    return {"deviation_fsc_to_shell": record["shells"]["last"], **scores}


def images_seen(config: DemoConfig) -> int:
    """Images that both stages of training look at."""
    method: Any = preset_of("cryospire", config.preset)
    return config.images * (method.parts_descent.epochs + method.fine_descent.epochs)

"""How the cost of CryoSPIRE's training and of its latents grows with images and with Gaussians.

Run as ``python -m benchmarks.growth [--json FILE]`` from the top of the repository; a minute or two.
Processor time of one pass over all images and of solving for all latents, fine mixture of the preset
``fast``, at two numbers of images and two of Gaussians. An exponent of 1 is growth in proportion.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.quality import commit
from benchmarks.speed import PIXEL_SIZE, best_seconds, machine, random_batch, random_mixture, scene_of

from morphem.core.grid import Grid
from morphem.engine.descent import Descent, DescentConfig
from morphem.inference.latents import solve_latents
from morphem.methods.cryospire.objectives import BandObjective
from morphem.methods.cryospire.settings import PRESETS
from morphem.models.table import ParticleTable

RESULTS = Path(__file__).parent / "results" / "growth.json"
IMAGES, GAUSSIANS = (512, 1024), (2048, 4096)
_BATCH = 64


@dataclass(frozen=True)
class Size:
    """Of a problem."""

    images: int
    gaussians: int
    box: int = 64


def measure(size: Size, repeats: int = 2) -> dict[str, Any]:
    """Processor seconds of a pass over the images, and of all their latents."""
    torch.manual_seed(0)
    preset = PRESETS["fast"]
    config = replace(preset, fine=replace(preset.fine, gaussians=size.gaussians))
    grid = Grid(size.box, PIXEL_SIZE)
    particles = random_batch(size.images, grid)
    latents = ParticleTable(0.1 * torch.randn(size.images, config.latent), config.rates.latents)
    mixture = random_mixture(config, 2, grid.extent)
    scene = scene_of(particles, size.box // 2 - 1, config)
    descent = Descent(
        BandObjective(mixture, latents, scene, config),
        DescentConfig(epochs=1000, batch_size=_BATCH),
        size.images,
    )
    batches = [particles[rows] for rows in torch.arange(size.images).split(_BATCH)]

    def one_pass() -> None:
        for batch in batches:
            descent.step(batch, 1.0)

    how = replace(config.solving.latents, restarts=0)
    passed, _ = best_seconds(one_pass, 4 * repeats)
    solved, _ = best_seconds(lambda: solve_latents(mixture, latents.rows, scene, how, None), repeats)
    return {**vars(size), "pass_seconds": round(passed, 3), "latents_seconds": round(solved, 3)}


def exponents(small: dict[str, Any], large: dict[str, Any], axis: str) -> dict[str, float]:
    """Powers of a size that both times grow with."""
    step = math.log(large[axis] / small[axis])
    return {
        name: round(math.log(large[f"{name}_seconds"] / small[f"{name}_seconds"]) / step, 2)
        for name in ("pass", "latents")
    }


def main() -> None:
    """Measure three sizes, print them and the exponents; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (
        Size(IMAGES[0], GAUSSIANS[1]),
        Size(IMAGES[1], GAUSSIANS[1]),
        Size(IMAGES[0], GAUSSIANS[0]),
    )
    base, more_images, fewer_gaussians = (measure(size, given.repeats) for size in sizes)
    record = {
        "machine": machine(1),
        "commit": commit(),
        "rows": [fewer_gaussians, base, more_images],
        "exponents": {
            "images": exponents(base, more_images, "images"),
            "gaussians": exponents(fewer_gaussians, base, "gaussians"),
        },
    }
    print(json.dumps(record["rows"]), json.dumps(record["exponents"]))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

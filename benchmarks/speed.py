"""Times training steps of CryoSPIRE's two stages against the arithmetic that they cannot do without.

Run as ``python benchmarks/speed.py [--threads 1] [--json FILE]``; some minutes. Each row is measured in a
process of its own, so that its peak memory is its own. Rates are per second of processor time, products and
steps alike: with one thread on a busy machine, that is what a core to oneself would give; with more, waiting
counts as well. The rate by the wall clock stands beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Optics, Particles, Poses
from morphem.engine.descent import Descent, DescentConfig
from morphem.inference.latents import Scene, solve_latents, weak_prior
from morphem.inference.store import Store, disc
from morphem.inference.templates import working_grid
from morphem.methods.cryospire.objectives import BandObjective, MixtureObjective
from morphem.methods.cryospire.settings import PRESETS, Config, MixtureConfig
from morphem.methods.cryospire.starting import network
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.layers import ProductNetwork
from morphem.models.table import ParticleTable

PIXEL_SIZE = 1.5  # Å
PARTS = 5
CUTOFF = 4.0  # standard deviations that a Gaussian is drawn to
CASES = [
    ("paper", 1, 64, 64),
    ("paper", 1, 128, 64),
    ("paper", 2, 64, 16),
    ("paper", 2, 128, 16),
    ("quick", 1, 64, 64),
    ("quick", 2, 64, 16),
    ("fast", 1, 64, 64),
    ("fast", 1, 128, 64),
    ("fast", 2, 64, 64),
    ("fast", 2, 128, 64),
]  # preset, stage, box, batch


def best_seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least processor time and least time on the clock of some calls after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start, clock = time.process_time(), time.perf_counter()
        work()
        times.append((time.process_time() - start, time.perf_counter() - clock))
    return min(used for used, _ in times), min(passed for _, passed in times)


def product_rate() -> float:
    """GFLOP per processor second of this machine's float32 matrix product, 1024 on a side."""
    a, b, out = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.empty(1024, 1024)
    return 2e-9 * 1024**3 / best_seconds(lambda: torch.mm(a, b, out=out), 30)[0]


def dense_rates(box: int, gaussians: int, images: int = 16) -> dict[str, float]:
    """GFLOP per processor second of the dense evaluation's products, on its blocks and operand layouts."""
    from morphem.physics import gaussians as module

    view, canvas = torch.zeros(images, gaussians, 2), torch.zeros(images, box, box)
    pieces = module._blocks(view, box)  # pyright: ignore[reportPrivateUsage]
    blocks = [(rows, torch.rand(*view[rows, part].shape[:2], box)) for rows, part in pieces]

    def forward() -> None:
        for rows, table in blocks:
            canvas[rows].baddbmm_(table.mT, table)

    def backward() -> None:
        for rows, table in blocks:
            torch.bmm(table, canvas[rows].mT)
            torch.bmm(table, canvas[rows])

    operations = 2e-9 * images * gaussians * box**2
    return {
        "forward_gflops": round(operations / best_seconds(forward, 10)[0], 1),
        "backward_gflops": round(2 * operations / best_seconds(backward, 10)[0], 1),
    }


def random_batch(count: int, grid: Grid) -> Particles:
    """Noise, seen from everywhere through a microscope of 300 kV."""
    constant = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1, "phase_shift": 0.0}
    constant |= {"defocus_v": 15000.0, "astigmatism": 0.3, "b_factor": 20.0, "scale": 1.0}
    optics = {name: torch.full((count,), value) for name, value in constant.items()}
    return Particles(
        images=torch.randn(count, grid.box, grid.box),
        poses=Poses(random_rotations(count), torch.randn(count, 2)),
        optics=Optics(defocus_u=15000 + 5000 * torch.rand(count), **optics),
        index=torch.arange(count),
        particle=torch.arange(count),
        group=torch.zeros(count, dtype=torch.long),
        grid=grid,
    )


def random_mixture(config: Config, stage: int, extent: float) -> PartMixture | AnchoredMixture:
    """A mixture as one finds it in the midst of training: no layer is zero, no Gaussian at the origin."""
    size = sizes(config, stage)
    widths = config.features, config.latent, network(size, config)
    if stage == 1:
        mixture = PartMixture(size.gaussians, *widths, extent)
        places, features = mixture.centres, mixture.features
    else:
        mixture = AnchoredMixture(size.gaussians, PARTS, *widths, extent)
        places, features = mixture.offsets, mixture.feature_offsets
        mixture.part.random_(PARTS)
    with torch.no_grad():
        places.normal_(std=0.12)
        features.normal_(std=config.feature_spread)
        mixture.log_scales.fill_(math.log(size.scale))
        mixture.amplitudes.fill_(size.amplitude)
        for child in mixture.children():
            last = child.trunk[-1] if isinstance(child, ProductNetwork) else child.get_submodule("last")
            last.get_parameter("weight").normal_(std=0.01)
    return mixture


def sizes(config: Config, stage: int) -> MixtureConfig:
    """The mixture of a stage."""
    return config.parts if stage == 1 else config.fine


def drawn_box(config: Config, stage: int, box: int) -> int:
    """Pixels along a side of the projections that a step draws."""
    if config.by == "descent":
        return box
    return working_grid(Grid(box, PIXEL_SIZE), seen_limit(config, stage, box)).box


def seen_limit(config: Config, stage: int, box: int) -> int:
    """Frequency pixels that a step sees where latents are solved for."""
    return config.solving.parts_limit if stage == 1 else box // 2 - 1


def scene_of(particles: Particles, limit: int, config: Config) -> Scene:
    """The same images as their low frequencies."""
    places = disc(particles.grid, limit)
    values = torch.randn(len(particles.particle), len(places.places), 2).half()
    noise = torch.ones(1, particles.grid.half)
    store = Store(values, places, particles.optics, particles.group, noise)
    spread = config.solving.contrast_spread
    prior = weak_prior(config.latent, config.latent_penalty)
    return Scene(store, particles.poses, particles.particle, limit, spread, prior)


def solving_seconds(
    mixture: PartMixture | AnchoredMixture, latents: ParticleTable, scene: Scene, config: Config, stage: int
) -> float:
    """Processor time of solving for the latents of all images as after the rounds of a stage."""
    how = config.solving.latents if stage == 1 else replace(config.solving.latents, restarts=0)
    return best_seconds(lambda: solve_latents(mixture, latents.rows, scene, how, None), 2)[0]


def operations(config: Config, stage: int, box: int, batch: int) -> dict[str, float]:
    """Multiplications and additions of one step that no implementation avoids, by part.

    Networks: two a weight and pair, thrice with gradients. Drawing: the pixels within the cutoff, one
    multiplication and addition forward, three backward (moments 1, x, y along columns). Transforms:
    2.5 N log2 N each for images, projections and the gradient. CTF, ramp and residual: 60 a frequency.
    """
    size, box = sizes(config, stage), drawn_box(config, stage, box)
    pairs = batch * size.gaussians
    # of products, the last layer's alone are evaluated for every pair
    inner = 0 if config.networks == "products" else 2 * (size.layers - 1) * size.hidden**2
    weights = inner + (3 + 1) * (size.layers if config.networks == "products" else size.hidden)
    pixels = (2 * CUTOFF * size.scale * box) ** 2
    return {
        "networks": 6.0 * pairs * weights,
        "drawing": 8.0 * pairs * pixels,
        "transforms": 3 * batch * 2.5 * box**2 * math.log2(box**2),
        "optics": 60.0 * batch * box * (box // 2 + 1),
    }


def measure(preset: str, stage: int, box: int, batch: int) -> dict[str, Any]:
    """One row: images a second of training steps (forward, backward, Adam, latents) and what bounds them."""
    torch.manual_seed(0)
    config, grid = PRESETS[preset], Grid(box, PIXEL_SIZE)
    particles = random_batch(batch, grid)
    latents = ParticleTable(0.1 * torch.randn(batch, config.latent), config.rates.latents)
    mixture, solving = random_mixture(config, stage, grid.extent), {}
    if config.by == "solving":
        scene = scene_of(particles, seen_limit(config, stage, box), config)
        objective = BandObjective(mixture, latents, scene, config)
        seconds = solving_seconds(mixture, latents, scene, config, stage)
        solving = {"solved_per_processor_second": round(batch / seconds, 1)}
    else:
        white = torch.ones(1, grid.box, grid.half)
        objective = MixtureObjective(mixture, latents, white, config)
    descent = Descent(objective, DescentConfig(epochs=1000, batch_size=batch), batch)
    rate = product_rate()
    used, passed = best_seconds(lambda: descent.step(particles, 1.0), 3)
    work = operations(config, stage, box, batch)
    total = sum(work.values()) * 1e-9
    return {
        "preset": preset,
        "stage": stage,
        "box": box,
        "batch": batch,
        "gaussians": sizes(config, stage).gaussians,
        "images_per_processor_second": round(batch / used, 1),
        "bound": round(batch / (total / rate), 1),
        "images_per_second": round(batch / passed, 1),
        **solving,
        "gflop_per_image": {name: round(value * 1e-9 / batch, 4) for name, value in work.items()},
        "achieved_gflops": round(total / used, 1),
        "product_gflops": round(rate, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load_average": round(os.getloadavg()[0], 1),
    }


def measure_apart(case: tuple[str, int, int, int], threads: int) -> dict[str, Any]:
    """:func:`measure` in a fresh process."""
    command = [sys.executable, __file__, "--threads", str(threads), "--case", *map(str, case)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on, without its name."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    return {
        "processor": models[0].split(":")[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def main() -> None:
    """Print a row for each case; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case:
        preset, *numbers = arguments.case
        print(json.dumps(measure(preset, *map(int, numbers))))
        return
    print(f"matrix products of 1024: {product_rate():.0f} GFLOP/s")
    dense = []
    for box in (64, 128):
        rate = product_rate()
        row = {"box": box, "product_gflops": round(rate, 1), **dense_rates(box, 8192)}
        row["share"] = round(min(row["forward_gflops"], row["backward_gflops"]) / rate, 2)
        dense.append(row)
        print("dense:", row)
    rows = []
    for case in CASES:
        rows.append(measure_apart(case, arguments.threads))
        print(rows[-1], flush=True)
    if arguments.json:
        record = {"machine": machine(arguments.threads), "dense_products": dense, "steps": rows}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What more images cost cryoFIRE's search: filling the store, and looking at 2,000 images out of it.

python -m benchmarks.scale --images 10000 100000 1000000

No image is kept: each is simulated when it is read, and its seconds are told apart. Poses are searched in
the true map, so that nothing depends on how well a map was found. Each number of images is measured in a
process of its own. See README.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from benchmarks.fire import keep, surroundings
from benchmarks.memory import Watch
from benchmarks.quality import typed
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance
from morphem.core.types import Volume
from morphem.data.images import AbstractImages
from morphem.data.stack import ParticleStack, order
from morphem.engine.insertion import background_noise
from morphem.inference.abinitio import SeedConfig, global_pass
from morphem.inference.seeds import FIRST
from morphem.inference.store import Store, collect
from morphem.simulate.datasets import plan
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth
from morphem.simulate.stack import simulated_stack

RESULTS = Path(__file__).parent / "results" / "scale.json"
_EXTENT = 256.0  # Å
_SNR = 0.1
_AVERAGED = 64  # images whose true maps' mean is searched in
_LIMIT = FIRST[-1].limit  # frequency pixels of a first map


def main() -> int:
    given = arguments().parse_args()
    command = typed(sys.argv[1:]).replace("benchmarks.quality", "benchmarks.scale")
    for images in given.images:
        asked = Asked(images, given.box, given.limit, given.searched, given.seed)
        # as it begins: a run takes long enough for the repository to go on
        before, about = os.getloadavg()[0], surroundings()
        # what one set leaves behind would hide what the next takes
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            figures = process.submit(measured, asked).result()
        load = [round(before, 1), round(os.getloadavg()[0], 1)]
        keep({"command": command, **figures, "load": load, **about}, given.json)
        print(line(figures), flush=True)
    return 0


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--box", type=int, default=36, help="pixels")
    parser.add_argument("--limit", type=int, default=16, help="finest frequency stored, frequency pixels")
    parser.add_argument(
        "--searched", type=int, default=2000, help="images out of the store that are looked at"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS, help="file that records are added to")
    return parser


@dataclass(frozen=True)
class Asked:
    """What is measured."""

    images: int
    box: int
    limit: int
    searched: int
    seed: int


class TimedImages(AbstractImages):
    """Images of another kind, and how long reading them took.

    Attributes:
        seconds: Of the processor, in whichever thread.
    """

    def __init__(self, images: AbstractImages) -> None:
        self.images = images
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        begun = time.thread_time()
        read = self.images.read(rows)
        self.seconds += time.thread_time() - begun
        return read

    def select(self, rows: Int[Tensor, "b"]) -> AbstractImages:
        return self.images.select(rows)

    def name(self, row: int) -> str:
        return self.images.name(row)

    def fingerprint(self) -> str:
        return self.images.fingerprint()


def measured(asked: Asked) -> dict[str, Any]:
    """Record of one number of images, on one thread."""
    torch.set_num_threads(1)
    grid = Grid(asked.box, _EXTENT / asked.box)
    truth = plan(hinge(), asked.images, grid, asked.seed, Conditions(snr=_SNR))
    stack = simulated_stack(truth)
    filling, store = filled(stack, asked.limit)
    rows = order(len(store), asked.seed, 1)[: asked.searched]
    return {
        "test": "scale",
        "molecule": "hinge",
        "images": asked.images,
        "box": asked.box,
        "snr": _SNR,
        "seed": asked.seed,
        "limit": asked.limit,
        "filling": filling,
        "search": searched(store, truth, rows),
    }


def filled(stack: ParticleStack, limit: int) -> tuple[dict[str, Any], Store]:
    """What filling the store took, simulation apart; and the store."""
    noise = background_noise(stack, torch.arange(len(stack)), None)
    images, process = TimedImages(stack.images), psutil.Process()
    before, watch = process.memory_info().rss, Watch()
    clock, busy = time.perf_counter(), time.process_time()
    store = collect(replace(stack, images=images), limit, noise)
    clock, busy = time.perf_counter() - clock, time.process_time() - busy
    after = process.memory_info().rss
    own = store.values.numel() * store.values.element_size()
    return {
        "seconds": clock,
        "cpu_ms_per_image": 1e3 * (busy - images.seconds) / len(store),
        "cpu_ms_per_image_simulated": 1e3 * images.seconds / len(store),
        "store_mb": own / 1e6,
        "store_bytes_per_image": own / len(store),
        "rss_before_mb": before / 1e6,
        "rss_growth_mb": (after - before) / 1e6,
        "peak_own_mb": watch.own * 2**20 / 1e6,
    }, store


def searched(store: Store, truth: Truth, rows: Int[Tensor, "m"]) -> dict[str, Any]:
    """What it took to find the poses of images ``rows`` in the true map, and how far off they are."""
    config, start = SeedConfig(), (mean_map(truth), _LIMIT)
    global_pass(store, rows[:64], start, config)  # kernels are compiled
    clock, busy = time.perf_counter(), time.process_time()
    found = global_pass(store, rows, start, config)
    clock, busy = time.perf_counter() - clock, time.process_time() - busy
    error = geodesic_distance(found.fit.poses.rotation[rows], truth.poses.rotation[rows])
    return {
        "images": len(rows),
        "rotations": config.rotations,
        "limit": _LIMIT,
        "ms_per_image": 1e3 * clock / len(rows),
        "cpu_ms_per_image": 1e3 * busy / len(rows),
        "median_error_deg": float(error.median().rad2deg()),
    }


def mean_map(truth: Truth) -> Volume:
    """Mean of the true maps of a few images."""
    maps = [truth.volume(state) for state in truth.state[:_AVERAGED]]
    return Volume(torch.stack([each.voxels for each in maps]).mean(0), truth.grid)


def line(figures: dict[str, Any]) -> str:
    """A record in a line."""
    filling, search = figures["filling"], figures["search"]
    return (
        f"{figures['images']:,} images: store {filling['store_mb']:.1f} MB, process "
        f"+{filling['rss_growth_mb']:.1f} MB, {filling['cpu_ms_per_image']:.3f} ms an image; "
        f"search {search['cpu_ms_per_image']:.2f} ms an image, {search['median_error_deg']:.1f}° off"
    )


if __name__ == "__main__":
    sys.exit(main())

"""What simulation costs: whole data sets by the command, and one image of millions.

python -m benchmarks.simulate --structures FOLDER [--standard] [--many 5000000]

Times go to benchmarks/results/simulate.json; run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from morphem.core.grid import Grid
from morphem.simulate.datasets import plan
from morphem.simulate.options import RECIPES, TIERS
from morphem.simulate.recipes import make
from morphem.simulate.stack import simulated_stack

MORPHEM = Path(sys.executable).parent / "morphem"
RESULTS = Path(__file__).parent / "results" / "simulate.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--standard", action="store_true", help="also 100,000 images of 128 pixels (7 GB)")
    parser.add_argument("--many", type=int, default=5_000_000, help="images of which one is made alone")
    given = parser.parse_args()
    rows = [whole("igg-1d", "small", given.structures), whole("ribosembly", "small", given.structures)]
    rows += [whole("igg-1d", "standard", given.structures)] if given.standard else []
    rows += [alone(tier, given.many, given.structures) for tier in ("small", "standard")]
    RESULTS.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=2) + "\n", encoding="utf-8")


def whole(recipe: str, tier: str, structures: Path) -> dict[str, object]:
    """The command, with a process for each processor, from its start to the last file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        begun = time.perf_counter()
        command = [MORPHEM, "simulate", recipe, "-o", out, "--tier", tier, "--structures", structures]
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        shutil.rmtree(out)
    return told({"set": f"{recipe} {tier}", "images": TIERS[tier].images, "seconds": round(seconds, 1)})


def alone(tier: str, many: int, structures: Path) -> dict[str, object]:
    """One image by its number, out of a stack of ``many`` that keeps none; median of 20."""
    torch.set_num_threads(1)
    recipe = RECIPES["igg-1d"]
    grid = Grid(TIERS[tier].box, recipe.pixel_size(tier))
    begun = time.perf_counter()
    stack = simulated_stack(plan(make("igg-1d", structures), many, grid, 0, recipe.seen(tier)))
    opened = time.perf_counter() - begun
    times = []
    for row in torch.linspace(0, many - 1, 21).long():
        begun = time.perf_counter()
        stack.read(row[None])
        times.append(time.perf_counter() - begun)
    milliseconds = round(1e3 * statistics.median(times[1:]), 2)
    facts = {"set": f"igg-1d, one image of {grid.box} px", "of": many, "opened_seconds": round(opened, 1)}
    return told({**facts, "milliseconds": milliseconds})


def told(row: dict[str, object]) -> dict[str, object]:
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()

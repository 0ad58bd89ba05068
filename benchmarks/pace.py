"""Images a second of CryoSPIRE's presets and of cryoDRGN, one after another in one run on one machine.

python -m benchmarks.pace igg-1d --structures FOLDER --peer FOLDER

Run from the top of the repository; a quarter of an hour. The preset ``fast`` reconstructs the whole set, and
its rate is that of the whole run. Of ``paper``, training steps are timed, and its rate is what all epochs of
both stages would come to; of cryoDRGN with its defaults, training without start-up, within a budget. Seconds
are those of the processor for Morphem, of the clock for cryoDRGN.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import quality
from benchmarks.peers import cryodrgn
from benchmarks.peers import environments as peers
from benchmarks.speed import machine, measure_apart

from morphem.methods.cryospire.settings import PRESETS

RESULTS = Path(__file__).parent / "results" / "pace.json"
_BATCHES = {1: 64, 2: 16}  # of paper's stages, as in speed.py


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pace", description="Images a second.")
    parser.add_argument("recipe", choices=quality.RECIPES)
    parser.add_argument("--structures", type=Path, help="folder of the structures that recipes need")
    parser.add_argument("--peer", type=Path, required=True, help="environment of cryoDRGN")
    parser.add_argument("--budget", type=float, default=240.0, help="seconds of cryoDRGN's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("quality"), help="folder for data and results")
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    words = [given.recipe, "--method", "cryospire", "--preset", "fast", "--seed", str(given.seed)]
    words += ["--structures", str(given.structures)] if given.structures else []
    asked = quality.arguments().parse_args(words)
    folder = given.work / f"{given.recipe}-small-{given.seed}"
    data = quality.simulated(asked, folder / "data")
    images, box = quality.counted(data), quality.grid(data)["box"]
    record = {
        "recipe": given.recipe,
        "images": images,
        "box": box,
        "commit": quality.commit(),
        "machine": machine(1),
        "rows": [
            by_fast(asked, data, folder / "cryospire-fast"),
            by_paper(box, images),
            by_peer(given, data, folder / "pace-of-cryodrgn", images),
        ],
    }
    fast = record["rows"][0]["images_per_second"]
    for row in record["rows"]:
        row["fast_over_this"] = round(fast / row["images_per_second"], 1)
        print(json.dumps(row))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def by_fast(asked: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """A whole run, which quality.py may judge; epochs are passes over all images, all else comes on top."""
    made = quality.reconstructed(asked, data, folder)
    (used,) = made.usage
    return {
        "program": "cryospire, fast",
        "what": "whole run",
        "epochs": made.facts["epochs"],
        "images_per_second": round(quality.counted(data) * made.facts["epochs"] / used.cpu_seconds, 1),
        "seconds": round(used.cpu_seconds),
        "peak_memory_mb": round(used.peak_mib),
    }


def by_paper(box: int, images: int) -> dict[str, Any]:
    """Training steps of both stages, and what they come to."""
    paper = PRESETS["paper"]
    epochs = {1: paper.parts_descent.epochs, 2: paper.fine_descent.epochs}
    steps = {stage: measure_apart(("paper", stage, box, _BATCHES[stage]), 1) for stage in epochs}
    rates = {stage: step["images_per_processor_second"] for stage, step in steps.items()}
    seconds = sum(images * epochs[stage] / rates[stage] for stage in epochs)
    return {
        "program": "cryospire, paper",
        "what": "training steps",
        "epochs": sum(epochs.values()),
        "images_per_second": round(images * sum(epochs.values()) / seconds, 1),
        "by_stage": rates,
        "seconds": round(seconds),
        "peak_memory_mb": max(step["peak_memory_mb"] for step in steps.values()),
    }


def by_peer(given: argparse.Namespace, data: Path, folder: Path, images: int) -> dict[str, Any]:
    """cryoDRGN's training with its defaults, stopped when its time is up."""
    program = peers.installed("cryodrgn", given.peer)
    trained = cryodrgn.train(program, data, folder, images, cryodrgn.Training(budget=given.budget))
    rate = trained.images_per_second
    if rate is None:
        raise SystemExit(f"cryoDRGN told no pace within {given.budget:g} s; give it more by --budget")
    return {
        "program": f"cryodrgn {peers.version('cryodrgn', given.peer)}",
        "what": f"training within {given.budget:g} s",
        "epochs": cryodrgn.EPOCHS,
        "images_per_second": round(rate, 2),
        "seconds": round(images * cryodrgn.EPOCHS / rate),
        "peak_memory_mb": round(trained.usage[-1].peak_mib),
    }


if __name__ == "__main__":
    sys.exit(main())

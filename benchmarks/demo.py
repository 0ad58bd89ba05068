"""The demonstration over several seeds: what it finds, how long it takes.

python benchmarks/demo.py --seeds 0 1 2 --json benchmarks/results/demo.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

import morphem
from morphem.report.demo import DemoConfig, demonstrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            scores = demonstrate(Path(folder), DemoConfig(seed=seed, preset=given.preset))
        rows.append({"seed": seed, **scores})
        print(
            {name: score if score is None else round(score, 3) for name, score in rows[-1].items()},
            flush=True,
        )
    record = {
        "morphem": morphem.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "preset": given.preset,
        "runs": rows,
    }
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Peak memory of opening, preparing and one epoch of CryoSPIRE's first stage, for few and for many images.

Run as ``python benchmarks/memory.py [--images 10000 200000] [--json FILE]``; the stacks are noise, written to
a temporary folder and deleted. Each count is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

BOX = 32
HEAD = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
_rlnImageSize #3
_rlnImageDimensionality #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
1 3.0 32 2 300.0 2.7 0.1

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnAngleRot #6
_rlnAngleTilt #7
_rlnAnglePsi #8
_rlnOriginXAngst #9
_rlnOriginYAngst #10
"""


class Watch:
    """The largest resident memory since it began, looked at every 20 ms.

    Attributes:
        own: Largest memory of the process's own (anonymous), MB.
        mapped: Largest part of mapped files that was resident, MB; the system takes it back at need.
    """

    def __init__(self) -> None:
        self.own = self.mapped = 0.0
        threading.Thread(target=self._look, daemon=True).start()

    def row(self) -> dict[str, int]:
        """What was seen so far."""
        return {"own_mb": round(self.own), "mapped_mb": round(self.mapped)}

    def _look(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            kib = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
            self.own = max(self.own, int(kib["RssAnon"]) / 1024)
            self.mapped = max(self.mapped, int(kib["RssFile"]) / 1024)
            time.sleep(0.02)


def noise(count: int) -> Iterator[torch.Tensor]:
    """Images without a particle, a thousand at a time."""
    generator = torch.Generator().manual_seed(0)
    for rows in torch.arange(count).split(1000):
        yield torch.randn(len(rows), BOX, BOX, generator=generator)


def write_particles(folder: Path, count: int) -> Path:
    """A float16 stack and the star file of its images, seen from everywhere."""
    from morphem.core.grid import Grid
    from morphem.data.mrc import write_stack

    write_stack(folder / "particles.mrcs", noise(count), Grid(BOX, 3.0), "float16")
    numbers = torch.rand(count, 6, generator=torch.Generator().manual_seed(1))
    with (folder / "particles.star").open("w") as file:
        file.write(HEAD)
        for i, (defocus, rot, tilt, psi, x, y) in enumerate(numbers.tolist(), 1):
            microscope = f"1 {10000 + 9000 * defocus:.1f} {10000 + 9000 * defocus:.1f} 0"
            pose = f"{360 * rot:.2f} {180 * tilt:.2f} {360 * psi:.2f} {x:.3f} {y:.3f}"
            file.write(f"{i:06d}@particles.mrcs {microscope} {pose}\n")
    return folder / "particles.star"


def measure(path: Path) -> dict[str, Any]:
    """Largest memory up to the end of each phase, and its seconds."""
    from dataclasses import replace

    from morphem.core.types import Volume
    from morphem.data.preprocess import prepare
    from morphem.data.stack import open_stack
    from morphem.engine.descend import descend
    from morphem.engine.run import Run
    from morphem.methods.cryospire.objectives import MixtureObjective
    from morphem.methods.cryospire.settings import PRESETS, MixtureConfig
    from morphem.methods.cryospire.starting import initial_latents, initial_parts
    from morphem.physics.masks import soft_ball

    torch.set_num_threads(1)
    watch, phases, start = Watch(), {}, time.perf_counter()

    def note(phase: str) -> None:
        time.sleep(0.05)
        phases[phase] = {**watch.row(), "seconds": round(time.perf_counter() - start, 1)}

    note("imported")
    stack = open_stack(path)
    note("opened")
    stack = prepare(stack, cache=path.parent / "cache", sign=1.0)
    note("prepared")
    size = MixtureConfig(gaussians=64, scale=0.04, hidden=16, layers=1)
    config = replace(PRESETS["quick"], parts=size)
    config = replace(
        config, parts_descent=replace(config.parts_descent, epochs=1, batch_size=256, device="cpu")
    )
    ball = Volume(soft_ball(stack.grid, 20.0, 9.0), stack.grid)
    parts, latents = initial_parts(ball, config), initial_latents(stack.n_particles, config)
    objective = MixtureObjective(parts, latents, torch.ones(1, BOX, BOX // 2 + 1), config)
    descend(objective, stack, config.parts_descent, Run(path.parent / "run").stage("parts"))
    note("trained")
    return {
        "images": len(stack),
        "box": BOX,
        "stack_mb": (path.parent / "particles.mrcs").stat().st_size >> 20,
    } | phases


def measure_apart(count: int) -> dict[str, Any]:
    """:func:`measure` in a fresh process, on a set that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_particles(Path(folder), count)
        command = [sys.executable, __file__, "--measure", str(path)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a row for each count; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    for count in arguments.images:
        rows.append(measure_apart(count))
        print(rows[-1], flush=True)
    if arguments.json:
        record = {"cores": os.cpu_count(), "torch": torch.__version__, "rows": rows}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

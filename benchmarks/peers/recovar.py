"""RECOVAR's pipeline on a simulated set, as its documentation has it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.process import ProgramError, UnfinishedError, Usage, environment, measured

LATENT = 10  # --zdim of its quick start
_CPU = {"JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Embedded:
    """What the pipeline came to.

    Attributes:
        folder: Its result.
        latents: Of every particle, ``.npy``.
        usage: Of the program.
    """

    folder: Path
    latents: Path
    usage: list[Usage]


def embed(
    program: Path, data: Path, out: Path, threads: int, budget: float | None, memory: float
) -> Embedded:
    """Mean, covariance, principal components and embedding, on processors without a GPU.

    Args:
        program: ``recovar`` in its environment.
        data: Folder of the simulated set.
        out: Where to.
        threads: Processors.
        budget: Seconds after which it is given up.
        memory: GB by which it chooses how many components to compute.

    Raises:
        UnfinishedError: If its time ran out; it keeps nothing that could be decoded before its end.
    """
    out.mkdir(parents=True, exist_ok=True)
    command = [program, "pipeline", data / "particles.star", "-o", out / "pipeline", "--datadir", data]
    command += ["--mask", "from_halfmaps", "--no-downsample", "--zdim", str(LATENT), "--accept-cpu"]
    command += ["--gpu-budget-gb", f"{memory:g}"]
    used = measured(command, out / "pipeline.log", environment(threads, **_CPU), budget)
    if used.stopped:
        raise UnfinishedError(f"RECOVAR's pipeline did not end within {budget:.0f} s; it leaves no embedding")
    latents = out / "pipeline" / "model" / f"zdim_{LATENT}" / "latent_coords.npy"
    if not latents.exists():
        raise ProgramError(f"RECOVAR left no {latents}; its log is {out / 'pipeline.log'}")
    return Embedded(out / "pipeline", latents, [used])


def decode(program: Path, embedded: Embedded, plan: Path, threads: int) -> Usage:
    """Make the maps of a plan (``maps.csv`` and, beside it, ``maps.txt``) in the plan's folder."""
    shutil.copyfile(embedded.latents, plan.parent / "latents.npy")
    states = plan.parent.parent / "states"
    command = [program, "compute_state", embedded.folder, "-o", states]
    command += ["--latent-points", plan.with_suffix(".txt")]
    used = measured(command, plan.parent.parent / "decode.log", environment(threads, **_CPU))
    made = sorted(path for path in states.glob("state*.mrc") if path.stem[5:].isdigit())
    names = [line.split(",")[0] for line in plan.read_text(encoding="utf-8").splitlines()[1:]]
    if len(made) != len(names):
        raise ProgramError(f"RECOVAR made {len(made)} maps in {states}, {len(names)} were planned")
    for path, name in zip(made, names, strict=True):
        shutil.copyfile(path, plan.parent / name)
    return used

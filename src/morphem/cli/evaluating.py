"""The command that judges results by the truth of a simulated set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from morphem.cli.show import show_rows

Argument = tyro.conf.Positional


@dataclass(frozen=True)
class EvaluateOptions:
    """How close results on simulated particles came to their truth, between a floor and a ceiling.

    RESULT is a run's folder, or a folder of another program's maps with a table maps.csv (columns file and
    particle, counted from 0, or state). With --plan and --latents nothing is judged: a table is written of
    the particles whose maps the other program should make.
    """

    result: Argument[Path | None] = None
    """Folder of a run, or of maps."""
    truth: Path = tyro.MISSING
    """Folder that `morphem simulate` wrote."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where to write evaluation.json and evaluation.png; the result's folder by default."""
    plan: Path | None = None
    """Table of maps to make, NAME.csv; their latents go to NAME.txt and NAME.npy beside it."""
    latents: Path | None = None
    """Latents of all particles, z.pkl or .npy, to plan by."""


def evaluate(arguments: list[str]) -> int:
    """Judge results, or plan which maps to make."""
    options = tyro.cli(EvaluateOptions, args=arguments, prog="morphem evaluate")
    if (options.plan is None) != (options.latents is None):
        raise ValueError("--plan and --latents go together: a table to write, and latents to plan by")
    if options.plan is not None and options.latents is not None:
        return _plan(options.plan, options.latents, options.truth)
    if options.result is None:
        raise ValueError("say which folder to evaluate: a run's, or one with maps.csv")
    from morphem.report.evaluate import evaluate as judged

    out = options.out or options.result
    record = judged(options.result, options.truth, out)
    show_rows([("", "value", "floor", "ceiling", "score"), *rows(record)])
    for line in _remarks(record):
        print(line)
    print(f"all scores: {out / 'evaluation.json'}    picture: {out / 'evaluation.png'}")
    return 0


def rows(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str, str]]:
    """Every score of an evaluation: name, value with its interval, floor, ceiling, and where between."""
    for name, value in record.items():
        words = f"{prefix}{name.replace('_', ' ')}"
        if not isinstance(value, Mapping) or (name == "cryofire" and not prefix):
            continue
        if "normalised" in value:
            floor, ceiling, between = (_number(value[key]) for key in ("floor", "ceiling", "normalised"))
            yield words, _with_interval(value), floor, ceiling, between
        else:
            yield from rows(value, f"{words}: " if name not in ("maps", "coordinates", "bodies") else prefix)


def _remarks(record: Mapping[str, Any]) -> Iterator[str]:
    """What numbers between floor and ceiling do not tell."""
    shells = record["shells"]
    yield f"correlations are averaged to shell {int(shells['last'])} ({shells['resolution_angstrom']:.3g} Å)"
    yield f"the mask is {record['masks']['mask_fraction']:.1%} of the box"
    poses = record["poses"]
    if poses is not None:
        view, shift = (
            {part: f"{value * unit:.3g}" for part, value in poses[name].items() if value is not None}
            for name, unit in (("view_rad", math.degrees(1)), ("shift_angstrom", 1))
        )
        yield f"poses were found; the hand is {'mirrored' if poses['hand'] == 'mirrored' else 'right'}"
        yield f"view direction, median, mean and 95 %: {view['median']}°, {view['mean']}°, {view['p95']}°"
        yield f"shift, median, mean and 95 %: {shift['median']}, {shift['mean']}, {shift['p95']} Å"


def _plan(table: Path, latents: Path, truth: Path) -> int:
    from morphem.report.evaluate_plan import write_plan
    from morphem.report.map_folder import read_latents
    from morphem.simulate.datasets import read_truth

    plan = write_plan(read_truth(truth), read_latents(latents), table)
    print(f"{len(plan.particles)} maps to make: {table}, latents in {table.with_suffix('.txt')}")
    return 0


def _with_interval(score: Mapping[str, Any]) -> str:
    ends = score["interval"]
    return _number(score["value"]) + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

"""cryoFIRE from images alone, row by row of an acceptance ladder: one JSON record for each run.

python -m benchmarks.fire A1 --seeds 0 1 2
python -m benchmarks.fire A5 --structures FOLDER
python -m benchmarks.fire T1 --structures FOLDER --method paper --budget 1800

Run from the top of the repository. Poses are withheld: the particle file that a run reads has none. What is
there already is used again: a data set, and a reconstruction that came to its end. See README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from benchmarks.fire_cases import CASES, TESTS, Case
from benchmarks.fire_cost import costs, images_within
from benchmarks.fire_data import Job, simulated, withheld
from benchmarks.fire_scores import (
    bound_figures,
    changed,
    difference,
    first_component,
    frame_of,
    latent_figures,
    map_figures,
    pose_figures,
    seen_by,
)
from benchmarks.peers.process import ProgramError, Usage, environment, measured
from benchmarks.quality import MORPHEM, commit, processor, typed

from morphem.core.types import Frame
from morphem.engine.reconstruction import Reconstruction
from morphem.simulate.particles import Truth

RESULTS = Path(__file__).parent / "results" / "fire.json"
MATTERS = ("test", "variant", "molecule", "box", "images", "seed", "method")  # one record for each
BOUNDED = {"ratchet": 48}  # images of which bounds are computed: 142,000 atoms take their time
_BOUNDED = 256
_STAGES = (3, 4)  # the published share of images in the paper's two stages


def main() -> int:
    given = arguments().parse_args()
    if given.test == "cost":
        keep({"command": spoken(), "test": "cost", **costs(given.boxes), **surroundings()}, given.json)
        return 0
    failed = 0
    for job in jobs(given):
        try:
            record = tried(job, given)
        except ProgramError as error:
            record = {**asked(job), "finished": False, "why": str(error).splitlines()[-1], **surroundings()}
            print(error, file=sys.stderr)
        keep(record, given.json)
        failed += not record.get("passed", False)
        print(line(record), flush=True)
    return int(failed > 0)


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fire", description=__doc__.splitlines()[0])
    parser.add_argument("test", choices=(*TESTS, "cost"))
    parser.add_argument("--variant", help="of the test's sets, the ones whose name begins so; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of images and method alike")
    parser.add_argument("--images", type=int, help="another number than the test's")
    parser.add_argument("--box", type=int, help="another box than the test's, pixels")
    parser.add_argument("--molecule", choices=("phantom", "ratchet"), help="another one than the test's")
    parser.add_argument("--structures", type=Path, help="folder of the ribosome's structure")
    parser.add_argument("--method", choices=("fast", "paper"), default="fast")
    parser.add_argument("--budget", type=float, default=600, help="seconds that paper is given, about")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="search.modes.kept=1 …")
    parser.add_argument("--boxes", type=int, nargs="+", default=[64], help="of which costs are measured")
    parser.add_argument("--work", type=Path, default=Path("fire"), help="folder for data and results")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file that records are added to")
    return parser


def jobs(given: argparse.Namespace) -> list[Job]:
    """Every run that was asked for."""
    own = {name: getattr(given, name) for name in ("images", "box", "molecule") if getattr(given, name)}
    chosen = [case for case in CASES if case.test == given.test]
    chosen = [case for case in chosen if case.variant.startswith(given.variant or "")]
    told = [word for field in given.set for word in ("--" + field).replace("_", "-").split("=", 1)]
    out = []
    for case in (replace(each, **own) for each in chosen):
        if given.method == "paper":
            told += paper_words(images_within(given.budget, case.grid))
        out += [Job(case, seed, given.method, tuple(told), given.work) for seed in given.seeds]
    return out


def paper_words(images: int) -> list[str]:
    """Options of the published method that let it see so many images."""
    first = images * _STAGES[0] // sum(_STAGES)
    return ["--encoder.pose-images", str(first), "--encoder.joint-images", str(images - first)]


def tried(job: Job, given: argparse.Namespace) -> dict[str, Any]:
    """Record of a run: what was asked, found and used, and whether it passes."""
    truth = simulated(job, given.structures)
    usage = reconstructed(job)
    figures, frame = judged(job, truth)
    record = {**asked(job), "finished": True, **usage, **figures, **facts_of(job.run)}
    if job.case.held_out:
        record["held_out"] = placed(job, truth, frame)
    if job.case.change:
        plain = replace(job, case=replace(job.case, change=""))
        reconstructed(plain)
        record["change"] = difference(judged(plain, truth)[0], figures)
    record["checks"] = checks(job.case, record)
    record["passed"] = all(check["ok"] for check in record["checks"].values())
    record["passed"] |= job.case.may_warn and bool(record["warnings"])
    return surroundings() | record


def reconstructed(job: Job) -> dict[str, Any]:
    """What the run used, now or when it first came to its end."""
    note = job.run / "used.json"
    if note.exists():
        return json.loads(note.read_text(encoding="utf-8"))
    shutil.rmtree(job.run, ignore_errors=True)
    job.run.mkdir(parents=True)
    blind = withheld(job)
    command = [MORPHEM, "reconstruct", "cryofire", blind, "-o", job.run / "run", "--seed", str(job.seed)]
    command += ["--preset", job.method, *job.case.options, *job.told]
    before = os.getloadavg()[0]
    used = measured(command, job.run / "log", environment(1))
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    record = usage_of(used, job.case.images) | {"load": load, "commit": commit()}
    note.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return record


def usage_of(used: Usage, images: int) -> dict[str, Any]:
    """Seconds and memory of a program."""
    return {
        "seconds": round(used.seconds, 1),
        "cpu_seconds": round(used.cpu_seconds, 1),
        "cpu_ms_per_image": round(1e3 * used.cpu_seconds / images, 2),
        "peak_mib": round(used.peak_mib),
    }


def judged(job: Job, truth: Truth) -> tuple[dict[str, Any], Frame]:
    """Figures of a run, and the frame that it saw the molecule in."""
    found = Reconstruction.load(job.run / "run")
    truth = truth[torch.arange(job.case.images)]
    moved, basis = changed(truth, job.case.change, job.order)
    frame = frame_of(found.poses, moved)
    bounded = BOUNDED.get(job.case.molecule, _BOUNDED)
    figures = {
        "poses": pose_figures(found.poses, moved, frame),
        "bound": bound_figures(truth, job.data / "bound.json", bounded),
        "maps": map_figures(found, moved, seen_by(frame, basis)),
        "latents": latent_figures(found.latents, moved),
        "first_component": first_component(found.latents, moved),
    }
    return figures, frame


def placed(job: Job, truth: Truth, frame: Frame) -> dict[str, Any]:
    """Figures of images that the run never saw, in the frame of those that it saw."""
    out, note = job.run / "inferred", job.run / "inferred.json"
    if not note.exists():
        shutil.rmtree(out, ignore_errors=True)
        command = [MORPHEM, "infer", job.run / "run", withheld(job, held_out=True), "-o", out]
        used = measured(command, job.run / "log", environment(1))
        note.write_text(json.dumps(usage_of(used, job.case.held_out)) + "\n", encoding="utf-8")
    found, unseen = Reconstruction.load(out), truth[torch.arange(job.case.images, len(truth))]
    return {
        "images": len(unseen),
        **json.loads(note.read_text(encoding="utf-8")),
        "poses": pose_figures(found.poses, unseen, frame),
        "latents": latent_figures(found.latents, unseen),
    }


def facts_of(folder: Path) -> dict[str, Any]:
    """What a run says of itself: starts, directions, warnings, and seconds of each stage by the clock."""
    path = folder / "run" / "abinitio.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        "abinitio": {name: told[name] for name in ("starts", "directions") if name in told},
        "rounds": len(told.get("rounds", [])),
        "finest_frequency_px": told["rounds"][-1]["limit"] if told.get("rounds") else None,
        "stages": stage_seconds(folder / "run"),
        "warnings": told.get("warnings", []),
    }


def stage_seconds(run: Path) -> dict[str, float]:
    """Seconds from the end of each stage to the end of the next, rounds of refinement together."""
    ends = [(path.stat().st_mtime, path.parent.name) for path in (run / "stages").rglob("result.safetensors")]
    before, seconds = (run / "run.json").stat().st_mtime, {}
    for end, name in [*sorted(ends), ((run / "summary.json").stat().st_mtime, "maps")]:
        kind = name.rstrip("0123456789").rstrip("-")
        seconds[kind] = round(seconds.get(kind, 0.0) + end - before, 1)
        before = end
    return seconds


def checks(case: Case, record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each limit beside what was reached, and beside what one reaches who attains the bound."""
    out = {}
    for limit in case.limits:
        value = figure(record, limit.name)
        ok = value >= limit.value if limit.least else value <= limit.value
        least = figure(record, limit.name.replace("poses.", "bound."), None)
        known = {} if least is None or limit.name[:6] != "poses." else {"bound": least}
        out[limit.name] = {"value": value, "limit": limit.value, "ok": bool(ok), **known}
    return out


def figure(record: dict[str, Any], name: str, *otherwise: Any) -> Any:
    """What a record holds under a path such as ``poses.shift_px.median``."""
    value: Any = record
    for part in name.split("."):
        if otherwise and part not in value:
            return otherwise[0]
        value = value[part]
    return value


def asked(job: Job) -> dict[str, Any]:
    """What was asked for, in full."""
    case = asdict(job.case)
    kept = ("test", "variant", "molecule", "images", "box", "snr", "states", "shares", "nuisance", "held_out")
    return {
        "command": spoken(),
        **{name: case[name] for name in kept},
        "pixel_size": job.case.grid.pixel_size,
        "options": [*job.case.options, *job.told],
        "seed": job.seed,
        "method": job.method,
    }


def spoken() -> str:
    """The command without what only this machine knows."""
    return typed(sys.argv[1:]).replace("benchmarks.quality", "benchmarks.fire")


def surroundings() -> dict[str, Any]:
    """Versions, machine, commit and day."""
    from importlib.metadata import version

    return {
        "versions": {name: version(name) for name in ("morphem", "torch", "numpy", "numba")},
        "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": 1},
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def keep(record: dict[str, Any], path: Path) -> None:
    """Put a record in the file, in the place of the one that answers the same question."""
    held = json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []
    key = [record.get(name) for name in MATTERS]
    held = [each for each in held if [each.get(name) for name in MATTERS] != key]
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"records": [*held, rounded(record)]}
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Numbers to five digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value


def line(record: dict[str, Any]) -> str:
    """A record in a line."""
    name = " ".join(str(record[key]) for key in MATTERS if record[key] != "")
    if not record["finished"]:
        return f"{name}: no result: {record['why']}"
    reached = [f"{key} {check['value']:.4g} ({check['limit']:g})" for key, check in record["checks"].items()]
    return f"{name}: {'passed' if record['passed'] else 'NOT passed'}; {', '.join(reached)}"


if __name__ == "__main__":
    sys.exit(main())

"""Simulate, reconstruct, evaluate: one method on one benchmark set, one JSON line.

python -m benchmarks.quality hinge --tier tiny --method cryospire --preset quick
python -m benchmarks.quality igg-1d --structures FOLDER --method cryodrgn --peer FOLDER --budget 3600
python -m benchmarks.quality hinge --tier tiny --method cryospire --seen junk=.1

Run from the top of the repository. What is there already is used again: the data set, and a reconstruction
that came to its end, so that only the scores are computed anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers import cryodrgn, recovar
from benchmarks.peers import environments as peers
from benchmarks.peers.process import ProgramError, UnfinishedError, Usage, environment, measured

MORPHEM = Path(sys.executable).parent / "morphem"
RESULTS = Path(__file__).parent / "results" / "quality.jsonl"
RECIPES = ("hinge", "igg-1d", "igg-rl", "ribosembly", "ratchet")
CURVES = ("deviation_fsc", "moving_region_fsc")
METHODS = ("backprojection", "cryospire", *peers.PEERS)
_TRAINED = r"(parts|fine|posed)(-\d+)?"  # stages in which a mixture descends over all images


@dataclass(frozen=True)
class Made:
    """What a method left.

    Attributes:
        result: Folder to evaluate.
        usage: Of every program that ran, decoding apart.
        facts: What it came to: epochs, images per second.
    """

    result: Path
    usage: list[Usage]
    facts: dict[str, Any]


def main() -> int:
    given = arguments().parse_args()
    size = f"-{given.images}" if given.images else ""
    odd = "".join(f"-{field}" for field in given.seen)
    folder = given.work / f"{given.recipe}-{given.tier}{size}{odd}-{given.seed}"
    data = simulated(given, folder / "data")
    row = {**asked(given, data), **surroundings(given)}
    try:
        row |= scored(given, data, folder / label(given).replace(", ", "-").replace(" ", "_"))
    except ProgramError as error:
        print(error, file=sys.stderr)
        return 2
    except UnfinishedError as error:
        row |= {"finished": False, "why": str(error)}
        print(error, file=sys.stderr)
    append(impersonal(row, given), given.json)
    return 0 if row["finished"] else 1


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description="One method on one benchmark set, one JSON line."
    )
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--tier", choices=("tiny", "small", "standard"), default="small")
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the data set and of the method")
    parser.add_argument("--images", type=int, help="another number than the tier's")
    parser.add_argument(
        "--seen", nargs="+", default=[], metavar="FIELD=VALUE", help="conditions, such as junk=.1"
    )
    parser.add_argument("--structures", type=Path, help="folder of the structures that recipes need")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("quality"), help="folder for data and results")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file that the line is added to")
    own = parser.add_argument_group("Morphem's methods")
    own.add_argument("--preset", default="", help="of the method")
    own.add_argument("--poses", choices=("abinit",), help="found from the images, not those of the file")
    own.add_argument("--oracle", choices=("latents", "parts"), nargs="+", default=[], help="what it is told")
    own.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="such as fine_descent.epochs=1"
    )
    other = parser.add_argument_group("peers")
    other.add_argument("--peer", type=Path, help="environment of the peer; WORK/peers/NAME by default")
    other.add_argument("--budget", type=float, help="seconds of training after which it is stopped")
    other.add_argument("--epochs", type=int, default=cryodrgn.EPOCHS, help="of cryoDRGN")
    other.add_argument("--width", type=int, help="of cryoDRGN's layers, in place of its default")
    other.add_argument("--memory", type=float, default=4.0, help="GB that RECOVAR plans with")
    return parser


def label(given: argparse.Namespace) -> str:
    """The method and all that was asked of it."""
    if given.method == "cryodrgn":
        words = [f"{given.epochs} epochs", f"width {given.width}" if given.width else ""]
    elif given.method == "recovar":
        words = [f"memory {given.memory:g}"]
    else:
        told = [f"true {what}" for what in given.oracle]
        words = [given.preset, "poses found" if given.poses else "", *told, *given.set]
    budget = f"within {given.budget:g} s" if given.budget and given.method in peers.PEERS else ""
    return ", ".join(word for word in (given.method, *words, budget) if word)


def simulated(given: argparse.Namespace, data: Path) -> Path:
    """The data set, made unless it is there."""
    if not (data / "particles.star").exists():
        command = [
            MORPHEM,
            "simulate",
            given.recipe,
            "-o",
            data,
            "--tier",
            given.tier,
            "--seed",
            str(given.seed),
        ]
        command += ["--workers", str(given.threads), *options_of(given.seen)]
        command += ["--images", str(given.images)] if given.images else []
        command += ["--structures", given.structures] if given.structures else []
        used = measured(command, data.parent / "simulate.log", environment(given.threads))
        (data.parent / "simulate.json").write_text(json.dumps(used.record()) + "\n", encoding="utf-8")
    return data


def scored(given: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """The method's scores, and what it took."""
    made = reconstructed(given, data, folder)
    command = [MORPHEM, "evaluate", made.result, "--truth", data, "-o", folder / "evaluation"]
    judged = measured(command, folder / "evaluate.log", environment(given.threads))
    scores = json.loads((folder / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))
    scores["curves"] = by_shell(scores["curves"].get("by_state", {}))
    return {
        "finished": True,
        **made.facts,
        "seconds": round(sum(used.seconds for used in made.usage), 1),
        "cpu_seconds": round(sum(used.cpu_seconds for used in made.usage), 1),
        "peak_mib": round(max(used.peak_mib for used in made.usage)),
        "programs": [used.record() for used in (*made.usage, judged)],
        "evaluation": scores,
    }


def by_shell(curves: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The curves that the figure needs, of what was found and of the ceiling."""
    return {
        side: {name: [round(value, 4) for value in curves[side][name]] for name in CURVES}
        for side in ("found", "ceiling")
        if side in curves
    }


def reconstructed(given: argparse.Namespace, data: Path, folder: Path) -> Made:
    """What the method left, now or in an earlier call that reached this point."""
    note = folder / "made.json"
    if note.exists():
        held = json.loads(note.read_text(encoding="utf-8"))
        return Made(folder / held["result"], [Usage(**used) for used in held["usage"]], held["facts"])
    if folder.exists():
        shutil.rmtree(folder)
    make = {"cryodrgn": by_cryodrgn, "recovar": by_recovar}.get(given.method, by_morphem)
    made = make(given, data, folder)
    record = {
        "result": made.result.name,
        "usage": [used.record() for used in made.usage],
        "facts": made.facts,
    }
    note.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return made


def by_morphem(given: argparse.Namespace, data: Path, folder: Path) -> Made:
    """A run of a method of ours."""
    run = folder / "run"
    command = [MORPHEM, "reconstruct", given.method, data / "particles.star", "-o", run]
    command += ["--seed", str(given.seed)] + (["--preset", given.preset] if given.preset else [])
    command += options_of(given.set) + (["--poses", given.poses] if given.poses else [])
    folder.mkdir(parents=True)
    command += told(given.oracle, data, folder)
    used = measured(command, folder / "reconstruct.log", environment(given.threads))
    history = json.loads((run / "summary.json").read_text(encoding="utf-8"))["history"]
    # what comes between, such as passes in which parts are rigid, is taken for overhead
    epochs = sum(len(passes) for stage, passes in history.items() if re.fullmatch(_TRAINED, stage))
    if given.poses:
        return Made(
            run, [used], {"epochs": None, "images_per_second": None}
        )  # searches are none, and the mixture begins twice
    seen = counted(data) * max(epochs, 1)
    return Made(run, [used], {"epochs": epochs or None, "images_per_second": round(seen / used.seconds, 1)})


def options_of(fields: list[str]) -> list[str]:
    """Words of a command for each ``field=value``."""
    pairs = [field.partition("=") for field in fields]
    return [
        word for name, _, value in pairs for word in (f"--{name.replace('__', '.').replace('_', '-')}", value)
    ]


def told(oracle: list[str], data: Path, folder: Path) -> list[str | Path]:
    """Options that tell a method the truth, and the files they name."""
    if not oracle:
        return []
    code = (
        "import sys, numpy; from morphem.simulate.datasets import read_truth; "
        "from morphem.simulate.oracle_latents import true_bodies, true_latents; "
        "truth = read_truth(sys.argv[1]); "
        "numpy.save(sys.argv[2] + '/latents.npy', true_latents(truth).numpy()); "
        "numpy.save(sys.argv[2] + '/parts.npy', true_bodies(truth).numpy())"
    )
    subprocess.run([sys.executable, "-c", code, data, folder], check=True)
    options = {"latents": "--known-latents", "parts": "--known-bodies"}
    return [word for what in oracle for word in (options[what], folder / f"{what}.npy")]


def by_cryodrgn(given: argparse.Namespace, data: Path, folder: Path) -> Made:
    """cryoDRGN, trained and decoded."""
    program = peers.installed("cryodrgn", environment_of(given))
    training = cryodrgn.Training(given.epochs, given.budget, given.width, given.seed, given.threads)
    trained = cryodrgn.train(program, data, folder, counted(data), training)
    plan = planned(trained.latents(), data, folder, given.threads)
    decoded = cryodrgn.decode(program, trained, plan, grid(data)["pixel_size"], given.threads)
    rate = trained.images_per_second
    facts = {"epochs": trained.epoch, "images_per_second": None if rate is None else round(rate, 1)}
    return Made(plan.parent, trained.usage, facts | {"decoding": decoded.record()})


def by_recovar(given: argparse.Namespace, data: Path, folder: Path) -> Made:
    """RECOVAR, embedded and decoded."""
    program = peers.installed("recovar", environment_of(given))
    embedded = recovar.embed(program, data, folder, given.threads, given.budget, given.memory)
    plan = planned(embedded.latents, data, folder, given.threads)
    decoded = recovar.decode(program, embedded, plan, given.threads)
    rate = counted(data) / embedded.usage[0].seconds
    return Made(
        plan.parent, embedded.usage, {"images_per_second": round(rate, 1), "decoding": decoded.record()}
    )


def planned(latents: Path, data: Path, folder: Path, threads: int) -> Path:
    """The table of maps to decode: those by which Morphem's own runs are judged."""
    table = folder / "maps" / "maps.csv"
    command = [MORPHEM, "evaluate", "--plan", table, "--latents", latents, "--truth", data]
    measured(command, folder / "plan.log", environment(threads))
    return table


def environment_of(given: argparse.Namespace) -> Path:
    """Of the peer."""
    return given.peer or given.work / "peers" / given.method


def asked(given: argparse.Namespace, data: Path) -> dict[str, Any]:
    """What was asked for, in full."""
    return {
        "command": typed(sys.argv[1:]),
        "recipe": given.recipe,
        "tier": given.tier,
        "seed": given.seed,
        "images": counted(data),
        **({"seen": given.seen} if given.seen else {}),
        **grid(data),
        "method": given.method,
        "label": label(given),
        "threads": given.threads,
        "simulated": json.loads((data.parent / "simulate.json").read_text(encoding="utf-8")),
    }


def typed(words: list[str]) -> str:
    """The command without what only this machine knows: where its folders are."""
    kept, skipped = [], False
    for word in words:
        own = word.partition("=")[0] in ("--work", "--json", "--peer")
        if not own and not skipped:
            kept.append("STRUCTURES" if kept and kept[-1] == "--structures" else word)
        skipped = own and "=" not in word
    return shlex.join(["python", "-m", "benchmarks.quality", *kept])


def surroundings(given: argparse.Namespace) -> dict[str, Any]:
    """Versions, machine, commit and day."""
    versions = {name: version(name) for name in ("morphem", "torch", "numpy", "numba")}
    if given.method in peers.PEERS:
        versions[given.method] = peers.PEERS[given.method].version
    return {
        "versions": versions | {"python": platform.python_version()},
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """Its name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def commit() -> str:
    """Of the repository, with a plus where files of the package differ from it."""
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src"], check=False).returncode
    return said.stdout.strip() + ("+" if changed else "")


def counted(data: Path) -> int:
    """Images of a data set."""
    return _record(data)["images"]


def grid(data: Path) -> dict[str, Any]:
    """Box and pixel size of a data set."""
    return _record(data)["grid"]


def _record(data: Path) -> dict[str, Any]:
    return json.loads((data / "truth" / "dataset.json").read_text(encoding="utf-8"))


def impersonal(row: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """The row without where this machine keeps its programs and folders."""
    text = json.dumps(row)
    places = {MORPHEM: "morphem", given.work: "quality", given.structures: "STRUCTURES"}
    for place, name in places.items():
        if place is not None and place.is_absolute():
            text = text.replace(json.dumps(str(place))[1:-1], name)
    return json.loads(text)


def append(row: dict[str, Any], path: Path) -> None:
    """Add a line to a file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""How many rigid parts CryoSPIRE finds by itself, beside how many there are; and what too many cost.

python -m benchmarks.parts                              1, 2, 3, 5 and 8 parts, two seeds
python -m benchmarks.parts --parts 3 --counts 5 64      as many as it is told

Run from the top of the repository. The molecule is built here: a core, and lobes that each turn about an axis
of their own, as independently as four coordinates allow; more, and the default latents could not tell them
all. What is there already is used again, images and finished runs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmarks.peers.process import Usage, environment, measured
from benchmarks.quality import MORPHEM, commit, processor
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.ensembles import Bodies, Coordinate, PointEnsemble
from morphem.simulate.hinge import SCALE, packed
from morphem.simulate.matter import GaussianMatter
from morphem.simulate.motions import TableMotion
from morphem.simulate.options import Conditions

RESULTS = Path(__file__).parent / "results" / "parts.json"
MOST = 8  # parts of the molecule
MODES = 4  # independent coordinates of its states: as wide as the default latent
STATES = 64  # conformations
SWING = math.radians(35)  # of a lobe to either side, at most
_EXTENT = 256.0  # Å, side of the box
_CORE = ((0, 0, 0, 24), (-9, 10, -6, 15), (8, -7, 12, 15))  # balls: x, y, z, radius, Å
_AWAY, _PIVOT = 54.0, 26.0  # Å from the origin: a lobe's middle, and a point on its axis


def main() -> int:
    given = arguments().parse_args()
    cases = [(parts, count, seed) for parts in given.parts for count in given.counts for seed in given.seeds]
    for parts, count, seed in cases:
        row = measured_case(given, parts, count, seed)
        keep(row, given.json)
        print(json.dumps({name: row[name] for name in ("parts", "count", "seed", "found", "scores")}))
    return 0


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3, 5, 8], help="that there are")
    parser.add_argument("--counts", type=int, nargs="+", default=[0], help="told; 0 lets the method choose")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of data and method")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--box", type=int, default=40, help="pixels over 256 Å")
    parser.add_argument("--snr", type=float, default=0.2)
    parser.add_argument("--work", type=Path, default=Path("parts"), help="folder for data and results")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file that the rows go to")
    return parser


def measured_case(given: argparse.Namespace, parts: int, count: int, seed: int) -> dict[str, Any]:
    """One row: what was asked, what was found, and what it took."""
    grid = Grid(given.box, _EXTENT / given.box)
    folder = given.work / f"{parts}-parts-{given.images}x{given.box}-snr{given.snr:g}-{seed}"
    data, run = folder / "data", folder / f"run-{count}"
    if not (data / "particles.star").exists():
        conditions = Conditions(snr=given.snr, shift=grid.pixel_size)
        write_dataset(data, plan(lobed(parts), given.images, grid, seed, conditions))
    used = reconstructed(data, run, count, seed)
    judged = ("evaluate", run, "--truth", data, "-o", run / "evaluation")
    if not (run / "evaluation" / "evaluation.json").exists():
        measured([MORPHEM, *judged], folder / f"evaluate-{count}.log", environment(1))
    found = json.loads((run / "parts.json").read_text(encoding="utf-8"))["parts"]
    return {
        "parts": parts,
        "count": count,
        "seed": seed,
        "images": given.images,
        "box": grid.box,
        "pixel_size": grid.pixel_size,
        "snr": given.snr,
        "found": len(found),
        "masses": [round(part["mass"], 3) for part in found],
        "scores": scores(json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))),
        "cpu_seconds": used.record()["cpu_seconds"],
        **surroundings(),
    }


def reconstructed(data: Path, run: Path, count: int, seed: int) -> Usage:
    """A run by the real command, now or in an earlier call."""
    note = run.parent / f"{run.name}.json"
    if not note.exists():
        words = [MORPHEM, "reconstruct", "cryospire", data / "particles.star", "-o", run]
        told = ["--preset", "fast", "--seed", str(seed), "--anchors.count", str(count)]
        used = measured([*words, *told], run.parent / f"{run.name}.log", environment(1))
        note.write_text(json.dumps(used.record()) + "\n", encoding="utf-8")
    return Usage(**json.loads(note.read_text(encoding="utf-8")))


def scores(evaluation: dict[str, Any]) -> dict[str, float | None]:
    """The figures of a row; a molecule of one part has no deviation, and no Rand index of its parts."""
    maps, parts = evaluation["maps"]["by_state"], evaluation["parts"]
    figures = {
        "adjusted_rand": parts["adjusted_rand"]["value"] if parts else None,
        "deviation_fsc": maps["deviation_fsc"]["value"],
        "ceiling": maps["deviation_fsc"]["ceiling"],
        "auc": maps["auc"]["value"],
        "auc_ceiling": maps["auc"]["ceiling"],
        "auc_by_image": evaluation["maps"]["by_image"]["auc"]["value"],
    }
    return {name: None if value is None else round(value, 4) for name, value in figures.items()}


def lobed(parts: int) -> PointEnsemble:
    """A core and ``parts − 1`` lobes, the same on every call; states are drawn once, at random.

    A lobe turns about an axis through the core's rim by an angle that is one coordinate of the state, or,
    beyond the fourth lobe, a mixture of all four.
    """
    if not 1 <= parts <= MOST:
        raise ValueError(f"{parts} parts; the molecule has 1 to {MOST}")
    generator = torch.Generator().manual_seed(11)
    directions = spread_directions(MOST - 1)[: parts - 1]
    pieces = [packed(_CORE, generator)]
    pieces += [_AWAY * direction + packed(_lobe(generator), generator) for direction in directions]
    labels = torch.cat([torch.full((len(piece),), body) for body, piece in enumerate(pieces)])
    centres = torch.cat(pieces)
    amplitudes = 0.4 + 1.2 * torch.rand(len(centres), generator=generator)
    matter = GaussianMatter(torch.full_like(amplitudes, SCALE), amplitudes)
    states = STATES if parts > 1 else 1
    keys, shares = torch.arange(states).float(), torch.full((states,), 1 / states)
    poses = swung(directions, states)
    motion = TableMotion(centres, labels, keys, shares, poses, (Coordinate("state", "label"),))
    return PointEnsemble(f"{parts} parts", matter, motion)


def swung(directions: Tensor, states: int) -> Bodies:
    """Poses ``[states, parts]`` of the core, which stands, and of a lobe in each direction."""
    generator = torch.Generator().manual_seed(13)
    coordinates = 2 * torch.rand(states, MODES, generator=generator) - 1
    weights = torch.nn.functional.normalize(torch.randn(MOST - 1, MODES, generator=generator), dim=1)
    weights[:MODES] = torch.eye(MODES)
    axes = torch.nn.functional.normalize(torch.randn(MOST - 1, 3, generator=generator), dim=1)
    rotation = torch.eye(3).repeat(states, len(directions) + 1, 1, 1)
    offset = torch.zeros(states, len(directions) + 1, 3)
    for lobe, direction in enumerate(directions, 1):
        angle = SWING * coordinates @ weights[lobe - 1]
        # a swing, not a spin: the axis stands across the arm
        axis = axes[lobe - 1] - direction * (axes[lobe - 1] @ direction)
        turn = from_rotation_vector(angle[:, None] * torch.nn.functional.normalize(axis, dim=0))
        pivot = _PIVOT * direction
        rotation[:, lobe], offset[:, lobe] = turn, pivot - turn @ pivot
    return Bodies(rotation, offset, torch.ones(states, len(directions) + 1))


def spread_directions(count: int) -> Tensor:
    """Unit vectors on a Fibonacci spiral."""
    z = 1 - (2 * torch.arange(count) + 1) / count
    turn = torch.arange(count) * math.pi * (3 - math.sqrt(5))
    across = (1 - z.square()).sqrt()
    return torch.stack([across * turn.cos(), across * turn.sin(), z], 1)


def _lobe(generator: torch.Generator) -> tuple[tuple[float, float, float, float], ...]:
    """Three balls, unlike their mirror image and every other lobe."""
    places = 10 * torch.randn(2, 3, generator=generator)
    return (
        (0, 0, 0, 16),
        *((*place.tolist(), radius) for place, radius in zip(places, (12, 9), strict=True)),
    )


def surroundings() -> dict[str, Any]:
    """Versions, machine, commit and day."""
    return {
        "versions": {name: version(name) for name in ("morphem", "torch", "numpy")},
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def keep(row: dict[str, Any], path: Path) -> None:
    """Put a row into a file in place of an older one of the same case."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    case = ("parts", "count", "seed", "images", "box", "snr")
    rows = [other for other in rows if any(other[name] != row[name] for name in case)] + [row]
    rows.sort(key=lambda each: [each[name] for name in case])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

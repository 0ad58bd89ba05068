"""A result as a scene: the record that a page reads, and the arrays beside it."""

from __future__ import annotations

import base64
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

import morphem
from morphem.core.fourier import resize_map
from morphem.core.types import Volume
from morphem.report.drawing import COLOURS
from morphem.report.scene.agreement import Measured, measure_states
from morphem.report.scene.columns import latent_names, told_columns
from morphem.report.scene.curves import coverage_of, curves_of
from morphem.report.scene.exhibits import Exhibit, Exhibits, arrays_of, exhibits_of, fitted, packed_size
from morphem.report.scene.findings import VERDICTS, Evidence, Finding, findings_of
from morphem.report.scene.frame import Frame
from morphem.report.scene.leakage import leaks_of
from morphem.report.scene.options import USUAL, SceneOptions
from morphem.report.scene.records import plain, scene_map
from morphem.report.scene.render import surface_pictures
from morphem.report.scene.shown import Shown
from morphem.report.scene.states import Axes, Line, axes_of, states_of
from morphem.report.scene.table import plots_of, table_of

_PICTURE = 100_000  # bytes of a state's three, reckoned beforehand
_TRIES = 3  # at a size, of which the pictures' share is known afterwards


@dataclass(frozen=True)
class Scene:
    """What ``web/src/scene.ts`` declares.

    Attributes:
        record: The scene, as JSON holds it.
        arrays: By the names that references in the record have; uint8, int32 or float32, C order.
    """

    record: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def build_scene(
    shown: Shown,
    options: SceneOptions = USUAL,
    live: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Scene:
    """The scene of a result.

    A page on disk holds a share of very many particles, columns then of those alone, with numbers to four
    digits; and maps coarse enough for its size. Both are told among the findings.

    Args:
        shown: The result.
        options: What to show.
        live: For a server, which holds all particles and needs no small page; its page can ask for more.
        tell: Is told what has been done.
    """
    say = _clocked(tell)
    axes = axes_of(shown.latents, options.steps) if len(shown.latents) else None
    states = states_of(shown.latents, options.states) if shown.decode and len(shown.latents) else None
    columns = told_columns(shown, axes, states)
    exhibits = exhibits_of(shown, states, axes, options, say)
    measured, evidence = _examined(shown, axes, exhibits, options)
    known = sum(each is not None for each in measured)
    say(f"{known} of {len(measured)} states held against their images")
    names = [each.name for each in shown.fixed] if exhibits.found is None else list(exhibits.found.names)
    table, arrays = table_of(columns, len(shown.latents), None if live else options)
    record = {
        "schema": 1,
        "live": live,
        "title": shown.title,
        "subtitle": shown.subtitle,
        "summary": [list(pair) for pair in shown.summary],
        "curves": curves_of(shown, measured[: len(names)], names[: len(measured)]),
        "particles": {
            **table,
            "plots": plots_of(columns),
            "latent": latent_names(shown),
        },
        "parts": [_part(row) for row in _rows(shown.record.get("parts"))],
        "coverage": coverage_of(shown, columns),
        "commands": [{"purpose": purpose, "command": command} for purpose, command in shown.commands],
        "citations": list(_rows(shown.record.get("citations"))),
        "versions": _versions(shown),
    }
    findings = [*findings_of(shown, evidence), *_of_drawn(table, live)]
    size = len(json.dumps(plain(record))) + sum(map(packed_size, arrays.values()))
    room = math.inf if live else 1e6 * options.megabytes - size
    maps = _within(shown, exhibits, measured, room, arrays)
    findings += _of_grid(shown, maps["maps"])
    findings.sort(key=lambda finding: VERDICTS.index(finding.verdict))
    say("maps and pictures made")
    record |= {"findings": [asdict(finding) for finding in findings], **maps}
    return Scene(plain(record), arrays)


def _clocked(tell: Callable[[str], None] | None) -> Callable[[str], None]:
    begun = time.monotonic()

    def say(text: str) -> None:
        if tell is not None:
            tell(f"{text} ({time.monotonic() - begun:.1f} s)")

    return say


def _examined(
    shown: Shown, axes: Axes | None, exhibits: Exhibits, options: SceneOptions
) -> tuple[list[Measured | None], Evidence]:
    """States held against their images, latents against the imaging."""
    found = exhibits.found
    volumes: list[Volume] = [each.volume for each in exhibits.states]
    if found is None or axes is None:
        return [None] * len(volumes), Evidence(None, leaks=leaks_of(shown, axes))
    own = volumes[: len(found.names)]
    measured, apart = measure_states(shown, found.member, own, options.measured)
    evidence = Evidence(found, measured, apart, leaks_of(shown, axes))
    return [*measured, *[None] * (len(volumes) - len(own))], evidence


def _within(
    shown: Shown,
    exhibits: Exhibits,
    measured: Sequence[Measured | None],
    room: float,
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Fields that hold maps, which with their arrays and pictures take no more than ``room`` bytes."""
    left = room - _PICTURE * len(exhibits.states)
    for last in (*[False] * _TRIES, True):
        made: dict[str, np.ndarray] = {}
        maps = _maps(shown, exhibits, measured, left, made)
        if not (last or math.isinf(room)):
            over = sum(map(packed_size, made.values())) + len(json.dumps(plain(maps))) - room
            if over > 0:
                left -= 1.1 * over
                continue
        arrays |= made
        return maps
    raise AssertionError("the last try returns")


def _maps(
    shown: Shown,
    exhibits: Exhibits,
    measured: Sequence[Measured | None],
    room: float,
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:
    """The record's fields that hold maps, whose arrays are added."""
    found = fitted(shown, exhibits, room)
    if found is None:
        return {"maps": None, "mean": None, "states": [], "series": []}
    exhibits, frame = found
    for exhibit in exhibits.all():
        arrays |= arrays_of(shown, exhibit, frame)
    counts = _counts(shown, exhibits)
    names = _names(shown, exhibits)
    states = [
        {
            **_state(shown, exhibit, each, frame, arrays),
            "name": name,
            "particles": count,
            "share": count / max(1, len(shown.latents)),
        }
        for exhibit, each, name, count in zip(exhibits.states, measured, names, counts, strict=True)
    ]
    return {
        "maps": frame.record(),
        "mean": None if exhibits.mean is None else scene_map(arrays, exhibits.mean.name),
        "states": states,
        "series": [_series(line, steps, arrays) for line, steps in exhibits.lines],
    }


def _names(shown: Shown, exhibits: Exhibits) -> list[str]:
    own = [] if exhibits.found is None else list(exhibits.found.names)
    return own + [each.name for each in shown.fixed][len(own) + len(shown.fixed) - len(exhibits.states) :]


def _counts(shown: Shown, exhibits: Exhibits) -> list[int]:
    own = [] if exhibits.found is None else exhibits.found.counts()
    return own + [0] * (len(exhibits.states) - len(own))


def _state(
    shown: Shown,
    exhibit: Exhibit,
    measured: Measured | None,
    frame: Frame,
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Fields of a state that come from its map and its images."""
    fsc = shown.record.get("fsc")
    whole = fsc.get("resolution") if isinstance(fsc, dict) and shown.latents.shape[1] == 0 else None
    labels = arrays.get(f"{exhibit.name}-labels")
    voxels = resize_map(exhibit.volume.voxels, frame.box)[frame.crop]
    numbers = None if labels is None else torch.from_numpy(labels.astype(np.int64))
    pictures = surface_pictures(voxels, frame.level, numbers)
    return {
        "latent": [] if exhibit.latent is None else exhibit.latent.tolist(),
        "resolution": measured.resolution if measured else whole,
        "agreement": measured.agreement if measured else None,
        "map": scene_map(arrays, exhibit.name),
        "pictures": [f"data:image/png;base64,{base64.b64encode(each).decode()}" for each in pictures],
    }


def _series(line: Line, steps: Sequence[Exhibit], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    frames = [
        {
            "latent": z.tolist(),
            "position": float(at),
            "particles": int(count),
            "map": scene_map(arrays, step.name),
        }
        for z, at, count, step in zip(line.latents, line.positions, line.support, steps, strict=True)
    ]
    title = f"principal component {line.number}, from its 5 % to its 95 % quantile"
    return {"name": f"PC{line.number}", "title": title, "explained": line.explained, "frames": frames}


def _part(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``parts.json``, with the share of particles in which the part is there."""
    return {
        "number": row["part"],
        "colour": COLOURS[(row["part"] - 1) % len(COLOURS)],
        "mass": row["mass"],
        "gaussians": row["gaussians"],
        "centre": row["centre"],
        "rotationDegrees": row["rotation_degrees"],
        "travel": row["travel"],
        "present": row["present"],
    }


def _rows(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _versions(shown: Shown) -> list[list[str]]:
    """Of what made the run, where it tells, and of what made the page."""
    provenance = shown.record.get("provenance")
    told = provenance if isinstance(provenance, dict) else {}
    run = [["morphem (run)", told["version"]]] if "version" in told else []
    run += [["Python (run)", told["python"]]] if "python" in told else []
    return [
        *run,
        ["morphem (page)", morphem.__version__],
        ["Python (page)", platform.python_version()],
        ["PyTorch", str(torch.__version__)],
        ["NumPy", np.__version__],
    ]


def _of_drawn(table: dict[str, Any], live: bool) -> list[Finding]:
    if live or table["drawn"] is None:
        return []
    count = table["drawn"]["shape"][0]
    text = (
        f"The page holds {count:,} of {table['count']:,} particles, drawn at random. A lasso selects among "
        "these alone; the live page, `morphem view`, holds all. Counts of states are of all particles."
    )
    return [Finding("note", "A share of the particles is drawn", text)]


def _of_grid(shown: Shown, maps: dict[str, Any] | None) -> list[Finding]:
    if maps is None or shown.grid is None or maps["box"] >= shown.grid.box:
        return []
    text = (
        f"Maps are shown on {maps['box']} voxels of {maps['pixel']:.2f} Å instead of {shown.grid.box} of "
        f"{shown.grid.pixel_size:.2f} Å, so that the page stays small; `morphem volumes` writes them in full."
    )
    return [Finding("note", "Maps are shown coarser than they are", text)]

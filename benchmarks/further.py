"""Further sections of the page of results: pace, ablations, nuisances, numbers of parts, growth of cost.

Nothing is run here: ``python -m benchmarks.table`` asks for them. Each is made of a file of results, where
there is one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONDITIONS = {
    (): "clean",
    ("contrast_spread=0.2",): "20 % spread of contrast",
    ("noise_colour=8",): "coloured noise, 8 : 1",
    ("rotation_error=2",): "2° error of poses",
    ("junk=0.1",): "10 % junk",
}
CHANGES = {
    "frames=none": "Gaussians ride on no frames",
    "solving.rounds=1": "mixture and latents take one turn, not up to six",
    "solving.rigid_epochs=0": "no passes with rigid parts, latents not told anew, no part searched for",
    "solving.latents.restarts=0": "latents climb from where they are alone",
}

Row = dict[str, Any]


def sections(results: Path) -> list[str]:
    """Those of which there are results in a folder."""
    makers = {
        "pace.json": pace,
        "ablations.jsonl": ablations,
        "robustness.jsonl": robustness,
        "parts.json": parts,
        "growth.json": growth,
    }
    texts = {name: results / name for name in makers if (results / name).exists()}
    return [makers[name](path.read_text(encoding="utf-8")) for name, path in texts.items()]


def robustness(text: str) -> str:
    """What each nuisance costs each method, in deviation FSC."""
    rows = [json.loads(line) for line in text.splitlines() if line]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    met = [name for name in CONDITIONS if any(_condition(row) == name for row in rows)]
    seeds = sorted({row["seed"] for row in rows})
    first = rows[0]
    lines = [
        "### What nuisances cost",
        "",
        f"{first['recipe']}, {first['images']:,} images of {first['box']} pixels, seeds "
        f"{', '.join(map(str, seeds))}: deviation FSC, and in brackets what is lost beside clean images, "
        "in the mean over seeds.",
        "",
        "| | " + " | ".join(CONDITIONS[name] for name in met) + " |",
        "|---" * (len(met) + 1) + "|",
    ]
    for label in labels:
        scores = {name: _by_seed(rows, label, name) for name in met}
        lines.append(f"| {label} | " + " | ".join(_lost(scores[name], scores[()]) for name in met) + " |")
    ceilings = [_by_seed(rows, labels[0], name, "ceiling") for name in met]
    lines.append("| **ceiling** | " + " | ".join(number(_mean(each)) for each in ceilings) + " |")
    return "\n".join([*lines, "", "```", *dict.fromkeys(row["command"] for row in rows), "```"])


def ablations(text: str) -> str:
    """One change at a time, and what oracles say."""
    rows = [json.loads(line) for line in text.splitlines() if line]
    sets = list(dict.fromkeys(_set(row) for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    lines = [
        "### One change at a time",
        "",
        "Deviation FSC, and AUC by image in brackets. What is *true* was told."
        f" Commits {', '.join(dict.fromkeys(row['commit'] for row in rows))}.",
        "",
        "| | " + " | ".join(sets) + " |",
        "|---" * (len(sets) + 1) + "|",
    ]
    for label in labels:
        found = {_set(row): _both(row) for row in rows if row["label"] == label}
        change = next((f": {CHANGES[each]}" for each in label.split(", ") if each in CHANGES), "")
        lines.append(f"| {label}{change} | " + " | ".join(found.get(each, "–") for each in sets) + " |")
    tops = {_set(row): _both(row, "ceiling") for row in rows}
    lines.append("| **ceiling** | " + " | ".join(tops[each] for each in sets) + " |")
    return "\n".join([*lines, "", "```", *dict.fromkeys(row["command"] for row in rows), "```"])


def pace(text: str) -> str:
    """Images a second of presets and of a peer."""
    record = json.loads(text)
    lines = [
        "### Images a second",
        "",
        f"{record['recipe']}, {record['images']:,} images of {record['box']} pixels, on one thread of "
        f"{record['machine']['processor']}, one after another, commit {record['commit']}. "
        "An image counts each time that it is looked at.",
        "",
        "| | measured | images/s | `fast` / this | all epochs take | memory |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['program']}, {row['epochs']} epochs | {row['what']} | {row['images_per_second']:g} | "
        f"{row['fast_over_this']:.0f} | {duration(row['seconds'])} | {row['peak_memory_mb'] / 1024:.1f} GiB |"
        for row in record["rows"]
    ]
    return "\n".join(
        [
            *lines,
            "",
            "```",
            f"python -m benchmarks.pace {record['recipe']} --structures STRUCTURES --peer ENVIRONMENT",
            "```",
        ]
    )


def parts(text: str) -> str:
    """How many parts were found of how many, and what too many cost."""
    rows = json.loads(text)["rows"]
    chosen, told = ([row for row in rows if (row["count"] > 0) == asked] for asked in (False, True))
    first = rows[0]
    lines = [
        "### Number of parts",
        "",
        f"A core and lobes that swing by themselves, {first['images']:,} images of {first['box']} pixels of "
        f"{first['pixel_size']:g} Å at an SNR of {first['snr']:g}; preset `fast`, "
        "count not told.",
        "",
        "| parts | seed | found | Rand index | deviation FSC | ceiling | AUC | ceiling |",
        "|---|---|---|---|---|---|---|---|",
        *(_parts_line(row, [row["parts"], row["seed"], row["found"]]) for row in chosen),
    ]
    if told:
        cases = {(row["parts"], row["seed"]) for row in told}
        beside = [row for row in rows if (row["parts"], row["seed"]) in cases]
        lines += [
            "",
            "| parts | told | in the end | Rand index | deviation FSC | ceiling | AUC | ceiling |",
            "|---|---|---|---|---|---|---|---|",
            *(_parts_line(row, [row["parts"], row["count"] or "–", row["found"]]) for row in beside),
        ]
    return "\n".join([*lines, "", "```", "python -m benchmarks.parts", "```"])


def growth(text: str) -> str:
    """Powers of images and Gaussians that cost grows with."""
    record = json.loads(text)
    lines = [
        "### How cost grows",
        "",
        "Processor seconds of one pass of the fine mixture, and of solving for all latents, 64 pixels.",
        "",
        "| images | Gaussians | pass | latents |",
        "|---|---|---|---|",
    ]
    for row in record["rows"]:
        sizes = f"| {row['images']:,} | {row['gaussians']:,} | "
        lines.append(sizes + f"{row['pass_seconds']:.2f} s | {row['latents_seconds']:.2f} s |")
    powers = record["exponents"]
    told = [f"with {axis}: {each['pass']:.2f} and {each['latents']:.2f}" for axis, each in powers.items()]
    return "\n".join([*lines, "", f"Powers that both grow with, {'; '.join(told)}."])


def _set(row: Row) -> str:
    return f"{row['recipe']}, {row['images']:,} of {row['box']} pixels, seed {row['seed']}"


def _condition(row: Row) -> tuple[str, ...]:
    return tuple(row.get("seen", ()))


def _by_seed(rows: list[Row], label: str, name: tuple[str, ...], what: str = "value") -> dict[int, float]:
    """Deviation FSC of a method under a condition."""
    chosen = [row for row in rows if row["label"] == label and _condition(row) == name and row["finished"]]
    return {row["seed"]: _deviation(row, what) for row in chosen}


def _deviation(row: Row, what: str = "value") -> float:
    return row["evaluation"]["maps"]["by_state"]["deviation_fsc"][what]


def _both(row: Row, what: str = "value") -> str:
    """Deviation FSC, and AUC by image."""
    return f"{number(_deviation(row, what))} ({number(row['evaluation']['maps']['by_image']['auc'][what])})"


def _lost(scores: dict[int, float], clean: dict[int, float]) -> str:
    told = " ".join(number(value) for value in scores.values()) or "–"
    both = [clean[seed] - scores[seed] for seed in scores if seed in clean]
    return told if scores is clean or not both else f"{told} ({number(sum(both) / len(both))})"


def _mean(scores: dict[int, float]) -> float | None:
    return sum(scores.values()) / len(scores) if scores else None


def _parts_line(row: Row, first: list[object]) -> str:
    score = row["scores"]
    still = row["parts"] == 1  # nothing moves: there is no deviation to agree on
    names = ("adjusted_rand", "deviation_fsc", "ceiling", "auc", "auc_ceiling")
    shown = ["–" if still and name in names[:3] else number(score[name]) for name in names]
    return "| " + " | ".join([*map(str, first), *shown]) + " |"


def number(value: float | None) -> str:
    """Three decimals without the nought."""
    if value is None:
        return "–"
    return f"{value:.3f}".replace("0.", ".", 1).replace("-", "−") if abs(value) < 1 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""Further sections of the page of results: nuisances, numbers of parts, growth of cost.

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

Row = dict[str, Any]


def sections(results: Path) -> list[str]:
    """Those of which there are results in a folder."""
    makers = {"robustness.jsonl": robustness, "parts.json": parts, "growth.json": growth}
    texts = {name: results / name for name in makers if (results / name).exists()}
    return [makers[name](path.read_text(encoding="utf-8")) for name, path in texts.items()]


def robustness(text: str) -> str:
    """What each nuisance costs each method, in deviation FSC."""
    rows = [json.loads(line) for line in text.splitlines() if line]
    scores = {(row["label"], tuple(row.get("seen", ()))): _deviation(row) for row in rows}
    labels = list(dict.fromkeys(row["label"] for row in rows))
    met = [name for name in CONDITIONS if any((label, name) in scores for label in labels)]
    first = rows[0]
    lines = [
        "### What nuisances cost",
        "",
        f"{first['recipe']}, {first['images']:,} images of {first['box']} pixels, seed {first['seed']}: "
        "deviation FSC, and in brackets what is lost beside clean images.",
        "",
        "| | " + " | ".join(CONDITIONS[name] for name in met) + " |",
        "|---" * (len(met) + 1) + "|",
    ]
    for label in labels:
        clean = scores.get((label, ()))
        cells = [_lost(scores.get((label, name)), clean, name == ()) for name in met]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "```", *dict.fromkeys(row["command"] for row in rows), "```"])


def parts(text: str) -> str:
    """How many parts were found of how many, and what too many cost."""
    rows = json.loads(text)["rows"]
    chosen, told = ([row for row in rows if (row["count"] > 0) == asked] for asked in (False, True))
    first = rows[0]
    lines = [
        "### Number of parts",
        "",
        f"A core and lobes that swing by themselves, {first['images']:,} images of {first['box']} pixels of "
        f"{first['pixel_size']:g} Å at an SNR of {first['snr']:g}; preset `fast` with "
        "`--anchors.by rigidity --anchors.most 16`; count not told.",
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


def _deviation(row: Row) -> float | None:
    return row["evaluation"]["maps"]["by_state"]["deviation_fsc"]["value"] if row["finished"] else None


def _lost(value: float | None, clean: float | None, is_clean: bool) -> str:
    if value is None:
        return "–"
    return _number(value) if is_clean or clean is None else f"{_number(value)} ({_number(clean - value)})"


def _parts_line(row: Row, first: list[object]) -> str:
    score = row["scores"]
    still = row["parts"] == 1  # nothing moves: there is no deviation to agree on
    names = ("adjusted_rand", "deviation_fsc", "ceiling", "auc", "auc_ceiling")
    shown = ["–" if still and name in names[:3] else _number(score[name]) for name in names]
    return "| " + " | ".join([*map(str, first), *shown]) + " |"


def _number(value: float | None) -> str:
    """Three decimals without the nought."""
    if value is None:
        return "–"
    return f"{value:.3f}".replace("0.", ".", 1).replace("-", "−") if abs(value) < 1 else f"{value:.3f}"

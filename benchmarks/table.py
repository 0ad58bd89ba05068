"""The page of results, docs/benchmarks.md, and its figure, from the lines of quality.py.

python -m benchmarks.table           writes both
python -m benchmarks.table --check   only says whether the page agrees with the results
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import further
from benchmarks.further import duration, number

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
FIGURE = HERE.parent / "docs" / "images" / "quality.png"
RESULTS = HERE / "results" / "quality.jsonl"
BEGIN, END = "<!-- results: python -m benchmarks.table -->", "<!-- end of results -->"
COLUMNS = (
    *("", "deviation FSC", "moving-region FSC", "AUC per state", "AUC per image", "latents"),
    *("wall time", "CPU time", "images/s", "memory"),
)
_MAPS = (
    ("by_state", "deviation_fsc"),
    ("by_state", "moving_region_fsc"),
    ("by_state", "auc"),
    ("by_image", "auc"),
)
_ENDS = {
    "floor": "**floor**: one map for all",
    "ceiling": "**ceiling**: true poses and motion",
    "ceiling_by_state": "each state from its own images",
}
_SHORT = {
    "adjusted_mutual_information": "AMI",
    "adjusted_rand": "ARI",
    "hungarian_accuracy": "accuracy",
}

# of rows, each with its colour; the last that a label names counts
_KINDS = (
    "backprojection",
    "quick",
    "fast",
    "true latents",
    "cryodrgn",
    "true parts",
    "paper",
)
_TICKS = {10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}

Row = dict[str, Any]


def main() -> int:
    return publish("python -m benchmarks.table", (RESULTS, PAGE, FIGURE), (read, filled, draw))


def publish(
    program: str,
    places: tuple[Path, Path, Path],
    steps: tuple[
        Callable[[Path], list[Row]], Callable[[str, list[Row]], str], Callable[[list[Row], Path], None]
    ],
) -> int:
    """Write a page and its figure from results, or with ``--check`` say whether the page agrees.

    Args:
        program: What was called.
        places: Usual ones of results, page and figure.
        steps: To read records, to fill them into the page's text, to draw them.
    """
    (results, page, figure), (read_all, fill, picture) = places, steps
    parser = argparse.ArgumentParser(prog=program, description="Write a page and its figure from results.")
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--page", type=Path, default=page)
    parser.add_argument("--figure", type=Path, default=figure)
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args()
    records, text = read_all(given.results), given.page.read_text(encoding="utf-8")
    wanted = fill(text, records)
    if given.check:
        agrees = wanted == text
        print(f"{given.page} {'agrees' if agrees else 'does not agree'} with {given.results}")
        return 0 if agrees else 1
    given.page.write_text(wanted, encoding="utf-8")
    picture(records, given.figure)
    return 0


def read(path: Path) -> list[Row]:
    """The latest line of each method, data set and seed, in the order in which they first came."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return list({(*data_set(row), row["seed"], row["label"]): row for row in lines}.values())


def data_set(row: Row) -> tuple[str, str, int]:
    """What tells data sets apart, seeds aside."""
    return row["recipe"], row["tier"], row["images"]


def grouped(rows: Iterable[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Rows by data set."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault(data_set(row), []).append(row)
    return groups


def filled(page: str, rows: Sequence[Row]) -> str:
    """The page with the results between its two markers."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    sections = [section(name, group) for name, group in grouped(rows).items()]
    told = [*sections, *further.sections(HERE / "results"), *([machines(rows)] if rows else [])]
    return "\n\n".join([before + BEGIN, *told, END + after])


def section(name: tuple[str, str, int], rows: list[Row]) -> str:
    """A data set's heading, table, and how each row was made."""
    recipe, tier, images = name
    first = rows[0]
    extent = f"{first['box']} pixels of {first['pixel_size']:g} Å"
    title = f"### {recipe}, {tier}: {images:,} images of {extent}"
    lines = [title, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    scored = [row for row in rows if row["finished"]]
    lines += [_end_line(end, scored[0]) for end in ("floor",) if scored]
    lines += [_line(group) for group in _by_label(scored)]
    lines += [_end_line(end, scored[0]) for end in ("ceiling", "ceiling_by_state") if scored]
    lines += ["", *_remarks(rows), "", "```", *dict.fromkeys(row["command"] for row in rows), "```"]
    return "\n".join(lines)


def _remarks(rows: list[Row]) -> list[str]:
    """How long simulation took, to which shell correlations are averaged, and what came to no end."""
    scored = [row for row in rows if row["finished"]]
    made = rows[0]["simulated"]["seconds"]
    told = [f"Simulated in {duration(made)} on {_processors(rows[0])}."]
    if scored:
        last = scored[0]["evaluation"]["shells"]["resolution_angstrom"]
        told.append(f"Correlations are means to {last:.3g} Å, in brackets 95 % over states.")
    told += [f"No result: {row['label']}: {row['why']}." for row in rows if not row["finished"]]
    return [" ".join(told)]


def machines(rows: Sequence[Row]) -> str:
    """On what, and with which versions, the tables were made."""
    lines = []
    for row in rows:
        where = f"{row['machine']['processor']}, {row['machine']['cores']} cores, {row['machine']['system']}"
        versions = {k: v for k, v in row["versions"].items() if k not in ("cryodrgn", "recovar")}
        what = ", ".join(f"{name} {number}" for name, number in versions.items())
        lines.append(f"{where}; {what}; commits {{}}")
    commits = {line: [] for line in lines}
    for line, row in zip(lines, rows, strict=True):
        commits[line].append(row["commit"])
    told = [f"- {line.format(', '.join(dict.fromkeys(commits[line])))}." for line in commits]
    peers = {
        f"{name} {row['versions'][name]}"
        for row in rows
        for name in ("cryodrgn", "recovar")
        if name in row["versions"]
    }
    return "\n".join(
        ["### Machine and versions", "", *told, *([f"- {', '.join(sorted(peers))}."] if peers else [])]
    )


def _by_label(rows: list[Row]) -> list[list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["label"], []).append(row)
    return list(groups.values())


def _line(rows: list[Row]) -> str:
    """One method; its seeds side by side."""
    cells = [named(*rows)]
    cells += [" ".join(_score(row, *key, alone=len(rows) == 1) for row in rows) for key in _MAPS]
    cells.append("; ".join(dict.fromkeys(latent_words(rows[0]))))
    cells.append(" ".join(duration(row["seconds"]) for row in rows))
    cells.append(" ".join(duration(row["cpu_seconds"]) for row in rows))
    cells.append(" ".join(_rate(row["images_per_second"]) for row in rows))
    cells.append(f"{max(row['peak_mib'] for row in rows) / 1024:.1f} GiB")
    return "| " + " | ".join(cells) + " |"


def named(*rows: Row) -> str:
    """The method as the table calls it, with the epochs that it came to, fewest to most."""
    words = [word for word in rows[0]["label"].split(", ") if not word.endswith("epochs")]
    epochs = sorted(row["epochs"] for row in rows if row.get("epochs"))
    told = f"{' to '.join(map(str, dict.fromkeys((epochs[0], epochs[-1]))))} epochs" if epochs else ""
    return ", ".join([words[0], *([told] if told else []), *words[1:]])


def _end_line(end: str, row: Row) -> str:
    """Floor or ceiling of every score that has one."""
    maps = row["evaluation"]["maps"]
    cells = [number(maps.get(series, {}).get(score, {}).get(end)) for series, score in _MAPS]
    return "| " + " | ".join([_ENDS[end], *cells, *[""] * (len(COLUMNS) - 1 - len(cells))]) + " |"


def _score(row: Row, series: str, name: str, alone: bool) -> str:
    score = row["evaluation"]["maps"].get(series, {}).get(name, {})
    told = number(score.get("value"))
    if alone and series == "by_state" and score.get("interval"):
        low, high = score["interval"]
        return f"{told} [{number(low)}, {number(high)}]"
    return told


def latent_words(row: Row) -> list[str]:
    """What latents know, one phrase for each coordinate and for bodies that some particles lack."""
    latents = row["evaluation"]["latents"]
    if latents is None:
        return ["–"]
    words = []
    for name, scores in latents["coordinates"].items():
        words += _coordinate_words(name, scores)
    known = [
        body["occupancy_auroc"]["value"] for body in latents["bodies"].values() if "occupancy_auroc" in body
    ]
    if known:
        words.append(f"presence AUROC {number(sum(known) / len(known))}")
    clusters = [
        f"{short} {number(latents['clusters'][n]['value'])}"
        for n, short in _SHORT.items()
        if n in latents["clusters"]
    ]
    return words + clusters[:1]


def _coordinate_words(name: str, scores: Row) -> list[str]:
    short, _, unit = name.partition(" (")
    words = []
    if "rank_correlation" in scores:
        words.append(f"{short} rank {number(scores['rank_correlation']['value'])}")
    if "error_median" in scores:
        scale, sign = (math.degrees(1), "°") if unit == "rad)" else (1, "")
        error, bound = scores["error_median"]["value"], scores["error_median"].get("ceiling")
        limit = "" if bound is None else f" (bound {bound * scale:.2g}{sign})"
        words.append(f"{short} ±{error * scale:.2g}{sign}{limit}")
    return words


def _processors(row: Row) -> str:
    return "one thread" if row["threads"] == 1 else f"{row['threads']} threads"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def draw(rows: Sequence[Row], path: Path) -> None:
    """For each data set, deviation FSC by resolution, and what it came to against the time that it took."""
    import matplotlib.pyplot as plt

    groups = {name: [r for r in group if r["finished"]] for name, group in grouped(rows).items()}
    groups = {name: group for name, group in groups.items() if group}
    if not groups:
        return
    figure, axes = plt.subplots(len(groups), 2, figsize=(13, 3.4 * len(groups)), squeeze=False)
    for (name, group), (left, right) in zip(groups.items(), axes, strict=True):
        draw_curves(left, group)
        draw_times(right, group)
        handles = left.get_legend_handles_labels()
        right.legend(*handles, fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1), edgecolor="none")
        left.set_title(f"{name[0]}, {name[1]}: {name[2]:,} images of {group[0]['box']} pixels", loc="left")
    axes[0][1].set_title("what it took", loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_curves(axes: Any, rows: list[Row]) -> None:
    """Pooled deviation FSC by resolution; a dotted line where shells cease to count."""
    first = rows[0]
    extent, last = first["box"] * first["pixel_size"], first["evaluation"]["shells"]["last"]
    ceiling = first["evaluation"]["curves"].get("ceiling")
    if ceiling is not None:
        curve = ceiling["deviation_fsc"]
        axes.plot(_frequencies(curve, extent), curve[1:], color="0.6", linestyle="--", label="ceiling")
    told = set()
    for row, colour in zip(rows, _colours(rows), strict=True):
        curve = row["evaluation"]["curves"]["found"]["deviation_fsc"]
        alike = [other for other in rows if other["label"] == row["label"]]
        label = None if row["label"] in told else named(*alike)
        axes.plot(_frequencies(curve, extent), curve[1:], color=colour, label=label)
        told.add(row["label"])
    axes.axvline(last / extent, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xlabel="spatial frequency, 1/Å", ylabel="deviation FSC", ylim=(-0.1, 1.03))


def _frequencies(curve: list[float], extent: float) -> list[float]:
    """1/Å of every shell but the first, which is the mean of the map."""
    return [shell / extent for shell in range(1, len(curve))]


def draw_times(axes: Any, rows: list[Row]) -> None:
    """Mean deviation FSC with its interval against wall time; the ceiling as a line."""
    for row, colour in zip(rows, _colours(rows), strict=True):
        score = row["evaluation"]["maps"]["by_state"]["deviation_fsc"]
        low, high = score.get("interval") or (score["value"], score["value"])
        ends = [[max(score["value"] - low, 0)], [max(high - score["value"], 0)]]
        axes.errorbar(row["seconds"], score["value"], ends, fmt="o", color=colour, capsize=3)
    ceiling = rows[0]["evaluation"]["maps"]["by_state"]["deviation_fsc"].get("ceiling")
    if ceiling is not None:
        axes.axhline(ceiling, color="0.6", linewidth=0.8, linestyle="--")
        axes.annotate("ceiling", (1, ceiling), (-2, 2), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=7, color="0.4")  # fmt: skip
    times = [row["seconds"] for row in rows]
    axes.set(xscale="log", xlabel="wall time", ylabel="mean deviation FSC", ylim=(-0.1, 1.03))
    axes.set_xticks(*zip(*_TICKS.items(), strict=True))
    axes.minorticks_off()
    axes.set_xlim(min(times) / 3, max(times) * 3)


def _colours(rows: list[Row]) -> list[str]:
    """One for each kind of row, the same in every data set."""
    kinds = [[index for index, kind in enumerate(_KINDS) if kind in row["label"]] for row in rows]
    return [f"C{found[-1] if found else len(_KINDS)}" for found in kinds]


if __name__ == "__main__":
    sys.exit(main())

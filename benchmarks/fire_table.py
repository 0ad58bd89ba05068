"""The page of cryoFIRE's results, docs/cryofire.md, and its figure, from the records of fire.py.

python -m benchmarks.fire_table           writes both
python -m benchmarks.fire_table --check   only says whether the page agrees with the results
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.further import duration
from benchmarks.table import publish

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "cryofire.md"
FIGURE = HERE.parent / "docs" / "images" / "cryofire.png"
RESULTS = HERE / "results" / "fire.json"
BEGIN, END = "<!-- results: python -m benchmarks.fire_table -->", "<!-- end of results -->"
POSES = ("", "rotation °", "view °", "shift px", "beyond 10°", "map px", "CPU time", "memory", "passed")
STATES = (
    "",
    "rotation °, by state",
    "confusion",
    "by threshold",
    "Spearman",
    "map px, common / rare",
    "directions",
    "CPU time",
    "passed",
)
LOOKS = ("", "ms an image", "GFLOP an image")
# Levy et al. 2022, Table 1: 80S, 128 pixels, −10 dB, 90/10, one A100.
PUBLISHED = (
    ("published, 50k", "2.3", ".09", "4e-4", "2.6 / 3.2", "1:33 h on an A100"),
    ("published, 500k", "2.7", ".1", "8e-4", "2.7 / 3.2", "1:28 h on an A100"),
    ("published, 5M", "1.5", ".1", "2e-4", "2.3 / 2.7", "1:55 h on an A100"),
)

Record = dict[str, Any]


def main() -> int:
    return publish("python -m benchmarks.fire_table", (RESULTS, PAGE, FIGURE), (read, filled, draw))


def read(path: Path) -> list[Record]:
    """All records."""
    return json.loads(path.read_text(encoding="utf-8"))["records"] if path.exists() else []


def filled(page: str, records: Sequence[Record]) -> str:
    """The page with the results between its two markers."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    done = [record for record in records if record.get("finished")]
    ladder = [record for record in done if record["test"] != "T1"]
    parts = [
        *_part("Poses from images alone", POSES, pose_line, ladder),
        *_part("States", STATES, state_line, [record for record in ladder if record["states"] > 1]),
        *_published([record for record in done if record["test"] == "T1"]),
        *_looks([record for record in records if record["test"] == "cost"]),
        *_unfinished(records),
        *([machines(records)] if records else []),
    ]
    return "\n\n".join([before + BEGIN, *parts, END + after])


def grouped(records: Iterable[Record]) -> list[list[Record]]:
    """Records that differ by seed alone, in the order of the ladder."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in sorted(records, key=lambda each: (each["test"], each["seed"])):
        key = [record[name] for name in ("test", "variant", "molecule", "box", "images", "method")]
        groups.setdefault((*key, *record["options"]), []).append(record)
    return list(groups.values())


def _part(
    title: str, columns: Sequence[str], told: Callable[[list[Record]], list[str]], records: list[Record]
) -> list[str]:
    """A heading and a table with a line for each group; nothing without records."""
    return [f"### {title}\n\n{table(columns, map(told, grouped(records)))}"] if records else []


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def pose_line(records: list[Record]) -> list[str]:
    """Medians over the seeds, in brackets of who attains the bound."""
    return [
        named(records),
        *(beside_bound(records, f"{name}.median") for name in ("rotation_deg", "view_deg", "shift_px")),
        share(middle(record["poses"]["beyond_10_deg"] for record in records)),
        f"{middle(record['maps']['commonest']['resolution_px'] for record in records):.2f}",
        seconds(middle(record["cpu_seconds"] for record in records)),
        f"{max(record['peak_mib'] for record in records) / 1024:.1f} GiB",
        passed(records),
    ]


def state_line(records: list[Record]) -> list[str]:
    """Medians over the seeds."""
    latents = [record["latents"] for record in records]
    ends = [
        f"{middle(r['maps'][end]['resolution_px'] for r in records):.2f}" for end in ("commonest", "rarest")
    ]
    return [
        named(records),
        by_state([record["poses"] for record in records]),
        *(
            share(middle(each[name] for each in latents)) if name in latents[0] else "–"
            for name in ("confusion", "confusion_by_threshold")
        ),
        f"{middle(each['spearman'] for each in latents):.3f}",
        " / ".join(ends),
        " ".join(str(each["width"]) for each in latents),
        seconds(middle(record["cpu_seconds"] for record in records)),
        passed(records),
    ]


def by_state(poses: list[Record]) -> str:
    """Median error of the rotation where each state has a frame of its own."""
    if any("by_state" not in each for each in poses):
        return "–"
    return f"{middle(each['by_state']['rotation_deg']['median'] for each in poses):.2g}"


def _published(records: list[Record]) -> list[str]:
    """The 90/10 mixture at half the published box, beside the published figures."""
    if not records:
        return []
    columns = ("", "view °, median", "shift px², median", "confusion by threshold", "map px", "time")
    rows = []
    for group in grouped(records):
        first = group[0]
        rows.append(_table_row(named(group), first, first, duration(first["cpu_seconds"]) + " CPU"))
        if "held_out" in first and isinstance(first["held_out"], dict):
            unseen = first["held_out"]
            told = f"{unseen['cpu_ms_per_image']:.0f} CPU-ms an image"
            rows.append(_table_row(f"– {unseen['images']:,} unseen", unseen, first, told))
    title = f"### The published mixture, at {records[0]['box']} pixels"
    return [f"{title}\n\n{table(columns, [*rows, *PUBLISHED])}"]


def _table_row(name: str, record: Record, maps: Record, took: str) -> list[str]:
    ends = [f"{maps['maps'][end]['resolution_px']:.2f}" for end in ("commonest", "rarest")]
    return [
        name,
        f"{record['poses']['view_deg']['median']:.2f}",
        f"{record['poses']['shift_px2']['median']:.2g}",
        share(record["latents"]["confusion_by_threshold"]),
        " / ".join(ends),
        took,
    ]


def _looks(records: list[Record]) -> list[str]:
    """What one look at an image costs."""
    names = {
        "paper_training": "published method, a training step",
        "paper_encoder": "published method, the encoder alone",
        "start": "step of a start from random poses: posterior of all rotations and shifts",
        "search": "search of all rotations and shifts",
        "refinement": "refinement at the finest frequencies",
    }
    rows = []
    for box in (box for record in records for box in record["boxes"]):
        for key, name in ((key, name) for key, name in names.items() if key in box):
            flop = f"{box[key]['gflop']:.2g}" if "gflop" in box[key] else "–"
            steps = f", {box[key]['steps']} steps" if "steps" in box[key] else ""
            rows.append([f"{name}{steps}, {box['box']} pixels", f"{box[key]['ms']:.3g}", flop])
    return [f"### One look at an image, one thread\n\n{table(LOOKS, rows)}"] if rows else []


def _unfinished(records: Sequence[Record]) -> list[str]:
    told = [f"- {named([r])}, seed {r['seed']}: {r['why']}" for r in records if not r.get("finished", True)]
    return ["### No result\n\n" + "\n".join(told)] if told else []


def machines(records: Sequence[Record]) -> str:
    """Commands, and on what and with which versions they ran."""
    lines = []
    for record in records:
        machine, versions = record["machine"], record["versions"]
        what = ", ".join(f"{name} {number}" for name, number in versions.items())
        lines.append(f"- {machine['processor']}, one thread of {machine['cores']} cores; {what}.")
    commits = ", ".join(dict.fromkeys(record["commit"] for record in records))
    loads = [load for record in records for load in record.get("load", [])]
    busy = f"- Processes that wanted the processor: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    commands = dict.fromkeys(record["command"] for record in records if "command" in record)
    told = [*dict.fromkeys(lines), f"- Commits {commits}.", busy, "", "```", *commands, "```"]
    return "\n".join(["### Machine, versions and commands", "", *told])


def named(records: list[Record]) -> str:
    """The test, its set, and how many seeds."""
    first = records[0]
    seeds = f"{len(records)} seeds" if len(records) > 1 else f"seed {first['seed']}"
    what = f"{first['molecule']}, {first['images']:,} × {first['box']}², SNR {first['snr']:g}, {seeds}"
    method = "" if first["method"] == "fast" else f", {first['method']}, {_looked_at(first):,} looks"
    variant = f", {first['variant']}" if first["variant"] else ""
    return f"**{first['test']}**{variant}: {what}{method}"


def _looked_at(record: Record) -> int:
    words = record["options"]
    return sum(int(words[k + 1]) for k, word in enumerate(words) if word.endswith("-images"))


def beside_bound(records: list[Record], name: str) -> str:
    """Median over seeds of an error, and of the bound."""
    kind, part = name.split(".")
    found, least = (middle(record[side][kind][part] for record in records) for side in ("poses", "bound"))
    return f"{found:.2g} ({least:.2g})"


def passed(records: list[Record]) -> str:
    """How many seeds passed, and what the others missed; with what no method can reach marked."""
    missed = {
        f"{name.split('.')[-2] if name.endswith('median') else name.split('.')[-1]} ≤ {check['limit']:g}"
        + (" (below the bound)" if check.get("bound", 0) > check["limit"] else "")
        for record in records
        for name, check in record["checks"].items()
        if not check["ok"]
    }
    count = f"{sum(record['passed'] for record in records)}/{len(records)}"
    warned = sum(bool(record["warnings"]) for record in records)
    told = [f"warned {warned}"] if warned else []
    return "; ".join([count, *told, *(f"missed {each}" for each in sorted(missed))])


def seconds(value: float) -> str:
    """Seconds, and minutes or hours where they are many."""
    return f"{value:.0f} s" if value < 600 else duration(value)


def middle(values: Iterable[float]) -> float:
    """Median."""
    return statistics.median(values)


def share(value: float) -> str:
    """A share of particles."""
    return f"{value:.1e}".replace("e-0", "e-") if 0 < value < 0.001 else f"{value:.2g}"


def called(record: Record) -> str:
    """What the picture calls a group of runs."""
    words = record["test"], record["variant"], record["molecule"], record["method"]
    return " ".join(word for word in words if word)


def draw(records: Sequence[Record], path: Path) -> None:
    """Errors over the bound, correlation with the true map by frequency, and latents by true state."""
    import matplotlib.pyplot as plt

    groups = grouped(record for record in records if record.get("finished"))
    if not groups:
        return
    figure, (left, right, last) = plt.subplots(1, 3, figsize=(16, 4.4))
    ratios_of_all: list[float] = []
    for k, group in enumerate(groups):
        name = called(group[0])
        for record in group:
            ratios = [
                record["poses"][kind]["median"] / record["bound"][kind]["median"]
                for kind in ("rotation_deg", "shift_px")
            ]
            left.plot([k - 0.1, k + 0.1], ratios, "o", color=f"C{k % 10}")
            ratios_of_all += ratios
        fsc = group[0]["maps"]["by_state"][0]["fsc"]
        box = group[0]["box"]
        right.plot([s / box for s in range(1, len(fsc))], fsc[1:], color=f"C{k % 10}", label=name)
    left.axhline(1, color="0.6", linewidth=0.8)
    left.set(yscale="log", ylim=(0.5, 2 * max(ratios_of_all)), title="median errors over the bound")
    left.yaxis.set_major_formatter("{x:g}")
    if max(ratios_of_all) < 10:  # within one decade the ticks between its ends are all there is to read
        left.yaxis.set_minor_formatter("{x:g}")
    left.set_xticks(range(len(groups)), [called(group[0]) for group in groups], rotation=60, ha="right")
    left.tick_params(axis="x", labelsize=7)
    right.axhline(0.5, color="0.6", linewidth=0.8)
    right.set(xlabel="frequency, 1/pixel", ylabel="correlation with the true map", ylim=(-0.1, 1.03))
    draw_states(last, [group[0] for group in groups])
    handles = right.get_legend_handles_labels()
    last.legend(*handles, fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.05))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_states(axes: Any, records: list[Record]) -> None:
    """Median of the first component of the latents, and 90 % of the particles, against the true state."""
    known = [(k, record) for k, record in enumerate(records) if record.get("first_component")]
    for k, record in known:
        low, middle_, high = zip(*record["first_component"], strict=True)
        state = [index / (len(low) - 1) for index in range(len(low))]
        axes.fill_between(state, low, high, color=f"C{k % 10}", alpha=0.2, linewidth=0)
        axes.plot(state, middle_, "o-", color=f"C{k % 10}", markersize=3, label=called(record))
    axes.set(xlabel="true state, first to last", ylabel="first component of the latents")
    axes.set_title("latents: median and 90 % of particles")


if __name__ == "__main__":
    sys.exit(main())

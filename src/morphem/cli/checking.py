"""The command that looks at particles before a run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from morphem.cli.commands import ParticleOptions
from morphem.report.options import CheckConfig

if TYPE_CHECKING:
    from morphem.report.check import CheckReport

_COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}


@dataclass(frozen=True)
class CheckOptions:
    """Whether poses, signs, units and CTF agree with the images; exit status 1 if they do not."""

    source: Annotated[ParticleOptions, tyro.conf.arg(name="")]
    """The particles."""
    config: Annotated[CheckConfig, tyro.conf.arg(name="")] = field(default_factory=CheckConfig)
    """What to hold them against."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("check")
    """Folder for report.json, backproject.mrc and check.png."""
    json: bool = False
    """Print JSON."""


def check(arguments: list[str]) -> int:
    """Check a particle file; 1 if something speaks against a run."""
    options = tyro.cli(CheckOptions, args=arguments, prog="morphem check")
    from morphem.data.stack import open_stack
    from morphem.report.check import check_particles

    source = options.source
    report = check_particles(open_stack(source.particles, source.input, source.crop), options.config)
    report.save(options.out)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        show_report(report, Console(highlight=False), options.out)
    return int(not report.ok)


def show_report(report: CheckReport, console: Console, out: Path) -> None:
    """Print facts, the readings ranked, the shift matrix, findings with their fixes, and the verdict."""
    table = Table.grid(padding=(0, 2))
    for name, value in report.facts.items():
        table.add_row(f"[dim]{name}[/dim]", value)
    console.print(table)
    if report.variants:
        console.print(_ranked(report))
    if report.shifts is not None and report.shifts.recorded:
        (a, b), (c, d) = report.shifts.matrix
        console.print(
            f"shifts: measured = \\[{a:.2f} {b:.2f}; {c:.2f} {d:.2f}] × recorded ({report.shifts.name})"
        )
    if report.optics is not None:
        best = report.optics.readings[0]
        console.print(f"CTF: best {best.name}; defocus × {report.optics.defocus_scale:g}")
    for finding in report.findings:
        colour = _COLOURS[finding.level]
        code = f"{'E-' if finding.level == 'error' else ''}{finding.code}"
        fix = f"\n    → {finding.fix}" if finding.fix else ""
        console.print(f"[{colour}]{code}[/] {escape(finding.message + fix)}")
    console.print(
        "[bold green]ok[/]" if report.ok else "[bold red]poses, units or images are wrong[/]", end="; "
    )
    console.print(f"more in {out}")


def _ranked(report: CheckReport) -> Table:
    table = Table(title="which reading of the poses the images agree with", title_justify="left")
    for name in ("reading", "half-map FSC", "FSC to reference", "agreement", "gain (s.e.)"):
        table.add_column(name, justify="left" if name == "reading" else "right", no_wrap=name == "reading")
    for each in report.variants:
        style = "bold" if each.name == "as declared" else None
        numbers = (
            f"{each.halves:.2f}",
            f"{each.consensus:.2f}",
            f"{each.agreement:.2f}",
            f"{each.gain:+.1f}",
        )
        table.add_row(each.name, *numbers, style=style)
    return table

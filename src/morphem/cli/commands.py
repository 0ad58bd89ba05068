"""Each command as a few lines over the Python API."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from morphem.cli.show import show_rows


@dataclass(frozen=True)
class DoctorOptions:
    """What this machine offers, and what would stop a run on it."""

    folder: Annotated[Path, tyro.conf.Positional] = Path()
    """Where runs would be written."""
    json: bool = False
    """Print JSON."""


def doctor(arguments: list[str]) -> int:
    """Examine the machine; 1 if something would stop a run."""
    from morphem.report.doctor import examine

    options = tyro.cli(DoctorOptions, args=arguments, prog="morphem doctor")
    findings = examine(options.folder)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show_rows([(finding.name, finding.value, finding.problem) for finding in findings])
    return int(any(finding.problem for finding in findings))

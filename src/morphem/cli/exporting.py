"""The commands that name a subset of a run's particles, and that hand a run on to other programs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from morphem.cli.commands import Argument
from morphem.cli.show import show_rows


@dataclass(frozen=True)
class SelectOptions:
    """Name a subset of a run's particles; all criteria that are given must hold.

    Then --and, --or and --not bring in other selections, in this order. A selection is kept in
    RUN/select/NAME.json; `morphem export RUN --select NAME` writes its particles.
    """

    run: Argument[Path]
    """Folder of a finished run."""
    out: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """Name of the selection."""
    columns: bool = False
    """List the columns that --expr may ask for, and select nothing."""
    expr: str = ""
    """Condition on the run's columns, as "z1 > 0.5 and cluster in (3, 4)"; also percentile(z1, 95), min, max,
    mean, median, std, abs, known, and column("a name"). --columns lists the columns."""
    cluster: tuple[str, ...] = ()
    """Clusters, by number."""
    state: tuple[str, ...] = ()
    """States, by number."""
    lasso: Path | None = None
    """File that the lasso of a page saved."""
    rows: Path | None = None
    """Text file of particles, counted from 0 in the run's order."""
    within: Annotated[tuple[str, ...], tyro.conf.arg(name="and")] = ()
    """Selections that particles must also be in."""
    joined: Annotated[tuple[str, ...], tyro.conf.arg(name="or")] = ()
    """Selections whose particles are added."""
    without: Annotated[tuple[str, ...], tyro.conf.arg(name="not")] = ()
    """Selections whose particles are left out."""
    states: int = 0
    """How many states there are; as many as the run's page shows by default."""
    particles: Path | None = None
    """The particle file, where it has moved."""
    overwrite: bool = False
    """Replace a selection of this name."""


def select(arguments: list[str]) -> int:
    """Keep a selection and say how many particles are in it."""
    options = tyro.cli(SelectOptions, args=arguments, prog="morphem select")
    if options.columns:
        return _list_columns(options)
    if not options.out:
        raise ValueError("a selection needs a name: -o NAME (--columns lists what --expr may ask for)")
    from morphem.report.selection import write_selection
    from morphem.report.selection_columns import run_columns
    from morphem.report.selection_criteria import Criteria
    from morphem.report.selection_criteria import select as chosen

    criteria = Criteria(
        expression=options.expr,
        clusters=options.cluster,
        states=options.state,
        lasso=options.lasso,
        rows=options.rows,
        within=options.within,
        joined=options.joined,
        without=options.without,
    )
    asks = options.expr or options.cluster or options.state
    columns = run_columns(options.run, options.particles, options.states) if asks else {}
    selection = chosen(options.run, options.out, criteria, columns)
    path = write_selection(options.run, selection, options.overwrite)
    share = len(selection.particles) / selection.count
    print(f"{len(selection.particles):,} of {selection.count:,} particles ({share:.1%}): {path}")
    print(f"go on: morphem export {options.run} --select {selection.name} --to star")
    return 0


def _list_columns(options: SelectOptions) -> int:
    import numpy as np

    from morphem.report.selection_columns import run_columns

    rows = []
    for column in run_columns(options.run, options.particles, options.states).values():
        if column.categories:
            more = " …" if len(column.categories) > 8 else ""
            values = ", ".join(column.categories[:8]) + more
        else:
            known = column.values[np.isfinite(column.values)]
            values = f"{known.min():.4g} to {known.max():.4g} {column.unit}" if len(known) else "unknown"
        rows.append((column.name, values, column.label))
    show_rows(rows)
    return 0


@dataclass(frozen=True)
class ExportCommand:
    """Write a run, or a selection of its particles, for other programs.

    star: the original rows for RELION, untouched, with _morphemLatent…, _morphemState and _morphemCluster
    added. cs, csg: likewise for cryoSPARC, passthrough files and a result group included. csv: all that is
    known of each image. chimerax: a folder of maps, parts, arrows and scripts. mrc: a folder of maps.
    cif: Gaussians as pseudo-atoms. Poses stay those of the particle file unless --with-poses is given.
    """

    run: Argument[Path]
    """Folder of a finished run."""
    to: Literal["star", "cs", "csg", "csv", "chimerax", "mrc", "cif"]
    """For which program."""
    select: str = ""
    """Name of a selection; all particles by default. The states of maps are then its own."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File or folder to write; in RUN/export by default."""
    particles: Path | None = None
    """The original particle file, where it has moved."""
    with_poses: bool = False
    """Write the run's poses and corrected defoci in place of the file's (star, cs, csg)."""
    project: Path | None = None
    """Folder that RELION is started in; image names that have to change are relative to it (star)."""
    states: int = 0
    """How many states; as many as the run's page shows by default."""
    like: Path | None = None
    """Map whose origin to take, so that both overlay (chimerax, mrc, cif)."""


def export(arguments: list[str]) -> int:
    """Write an export and say how to go on with it."""
    options = tyro.cli(ExportCommand, args=arguments, prog="morphem export")
    from morphem.report.export import ExportOptions, default_target
    from morphem.report.export import export as exported
    from morphem.report.selection import particles_of, read_selection

    rows = read_selection(options.run, options.select).particles if options.select else None
    out = options.out or default_target(options.run, options.to, options.select)
    how = ExportOptions(options.with_poses, options.project, options.states, options.like)
    written = exported(options.run, options.to, out, rows, options.particles, how)
    count = particles_of(options.run)
    print(f"{count if rows is None else len(rows):,} of {count:,} particles: {written}")
    print(_next_step(options.to, written))
    return 0


def _next_step(to: str, written: Path) -> str:
    """What to do with an export in the program that it is for."""
    path = os.fspath(written)
    return {
        "star": f"in RELION: use {path} as the input of any job, or Import it with node type Particles",
        "cs": f"in cryoSPARC: Import Result Group, path {written.with_suffix('.csg')}, which names it",
        "csg": f"in cryoSPARC: Import Result Group, path {path}, in the project that the particles come from",
        "csv": "one row for each image",
        "chimerax": f"in ChimeraX: open {path}/open.cxc",
        "mrc": f"latent, support and contour of each map are in {path}/export.json",
        "cif": f"in ChimeraX: open {path}; color bfactor shows how far each Gaussian travels, in Å",
    }[to]

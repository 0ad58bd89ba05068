"""A run, or some of its particles, for RELION, cryoSPARC, ChimeraX and whatever reads maps or tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from morphem import __version__
from morphem.data.errors import DataError
from morphem.engine.reconstruction import Reconstruction
from morphem.report.export.source import Chosen, chosen_particles
from morphem.report.export.states import origin_of, views_of
from morphem.report.selection import particles_of, title_of
from morphem.report.selection_columns import latent_columns, run_columns

PARTICLES = ("star", "cs", "csg", "csv")
MAPS = ("chimerax", "mrc", "cif")


@dataclass(frozen=True)
class ExportOptions:
    """How to export; most exports need none of it.

    Attributes:
        with_poses: Write the run's poses and corrected defoci in place of the file's (star, cs, csg).
        project: Folder that RELION is started in: names of images are relative to it (star).
        states: How many states and clusters; five by default, fewer where there are few particles.
        like: Map whose origin to take, so that both overlay (chimerax, mrc, cif).
    """

    with_poses: bool = False
    project: Path | None = None
    states: int = 0
    like: Path | None = None


def export(
    run: Path | str,
    to: str,
    out: Path | str,
    rows: Int[np.ndarray, "m"] | None = None,
    particles: Path | str | None = None,
    options: ExportOptions | None = None,
) -> Path:
    """Write a run, or some of its particles, in another program's format; everything or nothing.

    Args:
        run: A finished run.
        to: One of ``PARTICLES`` or ``MAPS``.
        out: A file of that suffix; a folder for ``chimerax`` and ``mrc``.
        rows: Particles in the run's order; all if None. States of maps are then theirs alone.
        particles: Where the particle file is now, if it has moved; not needed for maps.
        options: How.

    Returns:
        ``out``.

    Raises:
        DataError: ``EXPORT-001`` where the particles are of another program, ``EXPORT-002`` where the run has
            no Gaussians to show, ``PATH-004`` where an original would be replaced, ``PATH-005`` or
            ``PATH-006`` where the particles are not at hand.
    """
    run, out = Path(run), Path(out)
    if to in PARTICLES:
        return export_particles(run, rows, to, out, None if particles is None else Path(particles), options)
    if to in MAPS:
        return export_maps(run, rows, to, out, options)
    raise DataError("EXPORT-003", f"{to!r} is no format; known are {', '.join((*PARTICLES, *MAPS))}")


def export_particles(
    run: Path,
    rows: Int[np.ndarray, "m"] | None,
    to: str,
    out: Path,
    particles: Path | None = None,
    options: ExportOptions | None = None,
) -> Path:
    """Write particles as ``star``, ``cs``, ``csg`` or ``csv``; see :func:`export`."""
    if to not in PARTICLES:
        raise DataError("EXPORT-003", f"{to!r} is no format of particles; known are {', '.join(PARTICLES)}")
    _require_suffix(out, to)
    options = options or ExportOptions()
    chosen = chosen_particles(run, rows, particles)
    if to == "csv":
        from morphem.report.export.table import write_csv

        return write_csv(chosen, run_columns(run, particles, options.states), out)
    found = _found_columns(run, chosen, options.states)
    corrected = chosen.defoci() if options.with_poses else {}
    if to == "star":
        from morphem.report.export.relion import write_star

        star = {f"morphem{name.capitalize()}": values for name, values in found.items()}
        return write_star(chosen, star | corrected, out, options.with_poses, options.project)
    from morphem.report.export.cryosparc import write_cs

    found = {name: values for name, values in found.items() if name != "latent"}
    return write_cs(chosen, found | corrected, out, options.with_poses)


def export_maps(
    run: Path,
    rows: Int[np.ndarray, "m"] | None,
    to: str,
    out: Path,
    options: ExportOptions | None = None,
) -> Path:
    """Write maps as ``mrc``, pseudo-atoms as ``cif`` or both as ``chimerax``; see :func:`export`."""
    if to not in MAPS:
        raise DataError("EXPORT-003", f"{to!r} is no format of maps; known are {', '.join(MAPS)}")
    count = particles_of(run)
    if rows is not None and not (len(rows) and 0 <= rows.min() <= rows.max() < count):
        raise DataError("SELECT-002", f"no particles, or others than the {count} of {run}; select them again")
    options = options or ExportOptions()
    found = Reconstruction.load(run)
    views = views_of(found, rows, options.states)
    origin = origin_of(options.like)
    about = _about(run, to, count if rows is None else len(rows))
    if to == "cif":
        from morphem.report.export.atoms import write_cif
        from morphem.report.export.chimerax import corner_of
        from morphem.report.export.mixtures import beads_of

        _require_suffix(out, to)
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        return write_cif(beads_of(found, views), title_of(run), corner_of(found, origin), out)
    if to == "mrc":
        from morphem.report.export.maps import write_maps

        return write_maps(found, views, out, origin, about)
    from morphem.report.export.chimerax import write_chimerax

    return write_chimerax(found, views, out, origin, about)


def default_target(run: Path, to: str, select: str = "") -> Path:
    """Where an export goes unless another place is named: in ``RUN/export``."""
    stem = select or "all"
    names = {"chimerax": f"{stem}-chimerax", "mrc": f"{stem}-maps"}
    return run / "export" / names.get(to, f"{stem}.{to}")


def _found_columns(run: Path, chosen: Chosen, states: int) -> Mapping[str, np.ndarray]:
    """What was found for each image's particle: latents, their spread, state and cluster from 1."""
    every = torch.from_numpy(np.load(run / "latents.npy", allow_pickle=False))
    if not every.shape[1]:
        return {}
    groups = latent_columns(every, states)
    columns = {"latent": chosen.latents}
    columns |= {
        name: groups[name].values[chosen.particle] + 1 for name in ("cluster", "state") if name in groups
    }
    return columns if chosen.spread is None else {**columns, "uncertainty": chosen.spread}


def _require_suffix(out: Path, to: str) -> None:
    if out.suffix != f".{to}":
        raise DataError("EXPORT-003", f"{out} should end in .{to}; choose another name (-o)")


def _about(run: Path, to: str, particles: int) -> dict[str, Any]:
    return {
        "title": title_of(run),
        "run": str(run.resolve()),
        "to": to,
        "particles": particles,
        "version": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }

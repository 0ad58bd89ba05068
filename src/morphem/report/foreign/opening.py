"""Whatever a folder holds that a page can show."""

from __future__ import annotations

from pathlib import Path

from morphem.data.errors import DataError
from morphem.report.foreign.cryodrgn import find_output, shown_cryodrgn
from morphem.report.foreign.folder import has_maps, shown_folder
from morphem.report.foreign.recovar import find_recovar, shown_recovar
from morphem.report.foreign.variability import find_job, shown_variability
from morphem.report.scene.shown import Shown

_OURS = ("run.json", "summary.json")
_NAMED = 6  # of what the folder holds, in the message that none of it is known


def is_run(folder: Path) -> bool:
    """Whether a folder is one of ours: a run, finished or not, or what ``morphem infer`` wrote."""
    return any((folder / name).is_file() for name in _OURS)


def shown_foreign(folder: Path, particles: Path | None = None) -> Shown:
    """Another program's result: of cryoDRGN, cryoSPARC's 3D Variability or RECOVAR, or maps with a table.

    Args:
        folder: Where it lies.
        particles: The particle file, where the result does not tell.

    Raises:
        DataError: ``VIEW-004`` if the folder holds nothing of the kind.
    """
    if not folder.is_dir():
        raise DataError("PATH-001", f"{folder} is no folder; give the folder of a result")
    output = find_output(folder)
    if output is not None:
        return shown_cryodrgn(folder, output, particles)
    job, recovar = find_job(folder), find_recovar(folder)
    if job is not None:
        return shown_variability(folder, job, particles)
    if recovar is not None:
        return shown_recovar(folder, recovar)
    if has_maps(folder):
        return shown_folder(folder)
    held = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    seen = f"{', '.join(held[:_NAMED])}{' …' if len(held) > _NAMED else ''}" if held else "nothing"
    wanted = (
        "a finished run (summary.json, density.safetensors), a cryoDRGN output (config.yaml and z.N.pkl), "
        "a job of 3D Variability (NAME_component_K.mrc, NAME_map.mrc, NAME_particles.cs), a RECOVAR output "
        "(model/zdim_N/latent_coords.npy), "
        "maps (*.mrc, with or without a table *.csv)"
    )
    raise DataError("VIEW-004", f"{folder} holds {seen}; looked for: {wanted}. Give a folder with these")

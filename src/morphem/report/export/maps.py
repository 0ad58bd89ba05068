"""Maps of states and along the first component, as MRC files with their contours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morphem.core.types import Volume
from morphem.data.mrc import write_map
from morphem.engine.files import write_json
from morphem.engine.reconstruction import Reconstruction
from morphem.report.export.states import Views, common_level, enclosed
from morphem.report.export.targets import RECORD, whole_folder
from morphem.report.volumes import Places


def write_maps(
    found: Reconstruction, views: Views, out: Path, origin: tuple[float, float, float], about: dict[str, Any]
) -> Path:
    """Write one map for each place, and ``export.json`` with latent, support, contour and volume of each.

    Args:
        found: A finished run.
        views: Which maps.
        out: Folder, written whole or not at all.
        origin: Of the first voxel, x, y, z in Å.
        about: What else to note of the export.
    """
    with whole_folder(out) as folder:
        rows = map_series(found, views.states, folder, origin)
        if views.along is not None:
            rows += map_series(found, views.along, folder, origin, rows[0]["level"])
        write_json(folder / RECORD, about | {"maps": rows})
    return out


def map_series(
    found: Reconstruction, places: Places, folder: Path, origin: tuple[float, float, float], level: float = 0
) -> list[dict[str, Any]]:
    """Write maps of places; what each file is, its contour ``level`` and the volume inside it, Å³.

    The level is that of their own mean, unless one is given.
    """
    volumes: list[Volume] = [found.volume(z) for z in places.latents]
    level = level or common_level(volumes)
    rows = []
    for name, volume, z, support in zip(places.names, volumes, places.latents, places.support, strict=True):
        write_map(folder / f"{name}.mrc", volume, origin)
        rows.append(
            {
                "map": f"{name}.mrc",
                "latent": z.tolist(),
                "nearest_particles": int(support),
                "level": level,
                "enclosed": enclosed(volume, level),
            }
        )
    return rows

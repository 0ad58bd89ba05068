"""What RECOVAR leaves in its output folder: latents by width, and the maps that its analysis made of some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from morphem.report.foreign.map_series import MapFile, in_order, numbered_maps, read_maps, some
from morphem.report.map_folder import read_latents
from morphem.report.scene.shown import Column, Shown

_NAMED = ("center", "state")  # what maps are called, before a number of three digits
_CITED = (
    "Gilles, Singer: Cryo-EM heterogeneity analysis using regularized covariance estimation and kernel "
    "regression. PNAS 122, e2419140122 (2025)"
)


def find_recovar(folder: Path) -> Path | None:
    """Where latents of a RECOVAR output are, or None: of the last width that was analysed, or the last."""
    found = [path.parent for path in in_order(folder.glob("model/zdim_*/latent_coords.npy"))]
    analysed = [path for path in found if _analysis(folder, path).is_dir()]
    return next(iter((analysed or found)[-1:]), None)


def shown_recovar(folder: Path, chosen: Path) -> Shown:
    """A RECOVAR result as a page shows it: latents, and maps of the centres and paths that it was asked for.

    Particles are in RECOVAR's own order, which is not told with them, so images are not looked for.

    Args:
        folder: Of the output.
        chosen: That of the latents, in it.
    """
    latents = read_latents(chosen / "latent_coords.npy")
    files = _map_files(folder, _analysis(folder, chosen), latents.shape[1])
    maps = read_maps(some(files))
    told = (
        f"{len(maps)} of {len(files)}, as RECOVAR wrote them" if maps else "none yet; run `recovar analyze`"
    )
    return Shown(
        title=folder.resolve().name,
        subtitle=f"RECOVAR, {latents.shape[1]} latent numbers",
        latents=latents,
        grid=maps[0].volume.grid if maps else None,
        fixed=maps,
        columns=_contrasts(chosen, latents),
        summary=(("latents", f"{chosen.name}/latent_coords.npy"), ("maps", told)),
        record={
            "provenance": {"program": "RECOVAR"},
            "citations": [_CITED],
            "images": "RECOVAR does not tell in which order its particles are",
        },
    )


def _analysis(folder: Path, chosen: Path) -> Path:
    return folder / chosen.name.replace("zdim", "analysis")


def _map_files(folder: Path, analysis: Path, width: int) -> list[MapFile]:
    """Maps of the analysis, with their latents; without one, the mean."""
    places = in_order(path for path in analysis.iterdir() if path.is_dir()) if analysis.is_dir() else []
    named = [f"{name}[0-9][0-9][0-9].mrc" for name in _NAMED]
    found = [each for place in places for name in named for each in numbered_maps(place, width, name)]
    mean = folder / "output" / "volumes" / "mean.mrc"
    return found or ([MapFile("mean", mean)] if mean.is_file() else [])


def _contrasts(chosen: Path, latents: Float[Tensor, "p z"]) -> tuple[Column, ...]:
    path = chosen / "contrasts.npy"
    values = np.load(path, allow_pickle=False).ravel() if path.is_file() else np.empty(0)
    if len(values) != len(latents):
        return ()
    return (Column("contrast", "contrast", values.astype(np.float32)),)

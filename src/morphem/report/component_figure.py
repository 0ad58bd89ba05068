"""Maps along the first principal component of the latents, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from morphem.engine.reconstruction import Reconstruction
from morphem.report.drawing import VIEWS, add_scale_bar, edges_of, grey_range, new_figure, show_view
from morphem.report.volumes import along_component

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEPS = 5
_LEAST = 50  # particles whose spread says something


def draw_component(reconstruction: Reconstruction) -> Figure | None:
    """Projections of maps along the first principal component; below, what each has that the mean lacks.

    Over each map stands how many particles are nearest to it. None where latents have no spread.
    """
    latents = reconstruction.latents.detach().cpu().float()
    if latents.shape[1] == 0 or len(latents) < _LEAST or float(latents.std(0).max()) == 0:
        return None
    places = along_component(latents, 1, _STEPS)
    maps = torch.stack([reconstruction.volume(point).voxels.detach().cpu() for point in places.latents])
    view = VIEWS[int(torch.stack([_change(maps, each.dimension) for each in VIEWS]).argmax())]
    pictures = maps.sum(view.dimension + 1)
    differences = pictures - pictures.mean(0)
    figure = new_figure(2.0 * _STEPS + 0.4, 4.6)
    panels = figure.subplots(2, _STEPS)
    edges = edges_of(reconstruction.grid)
    most = float(differences.abs().max())
    for row, shown, ink in zip(
        panels, (pictures, differences), (grey_range(pictures), (-most, most)), strict=True
    ):
        for axes, picture in zip(row, shown, strict=True):
            show_view(axes, picture, view, edges, ink)
            axes.set(xlabel="", ylabel="")
        add_scale_bar(row[0])
    for axes, support in zip(panels[0], places.support.tolist(), strict=True):
        axes.set_title(f"{support:,} particles")
    panels[0, 0].set_ylabel("map")
    panels[1, 0].set_ylabel("less the mean of the five")
    figure.suptitle(f"projections along {view.name}, first principal component of the latents", fontsize=10)
    return figure


def _change(maps: torch.Tensor, dimension: int) -> torch.Tensor:
    """How much projections along an axis differ."""
    return maps.sum(dimension + 1).var(0).sum()

"""The parts of a molecule in three views, with a table of what each is and does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.types import Volume
from morphem.data.mrc import read_map
from morphem.engine.files import read_json
from morphem.engine.reconstruction import Reconstruction
from morphem.models.gaussian_density import AnchoredMixture
from morphem.physics.gaussians import rasterise
from morphem.report.drawing import COLOURS, VIEWS, add_scale_bar, new_figure, show_view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGIN = 0.06  # of the molecule's width, left empty around it
_APART = 0.07  # of the picture's width, least distance between numbers
_ROW = 0.23  # inches per line of the table
_COLUMNS = {
    "part": 0.10,
    "share of mass": 0.31,
    "turns by": 0.48,
    "travels": 0.65,
    "occupancy (5 to 95 %)": 0.97,
}


def draw_run_parts(folder: Path, reconstruction: Reconstruction) -> Figure | None:
    """The parts that a run wrote to its folder; None if its method knows no parts."""
    if not ((folder / "parts.mrc").exists() and (folder / "parts.json").exists()):
        return None
    labels = read_map(folder / "parts.mrc").voxels.round().long()
    return draw_parts(density_at_rest(reconstruction), labels, read_json(folder / "parts.json")["parts"])


def density_at_rest(reconstruction: Reconstruction) -> Volume:
    """Density with every part at home and as bright as on average; else that of the mean latent."""
    density = reconstruction.density
    if not isinstance(density, AnchoredMixture):
        return reconstruction.mean()
    with torch.no_grad():
        return rasterise(density.at_rest(reconstruction.latents), reconstruction.grid)


def draw_parts(density: Volume, labels: Int[Tensor, "d d d"], parts: Sequence[Mapping[str, Any]]) -> Figure:
    """Coloured projections along z, y and x over a table of the parts.

    Args:
        density: Of the molecule at rest.
        labels: Number of the part of each voxel, from 1; 0 outside.
        parts: As in ``parts.json``.
    """
    height = 0.15 + _ROW * (len(parts) + 1.5)
    figure = new_figure(7.2, 2.75 + height)
    layout = figure.add_gridspec(2, 3, height_ratios=[2.75, height])
    colours = torch.tensor([_rgb(part["part"]) for part in parts])
    first, side = _cube_around(labels > 0)
    crop = tuple(slice(start, start + side) for start in first)
    voxels, labels = density.voxels.detach().cpu()[crop].clamp(min=0), labels[crop]
    mass = torch.stack([voxels * (labels == part["part"]) for part in parts])
    edges = (-0.5 * density.grid.pixel_size, (side - 0.5) * density.grid.pixel_size)
    for column, view in enumerate(VIEWS):
        axes = figure.add_subplot(layout[0, column])
        projected = mass.sum(view.dimension + 1)
        show_view(axes, coloured_projection(projected, colours), view, edges)
        axes.set_title(f"along {view.name}")
        _write_numbers(axes, projected, parts, density.grid.pixel_size)
        if column == 0:
            add_scale_bar(axes)
    _write_table(figure.add_subplot(layout[1, :]), parts)
    return figure


def coloured_projection(
    mass: Float[Tensor, "a y x"], colours: Float[Tensor, "a 3"]
) -> Float[Tensor, "y x 3"]:
    """Projected parts as ink on white: hue from their shares of a pixel's mass, depth from its sum."""
    total = mass.sum(0)
    full = total[total > 0].quantile(0.99) if bool((total > 0).any()) else total.new_ones(())
    depth = (total / full).clamp(0, 1).pow(0.6)[..., None]
    hue = torch.einsum("ayx,ac->yxc", mass, colours) / total.clamp(min=1e-30)[..., None]
    return (1 - depth + depth * hue).clamp(0, 1)


def table_rows(parts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """What each part is and does, in words: number, mass, turn, travel, occupancy."""
    return [
        (
            f"{part['part']}",
            f"{100 * part['mass']:.1f} %",
            f"{part['rotation_degrees']:.1f}°",
            f"{part['travel']:.1f} Å",
            f"{part['occupancy'][0]:.2f} to {part['occupancy'][-1]:.2f}",
        )
        for part in parts
    ]


def _write_numbers(
    axes: Axes, projected: Float[Tensor, "a d d"], parts: Sequence[Mapping[str, Any]], pixel_size: float
) -> None:
    """The number of each part where most of it is, unless parts lie in one another."""
    from matplotlib.patheffects import withStroke

    shown = [index for index, picture in enumerate(projected) if bool(picture.any())]
    places = torch.tensor([divmod(int(_middle(projected[i])), projected.shape[1]) for i in shown]).float()
    if len(shown) > 1 and bool(torch.pdist(places).min() < _APART * projected.shape[1]):
        return
    for index, (y, x) in zip(shown, places.tolist(), strict=True):
        number = axes.text(x * pixel_size, y * pixel_size, f"{parts[index]['part']}", weight="bold")
        number.set(ha="center", va="center", path_effects=[withStroke(linewidth=2, foreground="white")])


def _middle(picture: Float[Tensor, "d d"]) -> Int[Tensor, ""]:
    """The pixel, counted along rows, with the most mass near the centre of mass."""
    axis = torch.arange(len(picture), dtype=picture.dtype)
    y, x = (picture.sum(1) @ axis) / picture.sum(), (picture.sum(0) @ axis) / picture.sum()
    near = (axis[:, None] - y).square() + (axis - x).square()
    return (picture * (-near / (2 * 2.0**2)).exp()).argmax()


def _write_table(axes: Axes, parts: Sequence[Mapping[str, Any]]) -> None:
    rows = table_rows(parts)
    axes.set(xlim=(0, 1), ylim=(len(rows) + 0.5, -1))
    axes.axis("off")
    places = tuple(_COLUMNS.values())
    for x, name in zip(places, _COLUMNS, strict=True):
        axes.text(x, -0.5, name, ha="right", va="center", weight="bold")
    axes.axhline(0, color="0.6", linewidth=0.6)
    for line, (part, words) in enumerate(zip(parts, rows, strict=True)):
        y = line + 0.5
        axes.scatter([0.035], [y], marker="s", s=70, color=[_rgb(part["part"])], clip_on=False)
        for x, word in zip(places, words, strict=True):
            axes.text(x, y, word, ha="right", va="center")


def _rgb(part: int) -> tuple[float, float, float]:
    """Colour of part 1, 2, …; they return after the last."""
    word = COLOURS[(part - 1) % len(COLOURS)]
    red, green, blue = (int(word[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _cube_around(inside: Bool[Tensor, "d d d"]) -> tuple[tuple[int, ...], int]:
    """First voxel along z, y and x, and the side, of a cube around what is inside."""
    if not bool(inside.any()):
        return (0, 0, 0), len(inside)
    places = inside.nonzero()
    low, high = places.amin(0), places.amax(0) + 1
    side = min(len(inside), math.ceil((1 + 2 * _MARGIN) * int((high - low).max())) + 2)
    first = (low + high - side).div(2, rounding_mode="floor").clamp(0, len(inside) - side)
    return tuple(first.tolist()), side

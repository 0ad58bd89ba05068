"""Pictures of a finished run: latents, parts, half-map correlation, loss and maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Volume
from morphem.engine import ranks
from morphem.engine.files import read_json
from morphem.engine.reconstruction import Reconstruction
from morphem.report.component_figure import draw_component
from morphem.report.drawing import (
    COLOURS,
    VIEWS,
    add_scale_bar,
    edges_of,
    grey_range,
    house_style,
    new_figure,
    save_figure,
    show_view,
)
from morphem.report.part_figure import draw_run_parts
from morphem.report.pose_figure import draw_search
from morphem.report.volumes import principal_directions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 20_000  # particles drawn at most
_REFERENCES = 2_000  # particles that the density of points is measured against
_RESOLUTIONS = (
    200,
    100,
    50,
    30,
    20,
    15,
    12,
    10,
    8,
    7,
    6,
    5,
    4,
    3.5,
    3,
    2.5,
    2.2,
    2,
    1.8,
    1.6,
    1.4,
    1.2,
    1,
)  # Å


def write_figures(run_folder: Path, reconstruction: Reconstruction) -> list[Path]:
    """Draw a run into ``figures/`` of its folder; what a method does not know is not drawn.

    Returns:
        Of ``latents.png``, ``component.png``, ``parts.png``, ``fsc.png``, ``loss.png``, ``maps.png``,
        ``poses.png`` those drawn.
    """
    if not ranks.is_main():
        return []
    folder = Path(run_folder)
    pages: dict[str, Callable[[], Figure | None]] = {
        "latents": lambda: draw_latents(reconstruction.latents),
        "component": lambda: draw_component(reconstruction),
        "parts": lambda: draw_run_parts(folder, reconstruction),
        "fsc": lambda: _fsc(folder / "fsc.json"),
        "loss": lambda: draw_loss(reconstruction.history, len(reconstruction.poses)),
        "maps": lambda: draw_map(reconstruction.mean()),
        "poses": lambda: draw_search(folder, reconstruction),
    }
    with house_style():
        drawn = {name: draw() for name, draw in pages.items()}
        return [
            save_figure(figure, folder / "figures" / f"{name}.png")
            for name, figure in drawn.items()
            if figure is not None
        ]


def draw_latents(latents: Float[Tensor, "p z"]) -> Figure | None:
    """Latents along their principal components, coloured by how many others are near; None without any.

    Directions come from all particles; at most 20,000 are drawn.
    """
    latents = latents.detach().cpu().float()
    if latents.shape[1] == 0 or len(latents) < 3:
        return None
    points, share = principal_components(latents)
    points = points[:: -(-len(points) // _POINTS)]
    width = points.shape[1]
    if width == 1:
        return _histogram(points[:, 0])
    pairs = [(0, 1), (0, 2)][: width - 1]
    figure = new_figure(4.4 * len(pairs) + 0.9, 4.4)
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (a, b) in zip(panels, pairs, strict=True):
        _scatter(axes, points[:, [a, b]])
        axes.set(xlabel=_component(a, share), ylabel=_component(b, share))
    bar = figure.colorbar(panels[-1].collections[0], ax=list(panels), shrink=0.8, pad=0.02)
    bar.set_label("density of particles (1 = densest)")
    figure.suptitle(f"{len(latents):,} latents of width {width}", fontsize=10)
    return figure


def principal_components(
    latents: Float[Tensor, "p z"],
) -> tuple[Float[Tensor, "p z"], Float[Tensor, "z"]]:
    """Coordinates along the principal components, and each one's share of the variance."""
    directions, share = principal_directions(latents)
    return (latents - latents.mean(0)) @ directions.mT, share


def point_density(points: Float[Tensor, "p 2"]) -> Float[Tensor, "p"]:
    """Gaussian kernel estimate of how densely points lie, by Scott's rule; 1 at the densest point."""
    some = points[:: -(-len(points) // _REFERENCES)]
    width = points.std(0).clamp(min=1e-12) * len(some) ** (-1 / 6)
    blocks = [torch.cdist(block / width, some / width) for block in points.split(4096)]
    density = torch.cat([(-0.5 * distance.square()).exp().mean(1) for distance in blocks])
    return density / density.max()


def draw_fsc(curves: dict[str, Any]) -> Figure:
    """Half-map correlation over spatial frequency, with the resolution it is quoted at."""
    figure = new_figure(6.0, 4.4)
    axes = figure.subplots()
    frequency = curves["frequency"]
    names = {"fsc": "unmasked", "fsc_masked": "masked", "fsc_corrected": "corrected for the mask"}
    # the last two often coincide: one is wide and the other dashed upon it
    styles = ((COLOURS[1], "-", 1.4, 2), ("black", "--", 0.9, 3), (COLOURS[0], "-", 2.6, 2))
    for (key, label), (colour, dashes, width, layer) in zip(names.items(), styles, strict=True):
        if key in curves:
            line = axes.plot(frequency[1:], curves[key][1:], dashes, color=colour, label=label)
            line[0].set(linewidth=width, zorder=layer)
    axes.axhline(0.143, color="0.35", linestyle="--", linewidth=0.8)
    axes.text(1.01, 0.143, "0.143", color="0.35", va="center", transform=axes.get_yaxis_transform())
    axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    found = curves["resolution"]
    if found:
        axes.axvline(1 / found, color="0.35", linestyle=":", linewidth=0.8)
    lowest = min(0.0, *(value for key in names for value in curves.get(key, [])[1:]))
    axes.set(xlim=(0, frequency[-1]), ylim=(max(lowest, -0.3) - 0.05, 1.04))
    axes.set(xlabel="spatial frequency (1/Å)", ylabel="Fourier shell correlation of the halves")
    _add_resolution_axis(axes, frequency[-1])
    axes.set_title(
        f"resolution {found:.1f} Å at FSC 0.143" if found else "the halves have nothing in common", pad=10
    )
    axes.legend(loc="upper right", framealpha=1, edgecolor="none")
    return figure


def draw_loss(history: dict[str, list[dict[str, float]]], images: int) -> Figure | None:
    """Mean of each term by images seen, one panel per term, stages one after another; None without any.

    Args:
        history: Terms by epoch, for every stage; what did not go by epochs is not drawn.
        images: In an epoch.
    """
    stages = {name: epochs for name, epochs in history.items() if epochs and "epoch" in epochs[0]}
    terms = list(dict.fromkeys(key for epochs in stages.values() for key in epochs[0] if key != "epoch"))
    if not terms:
        return None
    figure = new_figure(6.4, 0.9 + 1.75 * len(terms))
    panels = figure.subplots(len(terms), 1, sharex=True, squeeze=False)[:, 0]
    for axes, term in zip(panels, terms, strict=True):
        begun, values = 0, []
        for (stage, epochs), colour in zip(stages.items(), _cycled(len(stages)), strict=True):
            here = [(begun + images * each["epoch"], each[term]) for each in epochs if term in each]
            values += [value for _, value in here]
            if here:
                axes.plot(*zip(*here, strict=True), color=colour, marker="o", markersize=3, label=stage)
            begun += images * int(epochs[-1]["epoch"])
            axes.axvline(begun, color="0.8", linewidth=0.8, zorder=0)
        axes.set(ylabel=term, xlim=(0, 1.015 * begun))
        _scale_ordinate(axes, values)
    panels[-1].set_xlabel(f"images seen ({images:,} in an epoch)")
    panels[-1].xaxis.set_major_formatter(_thousands)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, title="stage", loc="outside right upper", frameon=False)
    figure.align_ylabels()
    return figure


def draw_map(volume: Volume) -> Figure:
    """Central slices of a map and its projections, along z, y and x; density is dark."""
    figure = new_figure(7.2, 5.2)
    panels = figure.subplots(2, 3)
    voxels, grid = volume.voxels.detach().cpu(), volume.grid
    edges = edges_of(grid)
    slices = torch.stack([voxels.select(view.dimension, grid.box // 2) for view in VIEWS])
    projections = torch.stack([voxels.sum(view.dimension) for view in VIEWS])
    for row, kind, pictures in zip(
        panels, ("central slice", "projection"), (slices, projections), strict=True
    ):
        ink = grey_range(pictures)
        for axes, view, picture in zip(row, VIEWS, pictures, strict=True):
            show_view(axes, picture, view, edges, ink)
            axes.set_title(f"{kind} along {view.name}")
        add_scale_bar(row[0])
    return figure


def _scatter(axes: Axes, points: Float[Tensor, "p 2"]) -> None:
    """Points coloured by their density, to one scale on both axes."""
    density = point_density(points)
    order = density.argsort()  # the dense ones last, else stragglers hide them
    x, y = points[order].T.numpy()
    size = max(2.0, min(36.0, 20_000 / len(points)))
    axes.scatter(x, y, c=density[order].numpy(), s=size, cmap="viridis", vmin=0, vmax=1, linewidths=0)
    axes.set(aspect="equal", adjustable="datalim")


def _fsc(path: Path) -> Figure | None:
    return draw_fsc(read_json(path)) if path.exists() else None


def _histogram(values: Float[Tensor, "p"]) -> Figure:
    """Latents of width 1, as counts."""
    figure = new_figure(5.4, 4.0)
    axes = figure.subplots()
    axes.hist(values.numpy(), bins=max(10, min(80, int(len(values) ** 0.5))), color=COLOURS[0])
    axes.set(xlabel="latent, less its mean", ylabel="particles")
    return figure


def _component(index: int, share: Float[Tensor, "z"]) -> str:
    return f"principal component {index + 1} ({100 * float(share[index]):.0f} % of variance)"


def _add_resolution_axis(axes: Axes, highest: float) -> None:
    """Resolutions in Å along the top, as many as can be read."""
    ticks: list[float] = []
    for resolution in _RESOLUTIONS:
        at, last = 1 / resolution, 1 / ticks[-1] if ticks else 0.0
        if at <= 1.001 * highest and at - last > 0.085 * highest:
            ticks.append(resolution)
    top = axes.secondary_xaxis("top")
    top.set_xticks([1 / tick for tick in ticks], [f"{tick:g} Å" for tick in ticks])


def _cycled(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _scale_ordinate(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis where values are positive and differ tenfold; numbers written out."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(_plain_number)


def _plain_number(value: float, _: float) -> str:
    return f"{value:,.5g}"


def _thousands(value: float, _: float) -> str:
    return f"{value:,.0f}"

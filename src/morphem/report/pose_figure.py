"""How poses were found from images alone: views, rounds, and how far starts agree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Poses
from morphem.engine.files import read_json
from morphem.engine.reconstruction import Reconstruction
from morphem.report.drawing import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 36, 18  # of the views, about the z axis and along its height: cells of equal solid angle
_AGREED = 15  # degrees


def draw_search(folder: Path, reconstruction: Reconstruction) -> Figure | None:
    """Views, rounds and starts of a run that found its poses; None for others."""
    path = folder / "abinitio.json"
    if not path.exists():
        return None
    facts = read_json(path)
    figure = new_figure(11.5, 3.4)
    views, rounds, starts = figure.subplots(1, 3, width_ratios=[1.3, 1.1, 1])
    draw_views(views, reconstruction.poses)
    _rounds(rounds, facts["rounds"], reconstruction.grid.extent)
    _starts(starts, facts["starts"])
    return figure


def draw_views(axes: Axes, poses: Poses) -> None:
    """Images by direction of view, each cell the same solid angle; 1 is an even spread."""
    direction = poses.rotation[:, 2].cpu()
    counts = view_counts(direction)
    drawn = axes.imshow(
        counts.T.numpy(), extent=(-180, 180, -1, 1), origin="lower", aspect="auto", cmap="cividis", vmin=0
    )
    axes.set(xlabel="view: angle about z (°)", ylabel="view: height along z", title="directions of view")
    axes.set_xticks([-180, -90, 0, 90, 180])
    bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label("images over an even spread")


def view_counts(direction: Float[Tensor, "n 3"]) -> Float[Tensor, "a h"]:
    """Images of each cell of equal solid angle over what an even spread would have."""
    angle = torch.atan2(direction[:, 1], direction[:, 0])
    column = ((angle / (2 * math.pi) + 0.5) * _BINS[0]).long().clamp(0, _BINS[0] - 1)
    row = ((direction[:, 2] / 2 + 0.5) * _BINS[1]).long().clamp(0, _BINS[1] - 1)
    counts = torch.bincount(column * _BINS[1] + row, minlength=_BINS[0] * _BINS[1])
    return counts.view(_BINS).float() * (_BINS[0] * _BINS[1] / len(direction))


def _rounds(axes: Axes, rounds: list[dict[str, Any]], extent: float) -> None:
    """Fineness of each round, and how far poses still moved in it."""
    number = range(1, len(rounds) + 1)
    axes.plot(number, [extent / each["limit"] for each in rounds], "o-", color=COLOURS[0], markersize=3)
    axes.set(xlabel="round", ylabel="finest frequency (Å)", title="refinement", ylim=(0, None))
    axes.yaxis.label.set_color(COLOURS[0])
    other = axes.twinx()
    other.plot(number, [each["moved"] for each in rounds], "s--", color=COLOURS[3], markersize=3)
    other.set_ylabel("median turn (in standard deviations)", color=COLOURS[3])
    other.set_ylim(0, None)
    other.spines["right"].set_visible(True)


def _starts(axes: Axes, starts: dict[str, list[float]]) -> None:
    """Likelihood of each start below the best, and how far its poses are from the best's."""
    best = max(starts["log_likelihood"])
    behind = [best - score for score in starts["log_likelihood"]]
    angle = starts["degrees_from_the_best"]
    agreed = [each < _AGREED for each in angle]
    for same, label, colour in ((True, "agrees", COLOURS[2]), (False, "differs", COLOURS[3])):
        rows = [row for row, value in enumerate(agreed) if value == same]
        axes.scatter([angle[row] for row in rows], [behind[row] for row in rows], color=colour, label=label)
    axes.axvline(_AGREED, color="0.6", linestyle=":", linewidth=1)
    axes.set(
        xlabel="median turn from the best start (°)",
        ylabel="log-likelihood an image below it",
        title=f"{len(angle)} starts",
        xlim=(-5, None),
    )
    axes.legend(frameon=False)

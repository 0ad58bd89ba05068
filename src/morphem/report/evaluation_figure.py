"""One page of pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.metrics.latents import held_out_prediction
from morphem.report.drawing import COLOURS, house_style, new_figure, save_figure
from morphem.report.evaluate_maps import Compared
from morphem.report.findings import Findings
from morphem.report.score import Score
from morphem.simulate.ensembles import Coordinate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 3000  # particles drawn at most
_FOUND, _CEILING, _OWN, _FLOOR = COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[7]
_COLOUR_MAPS = {"linear": "viridis", "circular": "twilight", "binary": "coolwarm", "label": "nipy_spectral"}


def draw_evaluation(findings: Findings, path: Path) -> None:
    """Correlations by shell, scores state by state, and latents beside the truth, as a PNG."""
    with house_style():
        figure = new_figure(13, 7.6)
        axes = figure.subplots(2, 3)
        main = findings.series.get("by_state", findings.series.get("by_image"))
        if main is not None:
            _draw_fan(axes[0, 0], main, findings.truth.grid)
            _draw_deviations(axes[0, 1], findings)
            _draw_bars(axes[0, 2], main)
        _draw_latents(axes[1], findings)
        figure.suptitle(_headline(findings))
        save_figure(figure, path)


def _headline(findings: Findings) -> str:
    truth, method = findings.truth, findings.record["result"].get("method", "result")
    box = f"{truth.grid.box} px of {truth.grid.pixel_size:g} Å"
    return f"{method} on {truth.ensemble.name}: {len(truth):,} particles, {box}"


def _draw_fan(axes: Axes, series: Compared, grid: Grid) -> None:
    """Masked correlation of every single map: the spread over states, and its mean."""
    shells = torch.arange(1, grid.half).numpy()
    each = series.found.masked.each()[:, 1:]
    low, high = torch.quantile(each, torch.tensor([0.05, 0.95]), dim=0)
    axes.fill_between(shells, low.numpy(), high.numpy(), color=_FOUND, alpha=0.25, linewidth=0)
    axes.plot(shells, (series.shares @ each).numpy(), color=_FOUND, label="found (band: 90 % of states)")
    ends = (("floor: mean of all states", series.floor, _FLOOR), ("ceiling", series.ceiling, _CEILING))
    for name, of_end, colour in ends:
        curve = series.shares @ of_end.masked.each()[:, 1:]
        axes.plot(shells, curve.numpy(), color=colour, label=name)
    _finish_curves(axes, series.last, grid)
    axes.set(ylabel="FSC with the true map, masked", title="Each state's map")


def _draw_deviations(axes: Axes, findings: Findings) -> None:
    grid = findings.truth.grid
    shells = torch.arange(1, grid.half).numpy()
    names = {"by_state": ("states", _FOUND), "by_image": ("single particles", _OWN)}
    for name, (word, colour) in names.items():
        if name in findings.series:
            each = findings.series[name]
            score = findings.record["maps"][name]["deviation_fsc"]
            label = f"{word}: {score.value:.3f}"
            axes.plot(shells, each.found.deviation.pooled(each.shares)[1:].numpy(), color=colour, label=label)
    first = next(iter(findings.series.values()))
    for kind, style in (("motion", "-"), ("states", ":")):
        if kind in first.ceilings:
            curve = first.ceilings[kind].deviation.pooled(first.shares)[1:]
            told = {"motion": "ceiling, motion known", "states": "ceiling, state by state"}[kind]
            axes.plot(shells, curve.numpy(), color=_CEILING, linestyle=style, label=told)
    _finish_curves(axes, first.last, grid)
    axes.set(ylabel="deviation FSC", title="What changes between states")


def _finish_curves(axes: Axes, last: float, grid: Grid) -> None:
    axes.axvline(int(last), color="0.6", linewidth=0.8, linestyle="--")
    axes.set(ylim=(-0.08, 1.02), xlim=(1, grid.half - 1), xlabel="resolution (Å)")
    ticks = [k for k in axes.get_xticks() if 1 <= k <= grid.half - 1]
    axes.set_xticks(ticks, [f"{grid.extent / k:.3g}" for k in ticks])
    axes.legend(frameon=False, loc="best")


def _draw_bars(axes: Axes, series: Compared) -> None:
    """Mean masked correlation of each state's map, between its own floor and ceiling."""
    last = max(int(series.last), 1) + 1
    value, floor, ceiling = (
        maps.masked.each()[:, 1:last].mean(1) for maps in (series.found, series.floor, series.ceiling)
    )
    order = _bar_order(series.states)
    place = torch.arange(len(order)).numpy()
    axes.bar(place, value[order].numpy(), width=0.85, color=_FOUND, alpha=0.75, label="found")
    for name, heights, colour in (("ceiling", ceiling, _CEILING), ("floor", floor, _FLOOR)):
        axes.step(place, heights[order].numpy(), where="mid", color=colour, label=name)
    lowest = float(torch.stack([value, floor]).min())
    axes.set(ylim=(max(-0.1, lowest - 0.08), 1.0), xlabel="state, in order of its coordinates")
    axes.set(ylabel="mean masked FSC to the last shell", title="State by state")
    axes.legend(ncols=3, loc="lower center", framealpha=0.9, edgecolor="none")


def _bar_order(states: Float[Tensor, "k q"]) -> Tensor:
    """By the last coordinate, then by the one before it."""
    order = torch.arange(len(states))
    for column in states.T:
        order = order[column[order].argsort(stable=True)]
    return order


def _draw_latents(axes: Any, findings: Findings) -> None:
    """Latents by state, then what they tell of up to two coordinates."""
    latents, truth = findings.latents, findings.truth
    if latents is None or latents.shape[1] == 0:
        for each in axes:
            each.axis("off")
        _draw_words(axes[0], findings.record)
        axes[1].text(0.5, 0.5, "no latents", ha="center", va="center")
        return
    latents, truth = latents[truth.intact], truth[truth.intact]
    coordinates = truth.ensemble.coordinates
    _draw_plane(axes[0], latents, truth.state[:, 0], coordinates[0])
    drawn = [(k, each) for k, each in enumerate(coordinates) if len(truth.state[:, k].unique()) > 1][:2]
    for place, (k, coordinate) in zip(axes[1:], drawn, strict=False):
        known = findings.record["latents"]
        scores = {**known["coordinates"][coordinate.name], **known["clusters"]}
        _DRAWN[coordinate.kind](place, latents, truth.state[:, k], coordinate, scores)
    for place in axes[1 + len(drawn) :]:
        _draw_words(place, findings.record)


def _draw_plane(
    axes: Axes, latents: Float[Tensor, "p z"], column: Float[Tensor, "p"], coordinate: Coordinate
) -> None:
    """The two directions in which latents vary most, coloured by the first coordinate."""
    centred = latents.double() - latents.double().mean(0)
    directions = torch.linalg.eigh(centred.mT @ centred)[1].flip(1)[:, :2]
    shown = (centred @ directions)[:_POINTS]
    x, y = shown[:, 0], shown[:, min(1, shown.shape[1] - 1)]
    colour = column[:_POINTS].numpy()
    points = axes.scatter(
        x.numpy(), y.numpy(), s=4, c=colour, cmap=_COLOUR_MAPS[coordinate.kind], linewidths=0, rasterized=True
    )
    axes.figure.colorbar(points, ax=axes, label=f"true {coordinate.name}", shrink=0.85)
    axes.set(xlabel="latent, component 1", ylabel="latent, component 2", title="Latents by true state")


def _draw_graded(
    axes: Axes,
    latents: Float[Tensor, "p z"],
    column: Float[Tensor, "p"],
    coordinate: Coordinate,
    scores: Mapping[str, Any],
) -> None:
    if coordinate.kind == "circular":
        sine, cosine = (held_out_prediction(latents, wave) for wave in (column.sin(), column.cos()))
        # the branch nearest to the truth, so that the diagonal is whole
        late = torch.atan2(sine, cosine) - column
        predicted = column + torch.atan2(late.sin(), late.cos())
    else:
        predicted = held_out_prediction(latents, column)
    ends = (float(column.min()), float(column.max()))
    axes.plot(ends, ends, color="0.6", linewidth=0.8)
    some = slice(None, _POINTS)
    axes.scatter(
        column[some].numpy(),
        predicted[some].numpy(),
        s=4,
        color=_FOUND,
        alpha=0.4,
        linewidths=0,
        rasterized=True,
    )
    axes.set(xlabel=f"true {coordinate.name}", ylabel="told by latents (held out)")
    axes.set_title(_told(scores, {"error_median": "median error", "rank_correlation": "rank correlation"}))


def _draw_binary(
    axes: Axes,
    latents: Float[Tensor, "p z"],
    column: Float[Tensor, "p"],
    coordinate: Coordinate,
    scores: Mapping[str, Any],
) -> None:
    predicted, there = held_out_prediction(latents, column), column > 0.5
    bins = torch.linspace(float(predicted.min()), float(predicted.max()), 60).tolist()
    for name, kind, colour in (("1", there, _FOUND), ("0", ~there, _OWN)):
        axes.hist(predicted[kind].numpy(), bins=bins, alpha=0.6, color=colour, label=f"truly {name}")
    axes.set(xlabel=f"{coordinate.name} told by latents (held out)", ylabel="particles")
    axes.set_title(_told(scores, {"auroc": "AUROC"}))
    axes.legend(frameon=False)


def _draw_label(
    axes: Axes,
    latents: Float[Tensor, "p z"],
    column: Float[Tensor, "p"],
    coordinate: Coordinate,
    scores: Mapping[str, Any],
) -> None:
    """Where states lie apart: distance of their latents' means, in units of the spread within states."""
    _, label = column.unique(return_inverse=True)
    count = torch.bincount(label).to(latents)
    mean = torch.zeros(len(count), latents.shape[1]).index_add_(0, label, latents) / count[:, None]
    within = (latents - mean[label]).square().sum(1).mean().sqrt()
    picture = axes.imshow((torch.cdist(mean, mean) / within).numpy(), cmap="magma")
    axes.figure.colorbar(picture, ax=axes, label="distance / spread within a state", shrink=0.85)
    axes.set(xlabel=f"true {coordinate.name}", ylabel=f"true {coordinate.name}")
    axes.set_title(_told(scores, {"adjusted_mutual_information": "AMI", "hungarian_accuracy": "accuracy"}))


_DRAWN = {"linear": _draw_graded, "circular": _draw_graded, "binary": _draw_binary, "label": _draw_label}


def _draw_words(axes: Axes, record: Mapping[str, Any]) -> None:
    """The main scores, and what is known of poses, in words."""
    axes.axis("off")
    lines = []
    for series, word in (("by_state", "states"), ("by_image", "single particles")):
        for name, told in (("deviation_fsc", "deviation FSC"), ("auc", "AUC")):
            score = record["maps"].get(series, {}).get(name)
            if score is not None:
                lines.append(f"{told}, {word}: {score.value:.3f} ({score.floor:.3f} to {score.ceiling:.3f})")
    for name, scores in ((record["latents"] or {}).get("bodies") or {}).items():
        if "occupancy_auroc" in scores:
            lines.append(f"{name} there or not, AUROC: {scores['occupancy_auroc'].value:.3f}")
    lines += _pose_words(record["poses"])
    text = "\n".join(lines)
    axes.text(0.02, 0.98, text, va="top", linespacing=1.7, fontsize=8, transform=axes.transAxes)


def _pose_words(poses: Mapping[str, Any] | None) -> list[str]:
    if poses is None:
        return ["poses: those of the particle file"]
    units = (
        ("view direction (°)", "view_rad", 180 / torch.pi),
        ("in plane (°)", "in_plane_rad", 180 / torch.pi),
        ("shift (Å)", "shift_angstrom", 1),
    )
    return [
        f"poses found; hand: {poses['hand']}; median / mean / 95 %",
        *(
            f"{word}: " + " / ".join(f"{poses[name][part] * unit:.3g}" for part in ("median", "mean", "p95"))
            for word, name, unit in units
        ),
        *_by_state(poses["by_state"]),
    ]


def _by_state(poses: Mapping[str, Any] | None) -> list[str]:
    """Medians where each of several states has a frame of its own."""
    if poses is None:
        return []
    view, shift = poses["view_rad"]["median"] * 180 / torch.pi, poses["shift_px"]["median"]
    return [f"by state ({poses['states']}): view {view:.3g}°, shift {shift:.3g} px"]


def _told(scores: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Some scores by name, with what bounds them."""
    told = []
    for name, word in words.items():
        score = scores.get(name)
        if isinstance(score, Score) and score.value is not None:
            bound = f" (bound {score.ceiling:.3g})" if score.ceiling not in (None, 1.0) else ""
            told.append(f"{word} {score.value:.3f}{bound}")
    return ", ".join(told)

"""One page of pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 4000  # particles drawn at most


@dataclass(frozen=True)
class Findings:
    """What an evaluation draws.

    Attributes:
        latents: Of each intact particle.
        state: Its true coordinates.
        predicted: They, as predicted from the latents on held-out particles.
        is_binary: Which coordinates are yes or no.
        by_state: Deviation FSC over states.
        by_image: Over single particles.
        half_maps: FSC of the consensus's halves.
    """

    latents: Float[Tensor, "p z"]
    state: Float[Tensor, "p q"]
    predicted: Float[Tensor, "p q"]
    is_binary: Bool[Tensor, "q"]
    by_state: Float[Tensor, "s"]
    by_image: Float[Tensor, "s"]
    half_maps: Float[Tensor, "s2"]


def draw_evaluation(findings: Findings, scores: Mapping[str, float | None], grid: Grid, path: Path) -> None:
    """Curves by shell, latents, and predictions beside the truth, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    curves, plane, graded, binary = figure.subplots(2, 2).flat
    _draw_curves(curves, findings, scores, grid)
    _draw_plane(plane, findings)
    for axes, wanted, draw in ((graded, False, _draw_graded), (binary, True, _draw_binary)):
        chosen = (findings.is_binary == wanted).nonzero().flatten().tolist()
        if chosen:
            draw(axes, findings, chosen[0], scores)
        else:
            axes.axis("off")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_curves(axes: Axes, findings: Findings, scores: Mapping[str, float | None], grid: Grid) -> None:
    curves = {
        "deviations, states": findings.by_state,
        "deviations, particles": findings.by_image,
        "consensus half maps": findings.half_maps,
    }
    for name, curve in curves.items():
        axes.plot(torch.arange(1, len(curve)).numpy(), curve[1:].numpy(), label=name)
    axes.axvline(scores["deviation_fsc_to_shell"] or 0, color="0.7", linewidth=0.8)
    axes.set(xlabel=f"shell (1/{grid.extent:g} Å)", ylabel="FSC", ylim=(-0.1, 1.02))
    axes.set_title(f"deviation FSC {_word(scores['deviation_fsc'])}")
    axes.legend()


def _draw_plane(axes: Axes, findings: Findings) -> None:
    """The two directions in which latents vary most, coloured by the first coordinate."""
    centred = findings.latents - findings.latents.mean(0)
    if centred.shape[1]:
        _, axes_of = torch.linalg.eigh(centred.mT @ centred)
        shown = (centred @ axes_of.flip(1)[:, :2])[:_POINTS]
        x, y = shown[:, 0], shown[:, min(1, shown.shape[1] - 1)]
        colour = findings.state[:_POINTS, 0].numpy()
        axes.scatter(x.numpy(), y.numpy(), s=3, c=colour, cmap="viridis")
    axes.set(xlabel="latent, component 1", ylabel="component 2", title="latents by true state")


def _draw_graded(axes: Axes, findings: Findings, q: int, scores: Mapping[str, float | None]) -> None:
    true, predicted = findings.state[:_POINTS, q], findings.predicted[:_POINTS, q]
    axes.scatter(true.numpy(), predicted.numpy(), s=3)
    axes.set(xlabel="true coordinate", ylabel="predicted from latents, held out")
    axes.set_title(f"rank correlation {_word(scores['latent_rank_correlation'])}")


def _draw_binary(axes: Axes, findings: Findings, q: int, scores: Mapping[str, float | None]) -> None:
    there = findings.state[:, q] > 0
    for name, kind in (("present", there), ("absent", ~there)):
        axes.hist(findings.predicted[kind, q].numpy(), bins=60, alpha=0.6, label=name)
    axes.set(xlabel="presence predicted from latents, held out", ylabel="particles")
    axes.set_title(f"occupancy AUROC {_word(scores['occupancy_auroc'])}")
    axes.legend()


def _word(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.3f}"

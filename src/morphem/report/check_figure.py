"""The picture of a check: its back-projection, the readings ranked, and measured against recorded shifts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from morphem.report.check_shifts import ShiftRegression
from morphem.report.check_variants import DECLARED, Variant

if TYPE_CHECKING:
    from morphem.report.check import CheckReport


def draw_check(report: CheckReport, path: Path) -> None:
    """Write the picture of a check that has a back-projection."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    FigureCanvasAgg(figure)
    verdict = "no error found" if report.ok else "; ".join(
        finding.message for finding in report.findings if finding.level == "error"
    )  # fmt: skip
    figure.suptitle(verdict[:150], color="darkgreen" if report.ok else "darkred")
    axes = figure.subplots(2, 3)
    if report.backprojection is not None:
        voxels = report.backprojection.voxels
        for place, (axis, name) in zip(
            axes[0], ((0, "along z"), (1, "along y"), (2, "along x")), strict=True
        ):
            place.imshow(voxels.mean(axis).numpy(), cmap="gray", origin="lower")
            place.set_title(f"back-projection, seen {name}")
            place.set_axis_off()
    _draw_variants(axes[1, 0], axes[1, 1], report.variants)
    if report.shifts is None:
        axes[1, 2].set_axis_off()
    else:
        _draw_shifts(axes[1, 2], report.shifts)
    figure.savefig(path, dpi=110)


def _draw_variants(left: Axes, right: Axes, variants: tuple[Variant, ...]) -> None:
    """Agreement, and the two correlations, of each reading."""
    shown = variants[::-1]
    colours = ["tab:blue" if each.name == DECLARED else "silver" for each in shown]
    left.barh([each.name for each in shown], [each.agreement for each in shown], color=colours)
    left.set_xlabel("agreement of an image, standard deviations of noise")
    place = range(len(shown))
    right.plot([each.halves for each in shown], place, "o", label="between half maps")
    right.plot([each.consensus for each in shown], place, "s", mfc="none", label="with the reference")
    right.set_yticks(list(place), [])
    right.set_xlabel("mean FSC, shells 1 to 16")
    right.grid(axis="y", alpha=0.3)
    right.legend()


def _draw_shifts(axes: Axes, found: ShiftRegression) -> None:
    """Where the regression takes the unit vectors of recorded shifts."""
    for wanted, column, colour in (((1, 0), 0, "tab:red"), ((0, 1), 1, "tab:green")):
        axes.plot([0, wanted[0]], [0, wanted[1]], color="silver", lw=6)
        x, y = found.matrix[0][column], found.matrix[1][column]
        axes.errorbar(x, y, found.error[1][column], found.error[0][column], "o", color=colour)
        axes.plot([0, x], [0, y], color=colour, label=f"recorded {'xy'[column]}")
    axes.axhline(0, color="k", lw=0.5)
    axes.axvline(0, color="k", lw=0.5)
    reach = max(1.3, 1.2 * max(abs(value) for row in found.matrix for value in row))
    axes.set(
        xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="measured x", ylabel="measured y"
    )
    axes.set_title(f"shifts: {found.name} (residual {found.residual:.1f} Å)")
    axes.legend(loc="lower left")

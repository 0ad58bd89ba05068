"""What the pictures of a run have in common: style, colours, directions of view, scale bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# after Okabe and Ito, whose colours the colour-blind tell apart; the last two are ours
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F", "#7F7F7F")
_DPI = 200
_STYLE: dict[Any, float | bool] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "lines.linewidth": 1.4,
}


@dataclass(frozen=True)
class View:
    """A look along one axis of a map.

    Attributes:
        name: Axis along which one looks.
        dimension: Its place in an array ordered z, y, x.
        right: Axis that points to the right of the picture.
        up: Axis that points up.
    """

    name: str
    dimension: int
    right: str
    up: str


VIEWS = (View("z", 0, "x", "y"), View("y", 1, "x", "z"), View("x", 2, "y", "z"))


@contextmanager
def house_style() -> Iterator[None]:
    """Type sizes and lines of our pictures, for as long as the block lasts."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty page, inches; it belongs to no window and to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
    return path


def show_view(
    axes: Axes,
    picture: Float[Tensor, "d d *colour"],
    view: View,
    edges: tuple[float, float],
    ink: tuple[float, float] = (0, 1),
) -> None:
    """A slice or projection with its axes named.

    Args:
        axes: Where.
        picture: Grey values, or red, green and blue.
        view: How it was looked at.
        edges: Ends of both axes, Å.
        ink: Grey values that are white and black.
    """
    axes.imshow(
        picture.numpy(),
        cmap="gray_r",
        vmin=ink[0],
        vmax=ink[1],
        origin="lower",
        interpolation="bicubic",
        extent=(*edges, *edges),
    )
    axes.set(xticks=[], yticks=[], xlabel=f"{view.right} →", ylabel=f"{view.up} →")
    axes.spines[:].set_visible(True)


def edges_of(grid: Grid) -> tuple[float, float]:
    """Ends of both axes of a central slice or a projection, Å."""
    return (-grid.box // 2 - 0.5) * grid.pixel_size, (grid.box // 2 - 0.5) * grid.pixel_size


def add_scale_bar(axes: Axes, colour: str = "black") -> None:
    """A bar of a round length in Å, about a quarter of the picture wide, in its lower left corner."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    length = round_length((right - left) / 4)
    x, y = left + 0.05 * (right - left), bottom + 0.05 * (top - bottom)
    axes.plot([x, x + length], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
    label = f"{length:g} Å"
    axes.annotate(
        label, (x + length / 2, y), (0, 3), textcoords="offset points", ha="center", va="bottom", color=colour
    )


def round_length(most: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that does not exceed ``most``."""
    power = 10.0 ** torch.tensor(most, dtype=torch.float64).log10().floor().item()
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def grey_range(pictures: Float[Tensor, "*n"]) -> tuple[float, float]:
    """Grey values to draw as white and as black: all but one in a thousand at either end."""
    values = pictures.flatten()
    count = max(1, len(values) // 1000)
    low = values.kthvalue(count).values
    high = values.kthvalue(len(values) - count + 1).values
    return float(low), float(high)

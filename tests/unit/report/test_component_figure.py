"""Maps along the first principal component."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Poses, Volume
from morphem.engine.reconstruction import Reconstruction
from morphem.models.density import LinearDensity
from morphem.report.component_figure import draw_component
from morphem.report.drawing import save_figure

GRID = Grid(16, 4.0)


@pytest.fixture
def result() -> Reconstruction:
    """A ball that grows a knob along z with its only latent."""
    ball, knob = torch.zeros(16, 16, 16), torch.zeros(16, 16, 16)
    ball[5:11, 5:11, 5:11] = 1.0
    knob[11:14, 7:9, 7:9] = 1.0
    latents = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    poses = Poses(torch.eye(3).repeat(200, 1, 1), torch.zeros(200, 2))
    return Reconstruction(poses, latents, LinearDensity.of(Volume(ball, GRID), knob[None]), GRID, {}, {})


def test_maps_differ_where_the_molecule_does(result: Reconstruction, tmp_path: Path):
    figure = draw_component(result)
    assert figure is not None
    panels = figure.get_axes()
    assert len(panels) == 10
    counts = [int(axes.get_title().split()[0].replace(",", "")) for axes in panels[:5]]
    assert sum(counts) == 200
    first, last = (panels[k].get_images()[0].get_array() for k in (5, 9))
    changed = (abs(last - first) > 0.1 * abs(last - first).max()).sum()
    assert 0 < int(changed) <= 2 * 3 * 3  # the knob alone, seen from the side
    assert save_figure(figure, tmp_path / "component.png").stat().st_size > 10_000


def test_latents_without_spread_have_no_direction(result: Reconstruction):
    still = Reconstruction(result.poses, 0 * result.latents, result.density, GRID, {}, {})
    assert draw_component(still) is None
    none = Reconstruction(result.poses, result.latents[:, :0], result.density, GRID, {}, {})
    assert draw_component(none) is None

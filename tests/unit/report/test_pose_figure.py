"""The picture of how poses were found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses, Volume
from morphem.engine.reconstruction import Reconstruction
from morphem.models.density import LinearDensity
from morphem.report.drawing import house_style, save_figure
from morphem.report.pose_figure import draw_search, view_counts


def _found(n: int) -> Reconstruction:
    grid = Grid(16, 4.0)
    poses = Poses(random_rotations(n, torch.Generator().manual_seed(0)), torch.zeros(n, 2))
    density = LinearDensity.of(Volume(torch.zeros(16, 16, 16), grid), torch.zeros(0, 16, 16, 16))
    return Reconstruction(poses, torch.zeros(n, 0), density, grid)


def test_even_views_count_one_everywhere():
    counts = view_counts(random_rotations(60_000, torch.Generator().manual_seed(0))[:, 2])
    assert float(counts.mean()) == pytest.approx(1, abs=1e-3)
    assert float(counts.std()) < 0.2


def test_views_along_one_axis_fill_one_band():
    counts = view_counts(torch.tensor([0.0, 0.0, 1.0]).repeat(500, 1))
    assert float(counts[:, -1].sum()) == pytest.approx(float(counts.sum()))


def test_a_run_without_a_search_has_no_such_picture(tmp_path: Path):
    assert draw_search(tmp_path, _found(10)) is None


def test_the_picture_shows_views_rounds_and_starts(tmp_path: Path):
    facts = {
        "rounds": [{"limit": 10, "score": 5.0, "moved": 0.5}, {"limit": 13, "score": 6.0, "moved": 0.1}],
        "starts": {"log_likelihood": [10.0, 9.0, 4.0], "degrees_from_the_best": [0.0, 3.0, 70.0]},
    }
    (tmp_path / "abinitio.json").write_text(json.dumps(facts), encoding="utf-8")
    with house_style():
        figure = draw_search(tmp_path, _found(300))
        assert figure is not None
        titles = [axes.get_title() for axes in figure.axes]
        assert "directions of view" in titles
        assert "3 starts" in titles
        assert save_figure(figure, tmp_path / "poses.png").stat().st_size > 10_000

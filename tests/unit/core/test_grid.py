"""Grids refuse what they cannot hold and say where their pixels are."""

from __future__ import annotations

import pytest
import torch

from morphem.core.grid import Grid


@pytest.mark.parametrize("box", [0, 1, 65, -4])
def test_an_odd_or_empty_box_is_refused(box):
    with pytest.raises(ValueError, match="even"):
        Grid(box, 1.0)


@pytest.mark.parametrize("pixel_size", [0.0, -1.0, float("inf"), float("nan")])
def test_a_pixel_without_size_is_refused(pixel_size):
    with pytest.raises(ValueError, match="pixel size"):
        Grid(64, pixel_size)


def test_frequencies_end_at_nyquist():
    grid = Grid(16, 2.5)
    assert grid.nyquist == 0.2
    assert grid.frequencies()[0, -1, 0].item() == pytest.approx(0.2)
    assert grid.shell_frequencies()[-1].item() == pytest.approx(0.2)


def test_a_resized_grid_has_the_same_extent():
    assert Grid(64, 1.5).resized(32) == Grid(32, 3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coordinates_have_the_precision_asked_for(dtype):
    grid = Grid(16, 1.1)
    assert grid.axis(dtype=dtype).dtype == dtype
    assert grid.frequencies(dtype=dtype).dtype == dtype

"""Rotations that cover SO(3) evenly."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.rotations import geodesic_distance, random_rotations
from morphem.core.so3_grids import mean_spacing, super_fibonacci


def _gaps(count: int) -> torch.Tensor:
    """Angle (degrees) from random rotations to the nearest of the grid."""
    grid, probes = super_fibonacci(count), random_rotations(400, torch.Generator().manual_seed(0))
    return torch.stack([geodesic_distance(grid, probe.expand_as(grid)).min() for probe in probes]).rad2deg()


def test_they_are_rotations():
    grid = super_fibonacci(300)
    torch.testing.assert_close(grid @ grid.mT, torch.eye(3).expand_as(grid), atol=1e-5, rtol=0)
    assert torch.linalg.det(grid).min() > 0.999


@pytest.mark.parametrize(("count", "mean", "most"), [(1152, 11.3, 20.0), (4608, 7.4, 12.7)])
def test_gaps_are_those_of_the_paper_s_construction(count: int, mean: float, most: float):
    gaps = _gaps(count)
    assert float(gaps.mean()) == pytest.approx(mean, abs=0.5)
    assert float(gaps.max()) < most + 0.5


def test_the_spacing_is_the_ball_each_rotation_has_to_itself():
    angle = mean_spacing(1000)
    assert (angle - math.sin(angle)) / math.pi == pytest.approx(1 / 1000, rel=0.02)

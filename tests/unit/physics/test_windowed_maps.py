"""Mixtures drawn into a map: the twin's density, whose most of it is, and threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics.gaussians import rasterise
from morphem.physics.kernels.windowed_maps import Cloud, splat_map

GRID = Grid(18, 1.0)
PARTS = 3


def mixture(count: int = 90) -> GaussianMixture:
    """Gaussians inside the box, across its edges and outside; sorted by part, ``count / 3`` each."""
    generator = torch.Generator().manual_seed(0)
    centres = (torch.rand(count, 3, generator=generator) - 0.5) * 26
    scales = 0.6 + 1.4 * torch.rand(count, generator=generator)
    return GaussianMixture(centres, scales, torch.rand(count, generator=generator))


def cloud_of(found: GaussianMixture) -> Cloud:
    heights = found.amplitudes / (math.sqrt(2 * math.pi) * found.scales)
    return (found.centres + GRID.box // 2).numpy(), heights.numpy(), found.scales.numpy()


def drawn(threads: int = 1, reach: float = 5.5) -> tuple[np.ndarray, np.ndarray]:
    ends = np.array([30, 60, 90])
    return splat_map(cloud_of(mixture()), ends, (GRID.box, GRID.box), reach, threads)


def test_the_density_is_that_of_the_readable_twin():
    expected = rasterise(mixture(), GRID).voxels.numpy()
    assert np.abs(drawn()[0] - expected).max() < 2e-6 * expected.max()  # ends at 5 and 5.5 deviations


def test_a_voxel_is_labelled_by_the_part_that_gives_most_to_it():
    found = mixture()
    part = torch.arange(90) // 30
    each = [
        rasterise(GaussianMixture(*(values[part == k] for values in vars(found).values())), GRID).voxels
        for k in range(PARTS)
    ]
    most = torch.stack(each).max(0)
    clear = (most.values > 1e-4 * most.values.max()).numpy()
    assert (drawn()[1][clear] == 1 + most.indices.numpy()[clear]).mean() > 0.999


@pytest.mark.parametrize("threads", [2, 3, 18])
def test_threads_change_no_bit(threads: int):
    for one, several in zip(drawn(), drawn(threads), strict=True):
        np.testing.assert_array_equal(one, several)


def test_a_part_without_gaussians_labels_nothing():
    found, labels = splat_map(cloud_of(mixture()), np.array([0, 90]), (GRID.box, GRID.box), 5.5, 1)
    np.testing.assert_array_equal(np.unique(labels[found > 0]), [2])

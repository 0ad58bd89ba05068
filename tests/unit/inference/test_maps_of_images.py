"""Maps from stored images."""

from __future__ import annotations

import torch

from morphem.core.fourier import resize_map
from morphem.core.types import Volume
from morphem.inference.maps import agreement, assemble, filtered_halves, solved
from morphem.inference.templates import working_grid
from morphem.metrics.fsc import shell_correlation


def test_a_map_at_true_poses_is_the_truth_in_its_own_grey_values(small_set):
    made = small_set(400, snr=2.0)
    grid = made.stack.grid
    tables = assemble(made.store, torch.arange(400), (made.truth.poses, torch.ones(400)), 10)
    found = solved(tables, grid, 10, 0.999)
    true = Volume(resize_map(made.volume.voxels, found.grid.box), working_grid(grid, 10))
    assert float(shell_correlation(found, true)[1:10].min()) > 0.97
    scale = float((found.voxels * true.voxels).sum() / true.voxels.square().sum())
    assert 0.95 < scale < 1.05


def test_halves_are_one_below_the_shell_that_joins_them(small_set):
    made = small_set(200)
    fit = made.truth.poses, torch.ones(200)
    one, two = (assemble(made.store, torch.arange(k, 200, 2), fit, 10) for k in range(2))
    grid = made.stack.grid
    known = agreement((one, two), grid, 10)
    apart, joined = (filtered_halves((one, two), grid, 10, known, common) for common in (0, 6))
    torch.testing.assert_close(joined.fsc, apart.fsc)
    assert float(shell_correlation(*joined.volumes)[1:5].min()) > 0.999
    assert float(shell_correlation(*apart.volumes)[8]) < 0.999
    assert float(apart.fsc[11:].abs().max()) == 0

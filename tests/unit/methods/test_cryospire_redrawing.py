"""A fine mixture drawn anew from the maps of its parts."""

from __future__ import annotations

import torch

from morphem.core.grid import Grid
from morphem.methods.cryospire.redrawing import drawn_from
from morphem.methods.cryospire.settings import Config, MixtureConfig
from morphem.models.gaussian_density import AnchoredMixture

GRID = Grid(24, 10.0)
SMALL = Config(features=4, fine=MixtureConfig(gaussians=90, scale=0.03, hidden=8, layers=3))


def test_parts_get_gaussians_by_their_mass_and_those_of_which_nothing_is_seen_none():
    old = AnchoredMixture(30, 4, 4, 2, (8, 3, "products"), GRID.extent)
    maps = torch.zeros(4, 24, 24, 24)
    maps[0, 8:12, 8:12, 8:12] = 1.0
    maps[1] = -1.0
    maps[2] = 0.01  # less than a tenth of what is bright
    maps[3, 14:16, 14:18, 14:18] = 1.0
    drawn = drawn_from(maps, old, GRID, SMALL)
    assert torch.bincount(drawn.part, minlength=4).tolist() == [60, 0, 0, 30]
    spots = drawn.resting().centres / GRID.pixel_size + GRID.box // 2  # x, y, z in voxels
    for part, low, high in ((0, (8, 8, 8), (12, 12, 12)), (3, (14, 14, 14), (18, 18, 16))):
        own = spots[drawn.part == part]
        assert bool((own >= torch.tensor(low) - 0.5).all())
        assert bool((own <= torch.tensor(high) - 0.5).all())

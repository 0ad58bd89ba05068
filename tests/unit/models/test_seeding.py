"""Where the Gaussians of a mixture start, and how bright."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume
from morphem.models.seeding import bright_level, draw_centres, equal_gaussians, fitting_factor
from morphem.physics.gaussians import rasterise

GRID = Grid(16, 2.0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_centres_are_drawn_in_proportion_to_the_density_above_the_threshold():
    voxels = torch.rand(16, 16, 16, generator=generator()) - 0.2
    points = draw_centres(Volume(voxels, GRID), 100_000, 0.25, generator())
    x, y, z = (points / GRID.pixel_size + 8).round().long().T
    drawn = torch.bincount((z * 16 + y) * 16 + x, minlength=16**3)
    chance = torch.where(voxels > 0.25 * bright_level(voxels), voxels, 0).flatten().double()
    assert drawn[chance == 0].sum() == 0
    inside = chance > 0
    expected = chance[inside] / chance.sum() * drawn.sum()
    assert chisquare(drawn[inside].numpy(), expected.numpy()).pvalue > 1e-3


def test_centres_lie_evenly_within_their_voxel():
    voxels = torch.zeros(16, 16, 16)
    voxels[3, 9, 12] = 1
    points = draw_centres(Volume(voxels, GRID), 20_000, 0.0, generator())
    middle = torch.tensor([4.0, 1.0, -5.0]) * GRID.pixel_size
    assert (points - middle).abs().max() <= GRID.pixel_size / 2
    # a uniform coordinate has variance width²/12; 20,000 draws give it to about 1 %
    torch.testing.assert_close(points.var(0), torch.full((3,), GRID.pixel_size**2 / 12), rtol=0.04, atol=0)


def test_the_same_generator_draws_the_same_centres():
    volume = Volume(torch.rand(16, 16, 16, generator=generator()), GRID)
    assert torch.equal(draw_centres(volume, 50, 0.1, generator()), draw_centres(volume, 50, 0.1, generator()))


def test_a_map_without_positive_density_is_refused():
    with pytest.raises(ValueError, match="sign"):
        draw_centres(Volume(-torch.ones(16, 16, 16), GRID), 5, 0.1, generator())


def test_the_fitting_factor_is_the_one_that_the_map_was_made_with():
    points = draw_centres(Volume(torch.rand(16, 16, 16, generator=generator()), GRID), 40, 0.1, generator())
    mixture = equal_gaussians(points, 3.0, 0.15)
    brighter = GaussianMixture(mixture.centres, mixture.scales, 2.5 * mixture.amplitudes)
    assert fitting_factor(rasterise(brighter, GRID), mixture) == pytest.approx(2.5, rel=1e-4)


def test_the_fitting_factor_leaves_a_residual_without_the_mixture():
    volume = Volume(torch.rand(16, 16, 16, generator=generator()), GRID)
    mixture = equal_gaussians(draw_centres(volume, 40, 0.1, generator()), 3.0, 0.15)
    drawn = rasterise(mixture, GRID).voxels
    residual = volume.voxels - fitting_factor(volume, mixture) * drawn
    assert abs(float((residual * drawn).sum())) < 1e-4 * float((volume.voxels * drawn).sum())

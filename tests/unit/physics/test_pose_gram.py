"""Slopes against finite differences of exact slices, and the compiled sums against columns written out."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, random_rotations
from morphem.core.types import GaussianMixture, Volume
from morphem.physics import pose_gram as p
from morphem.physics.gaussians import gaussian_slices, rasterise
from morphem.physics.slices import disc, prepare_transform

GRID = Grid(20, 3.0)
LIMIT = 8  # frequency pixels


def molecule(seed: int = 0) -> GaussianMixture:
    """Eight Gaussians within a sixth of the box."""
    generator = torch.Generator().manual_seed(seed)
    centres = (torch.rand(8, 3, generator=generator, dtype=torch.float64) - 0.5) * GRID.extent / 3
    return GaussianMixture(centres, torch.full((8,), 3.6).double(), torch.linspace(1, 2, 8).double())


def places() -> torch.Tensor:
    """Frequencies ``(x, y)`` in pixels within the limit."""
    inside = disc(GRID)
    pixels = GRID.frequencies(dtype=torch.float64)[inside] * GRID.extent
    return pixels[pixels.norm(dim=1) <= LIMIT]


def tables(maps: int = 1, padding: int = 2, dtype: torch.dtype = torch.float32) -> p.PoseTables:
    axis = GRID.axis(dtype=torch.float64) * (2 * math.pi / GRID.extent)
    moments = [1, axis, axis[:, None], axis[:, None, None]]
    volumes = [rasterise(molecule(seed), GRID).voxels for seed in range(maps)]
    transforms = [prepare_transform(Volume(v * moment, GRID), padding) for moment in moments for v in volumes]
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return p.pose_tables(torch.stack(transforms).to(kind), (places() / (GRID.box // 2)).to(dtype), GRID)


def batch(images: int = 5) -> tuple[torch.Tensor, ...]:
    """Rotations, shifts (Å), transfers and coefficients."""
    generator = torch.Generator().manual_seed(3)
    count = len(places())
    return (
        random_rotations(images, generator),
        20 * torch.randn(images, 2, generator=generator),
        torch.randn(images, count, generator=generator),
        100 * torch.randn(images, count, generator=generator, dtype=torch.complex64),
    )


def written_out(tables: p.PoseTables, *images: torch.Tensor) -> torch.Tensor:
    """The sums in double precision."""
    rotation, shift, transfer, values, *weights = images
    double = p.PoseTables(tables.cells.double(), tables.plane.double(), tables.grid)
    columns = p.pose_columns(double, *(each.double() for each in (rotation, shift, transfer, *weights)))
    columns = torch.cat([columns, values[:, None].to(columns.dtype)], 1)
    return (columns[:, :, None] * columns[:, None].conj()).real.sum(-1)


def largest_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """As a share of the two columns' lengths."""
    length = expected.diagonal(dim1=1, dim2=2).sqrt()
    return ((found - expected).abs() / (length[:, :, None] * length[:, None])).max().item()


def exact(turn: torch.Tensor, move: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Moved slices of the molecule itself, at the frequencies of :func:`places`."""
    slices = gaussian_slices(molecule(), from_rotation_vector(turn) @ rotation, GRID)
    x, y = places().long().T
    angle = -2 * math.pi * move @ (places() / GRID.extent).T
    return slices[:, y % GRID.box, x] * torch.polar(torch.ones_like(angle), angle)


def test_slopes_are_those_of_exact_slices():
    rotation = random_rotations(3, torch.Generator().manual_seed(0)).double()
    shift = torch.tensor([[3.0, -5.0], [0.0, 0.0], [-11.0, 2.0]], dtype=torch.float64)
    found = p.pose_columns(
        tables(1, 5, torch.float64), rotation, shift, torch.ones(3, len(places())).double()
    )
    zero, step = torch.zeros(3, dtype=torch.float64), 1e-5
    for i in range(5):
        change = step * torch.eye(5, dtype=torch.float64)[i]
        ahead, behind = (
            exact(zero + sign * change[:3], shift + sign * change[3:], rotation) for sign in (1, -1)
        )
        slope = (ahead - behind) / (2 * step)
        # trilinear between frequencies five times finer than the box's
        assert (found[:, i] - slope).norm() < 3e-3 * slope.norm()
    model = exact(zero, shift, rotation)
    assert (found[:, 5] - model).norm() < 3e-3 * model.norm()


@pytest.mark.parametrize("images", [1, 5])
def test_compiled_sums_equal_columns_written_out(images: int):
    one, seen = tables(), batch(images)
    assert largest_error(p.pose_gram(one, *seen), written_out(one, *seen)) < 1e-5  # float32


def test_several_maps_have_slopes_of_their_mixture():
    three, seen = tables(3), batch()
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(8))
    found = p.pose_gram(three, *seen, weights)
    assert found.shape == (5, 9, 9)
    assert largest_error(found, written_out(three, *seen, weights)) < 1e-5
    assert torch.equal(found[:, 5:, 5:], p.pose_gram(three, *seen)[:, 5:, 5:])


def test_sums_in_double_precision_are_those_written_out():
    double = tables(2, dtype=torch.float64)
    seen = tuple(each.to(torch.promote_types(each.dtype, torch.float64)) for each in batch())
    assert largest_error(p.pose_gram(double, *seen), written_out(double, *seen)) < 1e-12


@pytest.mark.parametrize("count", [1, 7, 8, 130])
def test_any_number_of_frequencies_is_summed(count: int):
    one = tables()
    rotation, shift, transfer, values = batch()
    few = p.PoseTables(one.cells, one.plane[-count:], GRID)
    seen = rotation, shift, transfer[:, :count], values[:, :count]
    assert largest_error(p.pose_gram(few, *seen), written_out(few, *seen)) < 1e-5


def test_sums_do_not_depend_on_the_number_of_threads():
    one, seen, before = tables(), batch(7), torch.get_num_threads()
    alone = p.pose_gram(one, *seen)
    try:
        torch.set_num_threads(3)
        assert torch.equal(p.pose_gram(one, *seen), alone)
    finally:
        torch.set_num_threads(before)


def test_a_lost_value_stays_in_its_image():
    one, seen = tables(), batch()
    seen[3][2, 4] = torch.nan
    found = p.pose_gram(one, *seen)
    assert found[2, 6].isnan().all()
    assert found[[0, 1, 3, 4]].isfinite().all()


def test_maps_without_derivatives_are_refused():
    with pytest.raises(ValueError, match="three derivatives"):
        p.pose_tables(torch.zeros(3, 5, 5, 3, dtype=torch.complex64), torch.zeros(1, 2), GRID)

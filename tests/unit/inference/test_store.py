"""The low frequencies of images in memory."""

from __future__ import annotations

import pytest
import torch

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.inference.search import ramps
from morphem.inference.store import disc
from morphem.inference.templates import template
from morphem.physics.ctf import contrast_transfer


def test_a_smaller_disc_is_the_beginning_of_a_larger_one():
    small, large = disc(Grid(32, 4.0), 6), disc(Grid(32, 4.0), 14)
    assert torch.equal(large.places[: large.count(6)], small.places)
    assert small.limit == 6


def test_a_disc_has_every_pair_of_mates_once():
    places = disc(Grid(32, 4.0), 9).places
    both = torch.cat([places, -places])
    assert len(both.unique(dim=0)) == len(both)
    line = torch.arange(-9, 10)
    inside = torch.cartesian_prod(line, line).square().sum(1) <= 81
    assert len(both) == int(inside.sum()) - 1  # DC


@pytest.mark.parametrize("limit", [0, 16])
def test_a_disc_ends_below_nyquist(limit: int):
    with pytest.raises(ValueError, match="have 1 to 15"):
        disc(Grid(32, 4.0), limit)


def test_stored_coefficients_are_the_images(small_set):
    made = small_set(20)
    x, y = made.store.disc.places.T
    expected = to_fourier(made.stack.read(torch.arange(20)).images)[:, y % 32, x] / 32
    found = made.store.read(torch.arange(20), 14)
    assert float((found.values - expected).abs().max()) < 2e-3 * float(expected.abs().max())  # float16
    transfer = contrast_transfer(made.stack.optics, made.stack.grid)[:, y % 32, x]
    torch.testing.assert_close(found.transfer, transfer, atol=1e-5, rtol=0)


def test_what_the_true_map_leaves_is_noise_of_power_one(small_set):
    made = small_set(150)
    rows, poses = torch.arange(150), made.truth.poses
    images = made.store.read(rows, 12)
    slices = template(made.volume, made.store.disc, 12).slices(poses.rotation)[0]
    left = images.values - slices * images.transfer * ramps(made.store.disc, 12, poses.shift)
    assert float(left.abs().square().mean()) == pytest.approx(1, abs=0.02)


def test_noise_divides_both_the_image_and_its_transfer(small_set):
    made = small_set(10)
    plain = made.store.read(torch.arange(10), 8)
    loud = made.store.with_noise(torch.full_like(made.store.noise, 4.0)).read(torch.arange(10), 8)
    torch.testing.assert_close(loud.values, plain.values / 2)
    torch.testing.assert_close(loud.transfer, plain.transfer / 2)


def test_a_million_images_take_two_gigabytes_at_most():
    count = disc(Grid(64, 4.0), 16).count(16)
    assert count * 4 * 1_000_000 < 2e9

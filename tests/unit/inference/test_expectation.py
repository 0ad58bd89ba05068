"""Slices weighed with the posterior of every pose."""

from __future__ import annotations

import pytest
import torch

from morphem.core.so3_grids import super_fibonacci
from morphem.inference.expectation import expected
from morphem.inference.search import ramps, shift_lattice
from morphem.inference.templates import template


@pytest.fixture(scope="module", params=[0.02, 0.5])
def scene(request, small_set):
    """Images, slices of the true map, ramps."""
    made = small_set(7, snr=request.param)
    rotation, shift = super_fibonacci(60), shift_lattice(16.0, 8.0)
    images = made.store.read(torch.arange(7), 7)
    slices = template(made.volume, made.store.disc, 7).slices(rotation)[0]
    return images, slices, ramps(made.store.disc, 7, shift)


@pytest.mark.parametrize("warmth", [1.0, 0.3])
def test_posterior_means_are_those_of_all_poses_one_by_one(scene, warmth: float):
    images, slices, moves = scene
    all_slices = torch.cat([slices, slices.conj()])
    values, transfer = images.values.to(torch.complex128), images.transfer.double()
    model = transfer[:, None, None] * (moves[:, None] * all_slices).to(torch.complex128)  # b t r m
    gain = values.abs().square().sum(1)[:, None, None] - (values[:, None, None] - model).abs().square().sum(3)
    chance = (warmth * gain).flatten(1).softmax(1).view(gain.shape)
    upright, turned = chance.chunk(2, 2)
    centred = (values * transfer)[:, None] * moves.conj().to(torch.complex128)  # b t m
    found = expected(images, slices, moves, warmth)
    numerator = torch.einsum("btr,btm->rm", upright.to(centred.dtype), centred)
    numerator += torch.einsum("btr,btm->rm", turned.to(centred.dtype), centred.conj())
    weight = torch.einsum("btr,bm->rm", upright + turned, transfer.square())
    for name, value in (("numerator", numerator), ("weight", weight), ("best", gain.amax((1, 2)))):
        wanted = value.to(getattr(found, name).dtype)
        torch.testing.assert_close(
            getattr(found, name), wanted, rtol=2e-3, atol=2e-4 * float(wanted.abs().max())
        )


def test_every_image_counts_once(scene):
    images, slices, moves = scene
    found = expected(images, slices, moves)
    torch.testing.assert_close(found.weight.sum(0), images.transfer.square().sum(0), rtol=1e-4, atol=1e-4)


def test_a_flat_map_leaves_every_pose_alike(scene):
    images, slices, moves = scene
    found = expected(images, 0 * slices, moves)
    assert float(found.best.abs().max()) == 0
    torch.testing.assert_close(found.weight, found.weight[:1].expand_as(found.weight))

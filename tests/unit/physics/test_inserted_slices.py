"""Compiled insertion against the adjoint of slicing."""

from __future__ import annotations

import pytest
import torch

from morphem.core.rotations import random_rotations
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.slices import insert_density, insert_plane

PADDED = 24


def batch(numerators: int, densities: int, images: int = 6) -> tuple[torch.Tensor, ...]:
    """Values, densities, rotations and frequencies below Nyquist."""
    generator = torch.Generator().manual_seed(2)
    plane = torch.rand(150, 2, generator=generator) * 1.2 - 0.6
    values = torch.randn(numerators, images, 150, generator=generator, dtype=torch.complex64)
    weights = torch.rand(densities, images, 150, generator=generator)
    return values, weights, random_rotations(images, generator), plane


@pytest.mark.parametrize(("numerators", "densities"), [(1, 1), (3, 6), (1, 0)])
def test_cells_are_the_adjoint_of_slices(numerators: int, densities: int):
    values, weights, rotation, plane = batch(numerators, densities)
    found = InsertedSlices(PADDED, numerators, densities)
    found.add(values, weights, rotation, plane)
    expected = insert_plane(values.to(torch.complex128), rotation.double(), plane.double(), PADDED)
    assert (found.numerators() - expected).abs().max() < 1e-5 * expected.abs().max()  # float32 places
    if densities:
        expected = insert_density(weights.double(), rotation.double(), plane.double(), PADDED)
        assert (found.densities() - expected).abs().max() < 1e-5 * expected.abs().max()


def test_insertion_adds_to_what_is_there():
    values, weights, rotation, plane = batch(1, 1)
    once, twice = InsertedSlices(PADDED), InsertedSlices(PADDED)
    once.add(values, weights, rotation, plane)
    for part in (slice(0, 2), slice(2, 6)):
        twice.add(values[:, part], weights[:, part], rotation[part], plane)
    assert torch.equal(once.cells, twice.cells)


def test_insertion_does_not_depend_on_the_number_of_threads():
    values, weights, rotation, plane = batch(2, 3)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(InsertedSlices(PADDED, 2, 3))
            found[-1].add(values, weights, rotation, plane)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].cells, found[1].cells)
    assert torch.equal(found[0].cells, found[2].cells)


def test_a_point_at_zero_frequency_is_counted_once():
    found = InsertedSlices(PADDED)
    zero = torch.zeros(1, 2)
    found.add(torch.full((1, 1, 1), 2 + 3j), torch.ones(1, 1, 1), torch.eye(3)[None], zero)
    assert found.numerators()[0, PADDED // 2, PADDED // 2, 0] == 2 + 3j
    assert found.densities().sum() == 1


def test_other_numbers_of_slices_are_refused():
    with pytest.raises(ValueError, match="2 values"):
        InsertedSlices(PADDED).add(*batch(2, 1))

"""Compiled sampling against torch's."""

from __future__ import annotations

import pytest
import torch

from morphem.core.rotations import random_rotations
from morphem.physics.sampled_slices import interleave, sample_cells
from morphem.physics.slices import sample_plane

PADDED = 24


def transforms(maps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    shape = maps, PADDED + 1, PADDED + 1, PADDED // 2 + 1
    return torch.randn(shape, generator=generator, dtype=torch.complex64)


def views(images: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return random_rotations(images, generator), torch.rand(150, 2, generator=generator) * 1.2 - 0.6


@pytest.mark.parametrize("maps", [1, 4, 5])
def test_compiled_slices_equal_those_of_torch(maps: int):
    found = sample_cells(interleave(transforms(maps)), maps, *views())
    rotation, plane = views()
    expected = sample_plane(transforms(maps).to(torch.complex128), rotation.double(), plane.double())
    assert (found - expected).abs().max() < 2e-5  # float32 places in cells of noise


def test_slices_of_some_maps_are_those_among_all():
    cells = interleave(transforms(6))
    assert torch.equal(sample_cells(cells, 2, *views()), sample_cells(cells, 6, *views())[:2])


def test_slices_in_double_precision_are_those_of_torch():
    rotation, plane = (each.double() for each in views())
    double = transforms(2).to(torch.complex128)
    assert torch.equal(
        sample_cells(interleave(double), 2, rotation, plane), sample_plane(double, rotation, plane)
    )


def test_slices_do_not_depend_on_the_number_of_threads():
    cells, before = interleave(transforms(3)), torch.get_num_threads()
    alone = sample_cells(cells, 3, *views())
    try:
        torch.set_num_threads(3)
        assert torch.equal(sample_cells(cells, 3, *views()), alone)
    finally:
        torch.set_num_threads(before)

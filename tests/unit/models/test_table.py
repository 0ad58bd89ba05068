"""Row-wise Adam."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from morphem.models.table import ParticleTable

ROWS = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


def _descend(table: ParticleTable, particle: Tensor, target: Tensor) -> None:
    (table.read(particle) - target).pow(4).sum().backward()
    table.step(*table.gradients(), 0.05)


def test_it_is_adam_where_every_row_is_seen():
    table, dense = ParticleTable(ROWS, 0.05), ROWS.clone().requires_grad_()
    adam = torch.optim.Adam([dense], lr=0.05, betas=(0.9, 0.9))
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        order = torch.randperm(10, generator=generator)
        target = torch.randn(10, 4, generator=generator)
        _descend(table, order, target[order])
        adam.zero_grad()
        (dense - target).pow(4).sum().backward()
        adam.step()
    torch.testing.assert_close(table.rows, dense.detach())  # order of operations differs: float32 rounding


def test_an_unseen_row_does_not_move():
    table = ParticleTable(ROWS, 0.05)
    _descend(table, torch.tensor([1, 4]), torch.zeros(2, 4))
    before = table.rows.clone()
    _descend(table, torch.tensor([4, 7]), torch.zeros(2, 4))
    unseen = [k for k in range(10) if k not in (4, 7)]
    assert torch.equal(table.rows[unseen], before[unseen])
    assert (table.rows[[4, 7]] != before[[4, 7]]).all()


def test_the_first_step_of_a_row_is_a_full_one_whenever_it_comes():
    early, late = ParticleTable(ROWS, 0.05), ParticleTable(ROWS, 0.05)
    for _ in range(5):
        _descend(late, torch.tensor([0]), torch.zeros(1, 4))
    for table in (early, late):
        _descend(table, torch.tensor([3]), torch.zeros(1, 4))
    assert torch.equal(early.rows[3], late.rows[3])


def test_images_of_one_particle_add_their_gradients():
    apart, together = ParticleTable(ROWS, 0.05), ParticleTable(ROWS, 0.05)
    target = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    _descend(apart, torch.tensor([2, 2, 5]), target)
    row = together.read(torch.tensor([2, 5]))
    ((row[[0, 0, 1]] - target).pow(4).sum()).backward()
    together.step(*together.gradients(), 0.05)
    torch.testing.assert_close(apart.rows, together.rows)


def test_rows_read_twice_in_a_step_add_their_gradients():
    twice, once = ParticleTable(ROWS, 0.05), ParticleTable(ROWS, 0.05)
    particle = torch.tensor([2, 5])
    (twice.read(particle).pow(3).sum() + twice.read(particle).square().sum()).backward()
    row = once.read(particle)
    (row.pow(3).sum() + row.square().sum()).backward()
    for table in (twice, once):
        table.step(*table.gradients(), 0.05)
    torch.testing.assert_close(twice.rows, once.rows)


@pytest.mark.parametrize("recorded", [True, False])
def test_without_a_gradient_nothing_moves(recorded: bool):
    table = ParticleTable(ROWS, 0.05)
    with torch.set_grad_enabled(recorded):
        table.read(torch.tensor([1, 2]))
    table.step(*table.gradients(), 0.05)
    assert torch.equal(table.rows, ROWS)


def test_moments_and_rows_are_in_the_state():
    table, other = ParticleTable(ROWS, 0.05), ParticleTable(torch.zeros(10, 4), 0.05)
    for _ in range(3):
        _descend(table, torch.tensor([1, 4]), torch.zeros(2, 4))
    other.load_state_dict(table.state_dict())
    for each in (table, other):
        _descend(each, torch.tensor([4, 7]), torch.zeros(2, 4))
    assert torch.equal(table.rows, other.rows)

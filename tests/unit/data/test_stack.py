from __future__ import annotations

import torch

from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.data.stack import order, stack_in_memory


def optics(n: int) -> Optics:
    ones = torch.ones(n)
    return Optics(
        15000 * ones, 14000 * ones, 0 * ones, 300 * ones, 2.7 * ones, 0.1 * ones, 0 * ones, 0 * ones, ones
    )


def small_stack(n: int = 12, particle: torch.Tensor | None = None):
    images = torch.arange(n).float()[:, None, None].expand(n, 4, 4).contiguous()
    return stack_in_memory(images, Grid(4, 2.0), optics(n), particle=particle)


def test_a_batch_carries_the_rows_asked_for():
    batch = small_stack().read(torch.tensor([7, 2]))
    assert batch.images[:, 0, 0].tolist() == [7, 2]
    assert batch.index.tolist() == [7, 2]
    assert batch.particle.tolist() == [7, 2]


def test_a_selection_reads_what_its_rows_named():
    chosen = small_stack().select(torch.tensor([9, 4, 5]))
    assert chosen.read(torch.tensor([0, 2])).images[:, 0, 0].tolist() == [9, 5]
    assert chosen.n_particles == 3


def test_halves_are_disjoint_complete_and_never_split_a_particle():
    particle = torch.arange(40) // 4
    stack = small_stack(40, particle)
    first, second = stack.halves(seed=3)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(40))
    assert not set(particle[first].tolist()) & set(particle[second].tolist())
    assert len(first) == len(second)


def test_an_order_depends_on_seed_and_epoch_alone():
    assert order(50, 1, 2).equal(order(50, 1, 2))
    assert not order(50, 1, 2).equal(order(50, 1, 3))
    assert not order(50, 1, 2).equal(order(50, 2, 1))
    assert order(50, 1, 2).sort().values.equal(torch.arange(50))

"""What stands in for a GPU is as strict as one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from accelerator import NAME, on_accelerator


def refused(operation: Callable[[], object]) -> bool:
    try:
        operation()
    except RuntimeError as error:
        return "and on the CPU" in str(error)
    return False


def tried() -> tuple[list[bool], list[Tensor]]:
    """Whether what meets on two devices was refused, and numbers of what was not."""
    here, there = torch.arange(4.0), torch.arange(4.0, device=NAME)
    rows, own = torch.tensor([2, 0]), torch.tensor([2, 0]).to(NAME)
    spoilt = [
        lambda: here + there,
        lambda: torch.stack([here, there]),
        lambda: here[own],
        lambda: there.index_put_((rows,), here[:2]),
        lambda: there.index_select(0, rows),
    ]
    slope = there.clone().requires_grad_()
    turned = torch.polar(torch.ones_like(slope), slope)
    (turned * torch.polar(torch.ones_like(there), -there)).imag.sum().backward()
    assert slope.grad is not None
    there[0] = 7.0
    sound = [there[rows], there.view(2, 2).mT, 2 * there, slope.grad]
    return [refused(each) for each in spoilt], [each.cpu().clone() for each in sound]


def test_tensors_of_the_accelerator_meet_no_others():
    refusals, (rows, turned, twice, slope) = on_accelerator(tried)
    assert refusals == 5 * [True]
    assert rows.tolist() == [2.0, 7.0]
    assert turned.tolist() == [[7.0, 2.0], [1.0, 3.0]]
    assert twice.tolist() == [14.0, 2.0, 4.0, 6.0]
    torch.testing.assert_close(slope, torch.ones(4))  # of sin(x - c) at x = c

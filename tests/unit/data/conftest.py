"""Small particle sets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.data.stack import ParticleStack, stack_in_memory


@pytest.fixture
def make_optics():
    """Optics of ``n`` images of an ordinary microscope."""

    def make(n: int) -> Optics:
        one, nil = torch.ones(n), torch.zeros(n)
        return Optics(15000 * one, 14000 * one, nil, 300 * one, 2.7 * one, 0.1 * one, nil, nil, one)

    return make


@pytest.fixture
def make_stack(make_optics):
    """A stack of ``n`` images, every pixel of image i being i."""

    def make(n: int = 12, particle: Tensor | None = None) -> ParticleStack:
        images = torch.arange(n).float()[:, None, None].expand(n, 4, 4).contiguous()
        return stack_in_memory(images, Grid(4, 2.0), make_optics(n), particle=particle)

    return make

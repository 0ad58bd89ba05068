"""Small particle sets with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.stack import ParticleStack
from morphem.inference.store import Store, collect
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth, simulate


@dataclass(frozen=True)
class SmallSet:
    """Simulated particles, stored, with their truth."""

    stack: ParticleStack
    truth: Truth
    store: Store
    volume: Volume


@pytest.fixture(scope="session")
def small_set() -> Callable[..., SmallSet]:
    """Makes sets of the built-in molecule without motion: box 32, 8 Å."""

    def make(n: int = 200, snr: float = 0.5, seed: int = 0, **conditions: float) -> SmallSet:
        grid = Grid(32, 8.0)
        stack, truth = simulate(hinge(1e-3, 1.0), n, grid, seed, Conditions(snr=snr, **conditions))
        store = collect(stack, 14, torch.ones(1, grid.half))
        return SmallSet(stack, truth, store, truth.volume(torch.tensor([0.0, 1.0])))

    return make

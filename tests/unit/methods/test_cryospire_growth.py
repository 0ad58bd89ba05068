"""What a step and a latent cost grows no faster than images and Gaussians, counted rather than timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from morphem.core.grid import Grid
from morphem.data.stack import ParticleStack
from morphem.inference.latents import LatentConfig, Scene, solve_latents, weak_prior
from morphem.inference.store import collect
from morphem.methods.cryospire.objectives import BandObjective
from morphem.methods.cryospire.settings import PRESETS
from morphem.methods.cryospire.starting import network
from morphem.models.gaussian_density import AnchoredMixture
from morphem.models.table import ParticleTable
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

GRID, LIMIT, IMAGES = Grid(24, 10.0), 8, 96
CONFIG = PRESETS["fast"]


class Counted(TorchDispatchMode):
    """Counts the numbers that torch's operations give out: what is written to memory, views aside."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            sizes = [each.numel() for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
            self.numbers += sum(sizes)
            self.largest = max([self.largest, *sizes])
        return result


@pytest.fixture(scope="module")
def stack() -> ParticleStack:
    return simulate(hinge(), IMAGES, GRID, 0, Conditions(snr=0.5))[0]


def mixture(gaussians: int) -> AnchoredMixture:
    torch.manual_seed(0)
    size = replace(CONFIG.fine, gaussians=gaussians)
    made = AnchoredMixture(gaussians, 3, CONFIG.features, CONFIG.latent, network(size, CONFIG), GRID.extent)
    with torch.no_grad():
        made.offsets.normal_(std=0.1)
        made.log_scales.fill_(-3.5)
        made.amplitudes.fill_(0.2)
        made.part.copy_(torch.arange(gaussians) % 3)
    return made


def counted(stack: ParticleStack, images: int, gaussians: int, latents: bool) -> Counted:
    """Of a step on so many images, or of solving for their latents."""
    rows = torch.arange(images)
    some = stack.select(rows)
    noise = torch.ones(1, GRID.half)
    scene = Scene(collect(some, LIMIT, noise), some.poses, some.particle, LIMIT, 0.2, weak_prior(4, 0.2))
    table = ParticleTable(0.1 * torch.randn(images, 4, generator=torch.Generator().manual_seed(1)), 0.1)
    density = mixture(gaussians)
    with Counted() as tally:
        if latents:
            solve_latents(density, table.rows, scene, LatentConfig(restarts=0, first_steps=1, steps=0), None)
        else:
            terms = BandObjective(density, table, scene, CONFIG).terms(some.read(rows), 0)
            torch.stack(list(terms.values())).sum().backward()
    return tally


@pytest.mark.parametrize("latents", [False, True], ids=["step", "latents"])
@pytest.mark.parametrize("axis", ["images", "gaussians"])
def test_twice_as_much_costs_at_most_twice_as_much(stack: ParticleStack, latents: bool, axis: str):
    small = {"images": IMAGES // 2, "gaussians": 256}
    large = {**small, axis: 2 * small[axis]}
    before, after = (counted(stack, **each, latents=latents) for each in (small, large))
    assert before.numbers < after.numbers <= 2.02 * before.numbers
    assert after.largest <= 2 * before.largest

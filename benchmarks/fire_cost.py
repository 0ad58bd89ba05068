"""What one look at an image costs: the published method's training step beside searches and refinement."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from morphem.core.grid import Grid
from morphem.core.types import Particles
from morphem.engine.insertion import background_noise
from morphem.inference.abinitio import SeedConfig
from morphem.inference.expectation import expected
from morphem.inference.hypotheses import search_grid, searched
from morphem.inference.infer import FIRST
from morphem.inference.refine import map_products, refine
from morphem.inference.seeds import FIRST as START
from morphem.inference.store import collect
from morphem.methods.cryofire.paper import AmortisedObjective, Autoencoder, PaperConfig
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

_IMAGES = 64
_BATCH = 16  # of the published method here; its own is 128, which costs the same an image
_STEPS = 4  # of refinement
_EXTENT = 256.0  # Å


class Products(TorchDispatchMode):
    """Counts the arithmetic of matrix products and convolutions while it is entered.

    Attributes:
        flop: Additions and multiplications of real numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            factor = 4 if isinstance(out, torch.Tensor) and out.is_complex() else 1
            self.flop += factor * count(*args, **(kwargs or {}), out_val=out)
        return out


def costs(boxes: list[int]) -> dict[str, Any]:
    """Milliseconds of one thread and GFLOP an image, by box.

    Products of matrices and convolutions are counted as they run; what kernels do in refinement is not, and
    its GFLOP are left out.
    """
    torch.set_num_threads(1)
    return {"boxes": [{"box": box, **_published(box), **_by_search(box)} for box in boxes]}


def images_within(seconds: float, grid: Grid) -> int:
    """How many images the published method can look at in so many seconds on one thread, at this load."""
    torch.set_num_threads(1)
    step = _training_step(_noise(grid))
    step()
    begun = time.perf_counter()
    for _ in range(3):
        step()
    return max(1, int(seconds * 3 * _BATCH / (time.perf_counter() - begun)))


def _published(box: int) -> dict[str, Any]:
    """One step of training, and the encoder alone."""
    batch = _noise(Grid(box, _EXTENT / box))
    step, autoencoder = _training_step(batch), Autoencoder(batch.grid, PaperConfig()).eval()

    def look() -> None:
        with torch.no_grad():
            autoencoder.guesses(batch.images)

    return {"paper_training": measured(step, _BATCH), "paper_encoder": measured(look, _BATCH)}


def _by_search(box: int) -> dict[str, Any]:
    """A step of a start, a search of all poses in a first map, and refinement at the finest frequencies."""
    grid = Grid(box, _EXTENT / box)
    stack, truth = simulate(hinge(), _IMAGES, grid, 0, Conditions(snr=0.4, shift=1.5 * grid.pixel_size))
    limit = min(40, box // 2 - 1)
    store = collect(stack, limit, background_noise(stack, torch.arange(_IMAGES), None))
    volume, starts = truth.volume(truth.state[0]), SeedConfig()
    places = search_grid(store, volume, FIRST, starts.rotations, starts.reach * grid.extent)
    coarse, fine = store.read(torch.arange(_IMAGES), FIRST), store.read(torch.arange(_IMAGES), limit)
    model = map_products(volume, store.disc, limit)
    search = measured(lambda: searched(coarse, places, starts.hypotheses), _IMAGES)
    steps = measured(lambda: refine(fine, model, truth.poses, _STEPS), _IMAGES)
    phase = START[0]
    few = search_grid(store, volume, phase.limit, phase.rotations, starts.reach * grid.extent)
    first = store.read(torch.arange(_IMAGES), phase.limit)
    start = measured(lambda: expected(first, few.slices, few.moves), _IMAGES)
    start |= {"rotations": len(few.rotation), "shifts": len(few.shift), "limit": phase.limit}
    search |= {"rotations": len(places.rotation), "shifts": len(places.shift), "limit": FIRST}
    return {
        "start": start,
        "search": search,
        "refinement": {"ms": steps["ms"], "steps": _STEPS, "limit": limit},
    }


def measured(work: Callable[[], object], images: int, budget: float = 5.0) -> dict[str, float]:
    """Least milliseconds of the processor and GFLOP for one of ``images``; three calls at least."""
    with Products() as counter:
        work()
    times, end = [], time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < end:
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return {
        "ms": 1e3 * min(times) / images,
        "gflop": counter.flop / images / 1e9,
    }


def _noise(grid: Grid) -> Particles:
    stack, _ = simulate(hinge(), _BATCH, grid, 0, Conditions(snr=0.4))
    return stack.read(torch.arange(_BATCH))


def _training_step(batch: Particles) -> Callable[[], None]:
    """Loss, gradient and update of the second stage, where latents are learned too."""
    config = PaperConfig()
    objective = AmortisedObjective(Autoencoder(batch.grid, config), config)
    optimiser = torch.optim.Adam(objective.parameter_groups())

    def step() -> None:
        optimiser.zero_grad()
        sum(objective.terms(batch, 0).values()).backward()
        optimiser.step()

    return step

"""A small result with a known density: three balls; one turns about another, one comes and goes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Poses
from morphem.data.stack import ParticleStack
from morphem.physics.gaussians import rasterise
from morphem.report.scene.shown import Column, Shown

PARTICLES, BOX, PIXEL = 900, 48, 4.0
CLUSTERS = ((-1.0, -0.5), (0.9, 0.8), (0.6, -1.0))
PARTS = 3


def made_result(stack: ParticleStack | None = None, poses: Poses | None = None) -> Shown:
    """The result; with as many particles as ``stack`` has, if there is one."""
    count = PARTICLES if stack is None else len(stack.particle.unique())
    latents, cluster = made_latents(count)
    grid = Grid(BOX, PIXEL) if stack is None else stack.grid
    parts = [_part(number + 1) for number in range(PARTS)]
    return Shown(
        title="made",
        subtitle="three balls, made by hand",
        latents=latents,
        grid=grid,
        decode=lambda z: rasterise(mixture(z), grid),
        label=lambda z, on: labels(z, on),
        columns=(
            Column("cluster", "cluster drawn from", cluster, categories=("left", "right", "low")),
            Column("defocus", "defocus", np.linspace(8000, 26000, count, dtype=np.float32), "Å"),
        ),
        stack=stack,
        poses=poses,
        summary=(("particles", f"{count:,}"), ("box", f"{grid.box} voxels of {grid.pixel_size:g} Å")),
        commands=(("look at it live", "morphem view /somewhere/made"),),
        record={"parts": parts, "history": {"fit": [{"epoch": k, "image": 9 / k} for k in range(1, 9)]}},
    )


def made_latents(count: int) -> tuple[Float[Tensor, "p 2"], np.ndarray]:
    """Three clouds in the plane, and from which each particle is drawn."""
    numbers = np.random.default_rng(5)
    cluster = numbers.integers(0, 3, count)
    points = np.array(CLUSTERS)[cluster] + 0.16 * numbers.standard_normal((count, 2))
    return torch.from_numpy(points.astype(np.float32)), cluster.astype(np.int32)


def mixture(z: Float[Tensor, "2"]) -> GaussianMixture:
    """The density: the second ball turns with the first number, the third comes with the second."""
    angle = 0.9 * float(z[0])
    centres = torch.tensor(
        [
            [0.0, -28.0, 0.0],
            [34 * math.sin(angle), 34 * math.cos(angle), 6.0],
            [-40.0, -20.0, 10.0],
        ]
    )
    scales = torch.tensor([17.0, 11.0, 9.0])
    heights = torch.tensor([1.0, 1.0, 0.55 + 0.35 * math.tanh(float(z[1]))])
    return GaussianMixture(centres, scales, heights * math.sqrt(2 * math.pi) * scales)


def labels(z: Float[Tensor, "2"], grid: Grid) -> Int[Tensor, "d d d"]:
    """The ball to which each voxel belongs, 0 where there is next to nothing."""
    all_of_it = mixture(z)
    each = torch.stack(
        [
            rasterise(
                GaussianMixture(
                    all_of_it.centres[k : k + 1], all_of_it.scales[k : k + 1], all_of_it.amplitudes[k : k + 1]
                ),
                grid,
            ).voxels
            for k in range(PARTS)
        ]
    )
    return torch.where(each.amax(0) > 0.08, each.argmax(0) + 1, 0)


def artefacts() -> Path:
    """Where pictures of the page are left to be looked at; git passes over it."""
    folder = Path(__file__).parent / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder


def _part(number: int) -> dict[str, object]:
    return {
        "part": number,
        "gaussians": 1,
        "mass": 1 / PARTS,
        "centre": [0.0, 0.0, 0.0],
        "rotation_degrees": 12.0 * (number == 2),
        "travel": 20.0 * (number == 2),
        "occupancy": [0.2, 0.9, 1.0],
        "present": 1.0 if number < 3 else 0.7,
    }

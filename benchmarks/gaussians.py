"""Times the evaluations of a Gaussian mixture, and the dense one's matrix products against the machine's.

Run as ``python benchmarks/gaussians.py [--threads 1] [--json FILE]``; a few minutes at most.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics.gaussian_slopes import project_gaussians_with_slopes
from morphem.physics.gaussians import (
    project_gaussians,
    project_gaussians_gridded,
    project_gaussians_windowed,
    rasterise,
)

IMAGES = 16
LATENTS = 4
EVALUATIONS = {
    "dense": project_gaussians,
    "windowed": project_gaussians_windowed,
    "gridded": project_gaussians_gridded,
}


def best_seconds(work: Callable[[], object], budget: float = 1.0) -> float:
    """Shortest of the calls, three or more, that fit in ``budget`` seconds after one that compiles."""
    work()
    times, end = [], time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def product_rate(rows: int, inner: int, columns: int) -> float:
    """GFLOP/s of contiguous float32 matrix products of one size, repeated as the images are."""
    a, b = torch.randn(IMAGES, rows, inner), torch.randn(IMAGES, inner, columns)
    out = torch.empty(IMAGES, rows, columns)
    return 2e-9 * IMAGES * rows * inner * columns / best_seconds(lambda: torch.bmm(a, b, out=out))


def draw_mixture(gaussians: int, grid: Grid, width: float) -> tuple[GaussianMixture, Tensor]:
    """One mixture for each image, as a trainer has: a ball of ``extent / 4``, ``width`` in pixels."""
    torch.manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(IMAGES, gaussians, 3), dim=-1)
    centres *= torch.rand(IMAGES, gaussians, 1) ** (1 / 3) * grid.extent / 4
    scales = torch.full((gaussians,), width * grid.pixel_size)
    rotations = torch.linalg.qr(torch.randn(IMAGES, 3, 3))[0]
    return GaussianMixture(centres, scales, torch.rand(IMAGES, gaussians)), rotations


def measure(name: str, gaussians: int, box: int, width: float) -> dict[str, float | int | str]:
    """Milliseconds an image, forward and forward + backward to centres, amplitudes and scales."""
    grid, project = Grid(box, 1.5), EVALUATIONS[name]
    mixture, rotations = draw_mixture(gaussians, grid, width)
    weights = torch.randn(IMAGES, box, box // 2 + 1 if name == "gridded" else box)

    def forward() -> Tensor:
        with torch.no_grad():
            return project(mixture, rotations, grid)

    def both() -> None:
        leaves = [t.detach().requires_grad_() for t in (mixture.centres, mixture.scales, mixture.amplitudes)]
        images = project(GaussianMixture(*leaves), rotations, grid)
        images.backward(weights.to(images.dtype))

    row: dict[str, float | int | str] = {
        "evaluation": name,
        "gaussians": gaussians,
        "box": box,
        "width": width,
    }
    for label, work, products in (("forward", forward, 1), ("both", both, 3)):
        seconds = best_seconds(work)
        row[f"{label}_ms"] = round(1e3 * seconds / IMAGES, 3)
        if name == "dense":
            row[f"{label}_gflops"] = round(2e-9 * products * IMAGES * gaussians * box**2 / seconds, 1)
    return row


def measure_with_slopes(gaussians: int, box: int, width: float) -> dict[str, float | int | str]:
    """Milliseconds an image for the windowed projection and its derivatives to latents."""
    grid = Grid(box, 1.5)
    mixture, rotations = draw_mixture(gaussians, grid, width)
    velocities = torch.randn(IMAGES, LATENTS, gaussians, 3)
    slopes = torch.randn(IMAGES, LATENTS, gaussians)
    seconds = best_seconds(
        lambda: project_gaussians_with_slopes(mixture, velocities, slopes, rotations, grid)
    )
    return {
        "evaluation": "with slopes",
        "gaussians": gaussians,
        "box": box,
        "width": width,
        "latents": LATENTS,
        "forward_ms": round(1e3 * seconds / IMAGES, 3),
    }


def product_share(gaussians: int, box: int) -> dict[str, float]:
    """Rates of the products that the dense evaluation makes, on its blocks and layouts."""
    from morphem.physics import gaussians as module

    view = torch.rand(IMAGES, gaussians, 2)
    table, images = torch.rand(IMAGES, gaussians, box), torch.zeros(IMAGES, box, box)
    blocks = [(rows, part) for rows, part in module._blocks(view, box)]
    tables = [table[rows, part].contiguous() for rows, part in blocks]

    def forward() -> None:
        for (rows, _), values in zip(blocks, tables, strict=True):
            images[rows].baddbmm_(values.mT, values)

    def backward() -> None:
        for (rows, _), values in zip(blocks, tables, strict=True):
            torch.bmm(values, images[rows].mT)
            torch.bmm(values, images[rows])

    work = 2e-9 * IMAGES * gaussians * box**2
    return {
        "forward_product_gflops": round(work / best_seconds(forward), 1),
        "backward_product_gflops": round(2 * work / best_seconds(backward), 1),
    }


def main() -> None:
    """Print a table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    peak = product_rate(1024, 1024, 1024)
    print(f"{arguments.threads} threads; matrix products of 1024: {peak:.0f} GFLOP/s")
    rows = []
    for box in (64, 128):
        for gaussians in (2048, 8192):
            for name in EVALUATIONS:
                row = measure(name, gaussians, box, width=1.28)
                if name == "dense":
                    row |= product_share(gaussians, box)
                rows.append(row)
                print("  ".join(f"{key} {value}" for key, value in row.items()))
            rows.append(measure_with_slopes(gaussians, box, width=1.28))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
            mixture, _ = draw_mixture(gaussians, Grid(box, 1.5), 1.28)
            one = GaussianMixture(mixture.centres[0], mixture.scales, mixture.amplitudes[0])
            seconds = best_seconds(lambda one=one, box=box: rasterise(one, Grid(box, 1.5)))
            rows.append(
                {"evaluation": "rasterise", "gaussians": gaussians, "box": box, "ms": round(1e3 * seconds, 1)}
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"threads": arguments.threads, "peak_gflops": peak, "rows": rows})
        )


if __name__ == "__main__":
    main()

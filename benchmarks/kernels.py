"""Times each kernel for a GPU against the memory traffic that it must cause, and against its dense twin.

Run as ``python benchmarks/kernels.py [--json FILE]`` where there is a GPU; a minute. A kernel is timed only
after it agreed with its twin. ``share`` is the time of reading all arguments and writing all results once, at
the rate of a large copy, over the time that the kernel took.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics.gaussian_slopes import project_gaussians_with_slopes_dense
from morphem.physics.gaussians import draws_tiles, in_pixels, project_gaussians

IMAGES, LATENTS = 256, 4
SIZES = [(2048, 64), (2048, 128), (8192, 128), (16384, 256)]  # Gaussians, box
WIDTH, CUTOFF = 1.28, 4.0  # pixels; standard deviations
TOLERANCE = 2e-3  # of the largest value: what a window of four deviations leaves out of a derivative
Case = tuple[Callable[[], Tensor], Callable[[], Tensor], tuple[Tensor, ...]]


def best_seconds(work: Callable[[], object], repeats: int = 20) -> float:
    """Shortest of some calls on the GPU, after three that compile and warm up."""
    times = []
    for _ in range(3 + repeats):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        stop.record()
        stop.synchronize()
        times.append(1e-3 * start.elapsed_time(stop))
    return min(times[3:])


def copy_rate(device: torch.device, numbers: int = 1 << 28) -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.zeros(numbers, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source))


def draw(gaussians: int, box: int, device: torch.device) -> tuple[GaussianMixture, Tensor, Grid]:
    """One mixture for each image, as a trainer has: a ball of ``extent / 4``."""
    torch.manual_seed(0)
    grid = Grid(box, 1.5)
    centres = torch.nn.functional.normalize(torch.randn(IMAGES, gaussians, 3), dim=-1)
    centres *= torch.rand(IMAGES, gaussians, 1) ** (1 / 3) * grid.extent / 4
    scales = torch.full((gaussians,), WIDTH * grid.pixel_size)
    parts = centres, scales, torch.rand(IMAGES, gaussians)
    mixture = GaussianMixture(*(part.to(device) for part in parts))
    return mixture, torch.linalg.qr(torch.randn(IMAGES, 3, 3))[0].to(device), grid


def cases(gaussians: int, box: int, device: torch.device) -> dict[str, Case]:
    """Each kernel, its twin, and the tensors that it moves besides the result that is compared."""
    from morphem.physics.kernels.tiled_gaussians import splat, splat_gradient, splat_slopes

    mixture, rotation, grid = draw(gaussians, box, device)
    placed = in_pixels(mixture, rotation, grid)
    upstream = torch.randn(IMAGES, box, box, device=device)
    velocities = torch.randn(IMAGES, LATENTS, gaussians, 3, device=device)
    slopes = torch.randn(IMAGES, LATENTS, gaussians, device=device)
    moves = velocities @ rotation[:, None, :2].mT / grid.pixel_size

    def dense_gradient() -> Tensor:
        leaves = [t.detach().requires_grad_() for t in (mixture.centres, mixture.amplitudes)]
        images = project_gaussians(GaussianMixture(leaves[0], mixture.scales, leaves[1]), rotation, grid)
        return torch.autograd.grad(images, leaves, upstream)[1]

    return {
        "splat": (
            lambda: splat(placed, box, CUTOFF),
            lambda: project_gaussians(mixture, rotation, grid),
            placed,
        ),
        "splat_gradient": (
            lambda: splat_gradient(placed, upstream, CUTOFF)[1],
            dense_gradient,
            (*placed, upstream, placed[0], placed[1]),  # the last two as large as other gradients
        ),
        "splat_slopes": (
            lambda: splat_slopes(placed, moves, slopes, box, CUTOFF),
            lambda: project_gaussians_with_slopes_dense(mixture, velocities, slopes, rotation, grid),
            (*placed, moves, slopes),
        ),
    }


def measure(
    gaussians: int, box: int, device: torch.device, rate: float
) -> list[dict[str, float | int | str]]:
    """One row a kernel."""
    rows = []
    for name, (kernel, twin, others) in cases(gaussians, box, device).items():
        found, expected = kernel(), twin()
        error = float((found - expected).abs().max() / expected.abs().max())
        if not error < TOLERANCE:
            raise SystemExit(f"{name} is off its twin by {error:.1e} of the largest value: not timed")
        moved = found.nbytes + sum(t.nbytes for t in others)
        seconds, dense = best_seconds(kernel), best_seconds(twin)
        rows.append(
            {
                "kernel": name,
                "images": IMAGES,
                "gaussians": gaussians,
                "box": box,
                "error": float(f"{error:.1e}"),
                "ms": round(1e3 * seconds, 4),
                "bound_ms": round(1e3 * moved / rate, 4),
                "share": round(moved / rate / seconds, 3),
                "dense_ms": round(1e3 * dense, 4),
            }
        )
    return rows


def main() -> None:
    """Print a table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: these kernels need one; benchmarks/gaussians.py times a CPU's")
    device = torch.device("cuda")
    if not draws_tiles(device):
        raise SystemExit("triton is not installed: it comes with torch's CUDA builds on Linux")
    rate, rows = copy_rate(device), []
    name = torch.cuda.get_device_name(device)
    print(f"{name}: a large copy moves {1e-9 * rate:.0f} GB/s")
    for gaussians, box in SIZES:
        for row in measure(gaussians, box, device, rate):
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"gpu": name, "copy_gb_s": round(1e-9 * rate), "rows": rows}))


if __name__ == "__main__":
    main()

"""Times what poses are refined with, against the same written out with torch, on one thread.

Run as ``python benchmarks/poses.py [--threads 1] [--json FILE]``; about two minutes. With one thread, times
are those of the thread itself, so that other work on the machine disturbs them less.
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
from morphem.core.rotations import random_rotations
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.pose_gram import PoseTables, pose_columns, pose_gram
from morphem.physics.sampled_slices import interleave, sample_cells
from morphem.physics.slices import insert_density, insert_plane, sample_plane

LIMITS = (10, 16, 31)  # frequency pixels
MAPS = (1, 5)
IMAGES = 512
PADDING, MARGIN = 2, 2


def best_seconds(work: Callable[[], object], threads: int, budget: float = 2.0) -> float:
    """Shortest of the calls, three or more, that fit in ``budget`` seconds after one that compiles."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    work()
    times, end = [], time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < end:
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def frequencies(limit: int) -> Tensor:
    """Half a plane within ``limit``, each pair of mates once, frequency pixels."""
    line = torch.arange(-limit, limit + 1)
    x, y = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="xy"))
    kept = ((x > 0) | ((x == 0) & (y > 0))) & (x.square() + y.square() <= limit**2)
    places = torch.stack([x[kept], y[kept]], 1)
    return places[places.square().sum(1).sort(stable=True).indices].float()


def draw_tables(limit: int, maps: int) -> PoseTables:
    """Transforms of noise: what is read does not depend on what it says."""
    grid = Grid(2 * (limit + MARGIN), 3.0)
    padded = PADDING * grid.box
    cells = torch.randn(padded + 1, padded + 1, padded // 2 + 1, 8 * maps)
    return PoseTables(cells, frequencies(limit) / (grid.box // 2), grid)


def measure_gram(limit: int, maps: int, threads: int) -> dict[str, float | int | str]:
    """One evaluation of a step's products: compiled, and from columns written out."""
    tables, images = draw_tables(limit, maps), IMAGES // maps
    count = len(tables.plane)
    values = torch.randn(images, count, dtype=torch.complex64)
    pose = random_rotations(images), torch.randn(images, 2), torch.randn(images, count)
    weights = torch.randn(images, maps)

    def written_out() -> Tensor:
        columns = torch.cat([pose_columns(tables, *pose, weights), values[:, None]], 1)
        flat = torch.view_as_real(columns).flatten(2)
        return flat @ flat.mT

    compiled = best_seconds(lambda: pose_gram(tables, *pose, values, weights), threads) / images
    torch_alone = best_seconds(written_out, threads) / images
    same = pose[0][:1].expand(images, -1, -1)
    at_hand = best_seconds(lambda: pose_gram(tables, same, *pose[1:], values, weights), threads) / images
    return {
        "work": "pose_gram",
        "limit": limit,
        "maps": maps,
        "frequencies": count,
        "table_mb": round(tables.cells.nbytes / 2**20, 1),
        "torch_ms": round(1e3 * torch_alone, 4),
        "compiled_ms": round(1e3 * compiled, 4),
        "ns_per_frequency": round(1e9 * compiled / count, 1),
        "ns_per_frequency_of_one_slice": round(1e9 * at_hand / count, 1),
    }


def measure_sampling(limit: int, maps: int, threads: int) -> dict[str, float | int | str]:
    """Slices of maps alone, compiled and by torch from transforms one after another."""
    plane, padded = frequencies(limit) / (limit + MARGIN), 2 * PADDING * (limit + MARGIN)
    transforms = torch.randn(maps, padded + 1, padded + 1, padded // 2 + 1, dtype=torch.complex64)
    cells, rotation = interleave(transforms), random_rotations(IMAGES)
    compiled = best_seconds(lambda: sample_cells(cells, maps, rotation, plane), threads) / IMAGES
    torch_alone = best_seconds(lambda: sample_plane(transforms, rotation, plane), threads) / IMAGES
    return {
        "work": "sample_cells",
        "limit": limit,
        "maps": maps,
        "frequencies": len(plane),
        "table_mb": round(cells.nbytes / 2**20, 1),
        "torch_ms": round(1e3 * torch_alone, 4),
        "compiled_ms": round(1e3 * compiled, 4),
        "ns_per_frequency": round(1e9 * compiled / len(plane), 1),
    }


def measure_insertion(limit: int, numerators: int, threads: int) -> dict[str, float | int | str]:
    """Insertion of numerators and the products of their factors, compiled and with torch."""
    plane, padded = frequencies(limit) / (limit + MARGIN), 2 * PADDING * (limit + MARGIN)
    densities, images = numerators * (numerators + 1) // 2, IMAGES // numerators
    values = torch.randn(numerators, images, len(plane), dtype=torch.complex64)
    weights = torch.rand(densities, images, len(plane))
    rotation = random_rotations(images)
    inserted = InsertedSlices(padded, numerators, densities)

    def with_torch() -> None:
        insert_plane(values, rotation, plane, padded)
        insert_density(weights, rotation, plane, padded)

    compiled = best_seconds(lambda: inserted.add(values, weights, rotation, plane), threads) / images
    torch_alone = best_seconds(with_torch, threads) / images
    return {
        "work": "inserted_slices",
        "limit": limit,
        "maps": numerators,
        "frequencies": len(plane),
        "table_mb": round(inserted.cells.nbytes / 2**20, 1),
        "torch_ms": round(1e3 * torch_alone, 4),
        "compiled_ms": round(1e3 * compiled, 4),
        "ns_per_frequency": round(1e9 * compiled / len(plane), 1),
    }


def main() -> None:
    """Print a table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    rows = []
    for limit in LIMITS:
        for measure in (measure_gram, measure_sampling, measure_insertion):
            for maps in MAPS:
                rows.append(measure(limit, maps, arguments.threads))
                print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if arguments.json:
        result = {"threads": arguments.threads, "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

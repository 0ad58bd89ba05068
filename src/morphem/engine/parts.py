"""What the parts of a mixture are and do, as a map of labels and a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance
from morphem.core.types import Volume
from morphem.data.mrc import write_map
from morphem.engine import ranks
from morphem.engine.files import write_json
from morphem.models.anchors import nearest_part, rigid_motion
from morphem.models.gaussian_density import AnchoredMixture
from morphem.models.seeding import bright_level
from morphem.physics.gaussians import rasterise

_SAMPLED = 512  # latents from which ranges of motion and occupancy are taken
_DENSE = 0.1  # of the brightest 0.1 % of voxels: from here on a voxel belongs to a part


@torch.no_grad()
def write_parts(density: AnchoredMixture, latents: Float[Tensor, "p z"], grid: Grid, folder: Path) -> None:
    """Write ``parts.mrc`` and ``parts.json``.

    The map holds 0 outside and the number of its part, from 1, in each voxel of the molecule, at the latent
    nearest to the mean. The table holds, for each part, its share of the mass, its centre, its occupancy, and
    how far it turns and travels between the particles' latents.
    """
    if ranks.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        write_map(folder / "parts.mrc", Volume(part_labels(density, latents, grid).float(), grid))
        write_json(folder / "parts.json", {"parts": part_table(density, latents)})
    ranks.barrier()


def part_labels(density: AnchoredMixture, latents: Float[Tensor, "p z"], grid: Grid) -> Int[Tensor, "d d d"]:
    """Number of the part, from 1, of each voxel of the molecule; 0 outside."""
    rest = density.at_rest(latents)
    voxels = rasterise(rest, grid).voxels
    inside = voxels > _DENSE * bright_level(voxels)
    zyx = inside.nonzero() - grid.box // 2
    alive = rest.amplitudes > 0
    labels = torch.zeros_like(inside, dtype=torch.int64)
    points = zyx.flip(-1) * grid.pixel_size
    labels[inside] = 1 + nearest_part(points, rest.centres[alive], density.bodies()[alive])
    return labels


@torch.no_grad()
def part_table(density: AnchoredMixture, latents: Float[Tensor, "p z"]) -> list[dict[str, Any]]:
    """What each part is and does; lengths in Å, occupancies at the 5th, 50th and 95th percentile."""
    some = latents[:: max(1, len(latents) // _SAMPLED)]
    rest = density.at_rest(latents)
    mixtures = [density.mixture(block) for block in some.split(32)]
    centres = torch.cat([mixture.centres for mixture in mixtures])
    amplitudes = torch.cat([mixture.amplitudes for mixture in mixtures])
    weight = rest.amplitudes * rest.scales.square()
    rows, body = [], density.bodies()
    for part in range(int(body.max()) + 1):
        member = body == part
        mass = weight[member]
        turn, home, where = rigid_motion(rest.centres[member], centres[:, member], mass)
        travel = (where - home).norm(dim=1)
        angle = geodesic_distance(turn, torch.eye(3).expand_as(turn))
        shown = (amplitudes[:, member] * rest.scales[member].square()).sum(1)
        rows.append(
            {
                "part": part + 1,
                "gaussians": int(member.sum()),
                "mass": float(mass.sum() / weight.sum()),
                "centre": home.tolist(),
                "rotation_degrees": math.degrees(_spread(angle)),
                "travel": _spread(travel),
                "occupancy": _percentiles(shown / shown.quantile(0.95).clamp(min=1e-12)),
            }
        )
    return rows


def _spread(values: Float[Tensor, "b"]) -> float:
    """Distances from rest: how far from it the farthest 5 % are."""
    return float(values.quantile(0.95))


def _percentiles(values: Float[Tensor, "b"]) -> list[float]:
    return values.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()

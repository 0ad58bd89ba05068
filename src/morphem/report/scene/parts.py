"""What each rigid part does in each particle, and which part each voxel of a latent's density belongs to."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance, nearest_rotation
from morphem.core.types import GaussianMixture
from morphem.models.gaussian_density import AnchoredMixture
from morphem.report.scene.shown import Column

_GAUSSIANS = 48  # of a part, that stand for it
_BLOCK = 256  # particles
_PARTICLES = 200_000  # of larger sets, parts are followed in so many alone
_THERE = 0.5  # occupancy from which on a part is there
_REACH = 3.0  # standard deviations around a Gaussian in which voxels are its part's


@dataclass(frozen=True)
class Behaviour:
    """What parts do.

    Attributes:
        occupancy: 1 is as much as the part's fullest particles show (95th percentile).
        angle: Turn from rest, rad.
        travel: Of the centre from rest, Å.
    """

    occupancy: Float[Tensor, "p a"]
    angle: Float[Tensor, "p a"]
    travel: Float[Tensor, "p a"]


@torch.no_grad()
def behaviour_of(density: AnchoredMixture, latents: Float[Tensor, "p z"], seed: int = 0) -> Behaviour:
    """What each part does at each latent, from some of its Gaussians drawn by their mass."""
    rest = density.at_rest(latents)
    mass = rest.amplitudes * rest.scales.square()
    generator = torch.Generator().manual_seed(seed)
    body = density.bodies()
    drawn = [_drawn(body == part, mass, generator) for part in range(int(body.max()) + 1)]
    small = _thinned(density, torch.cat(drawn))
    home, width = rest.centres[torch.cat(drawn)], rest.scales[torch.cat(drawn)].square()
    ends = np.cumsum([0, *map(len, drawn)]).tolist()
    spans = [slice(first, last) for first, last in itertools.pairwise(ends)]
    blocks = []
    for block in latents.split(_BLOCK):
        there = small.mixture(block)
        shown = torch.stack([(there.amplitudes[:, s] * width[s]).sum(1) for s in spans], 1)
        moved = [_moved(home[s], there.centres[:, s]) for s in spans]
        blocks.append(torch.stack([shown, *(torch.stack(each, 1) for each in zip(*moved, strict=True))]))
    shown, angle, travel = torch.cat(blocks, 1)
    return Behaviour(shown / shown.quantile(0.95, dim=0).clamp(min=1e-12), angle, travel)


def part_columns(
    density: AnchoredMixture, latents: Float[Tensor, "p z"], rows: list[dict[str, Any]]
) -> tuple[tuple[Column, ...], list[dict[str, Any]]]:
    """Occupancy and turn of each part in each particle, and the rows of ``parts.json`` with ``present``.

    Of more than 200,000 particles parts are followed in a share alone, and there are no columns.
    """
    every = len(latents) <= _PARTICLES
    some = latents if every else latents[:: -(-len(latents) // _PARTICLES)]
    found = behaviour_of(density, some)
    present = (found.occupancy > _THERE).float().mean(0).tolist()
    told = [{**row, "present": share} for row, share in zip(rows, present, strict=False)]
    if not every:
        return (), told
    columns = []
    for index in range(found.occupancy.shape[1]):
        part = index + 1
        shown, turned = found.occupancy[:, index].numpy(), found.angle[:, index].numpy()
        columns.append(Column(f"part{part}_occupancy", f"part {part}: occupancy", shown))
        columns.append(Column(f"part{part}_turn", f"part {part}: turn", np.degrees(turned), "°"))
    return tuple(columns), told


@torch.no_grad()
def labels_at(density: AnchoredMixture, z: Float[Tensor, "z"], grid: Grid) -> Int[Tensor, "d d d"]:
    """Part, from 1, that gives most to each voxel at this latent; 0 where no Gaussian reaches."""
    from morphem.physics.kernels.windowed_maps import splat_map

    several = density.mixture(z[None])
    mixture = GaussianMixture(several.centres[0], several.scales, several.amplitudes[0])
    middle = torch.full((3,), float(grid.box // 2))
    cloud, ends = by_part(mixture, density.bodies(), grid.pixel_size, middle)
    _, labels = splat_map(cloud, ends, (grid.box, grid.box), _REACH, torch.get_num_threads())
    return torch.from_numpy(labels).long()


def by_part(
    mixture: GaussianMixture, part: Int[Tensor, "g"], pixel: float, origin: Float[Tensor, "3"]
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Positions (x y z, voxels), heights and scales of Gaussians, part after part, and where each part ends.

    ``origin`` is the voxel index of the middle of the box.
    """
    rows = part.argsort(stable=True)
    heights = mixture.amplitudes / (math.sqrt(2 * math.pi) * mixture.scales)
    cloud = mixture.centres / pixel + origin, heights, mixture.scales / pixel
    places, heights, scales = (each[rows].numpy() for each in cloud)
    return (places, heights, scales), part.bincount().cumsum(0).numpy()


def _drawn(
    member: Bool[Tensor, "g"], mass: Float[Tensor, "g"], generator: torch.Generator
) -> Int[Tensor, "m"]:
    rows = member.nonzero().flatten()
    weight = mass[rows]
    if not bool(weight.any()):  # a part that the data switched off: every Gaussian counts alike
        weight = torch.ones_like(weight)
    most = min(_GAUSSIANS, int((weight > 0).sum()))
    return rows[torch.multinomial(weight, most, generator=generator).sort().values]


def _thinned(density: AnchoredMixture, rows: Int[Tensor, "m"]) -> AnchoredMixture:
    """The same density with some of its Gaussians."""
    small = AnchoredMixture(**{**density.arguments, "gaussians": len(rows)})
    own = small.state_dict()
    full = density.state_dict()
    small.load_state_dict(
        {name: value if value.shape == own[name].shape else value[rows] for name, value in full.items()}
    )
    return small


def _moved(
    home: Float[Tensor, "m 3"], moved: Float[Tensor, "b m 3"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Angle of the best rigid turn (Kabsch), and how far the centre is from home."""
    centre, centres = home.mean(0), moved.mean(1)
    covariance = torch.einsum("bmi,mj->bij", moved - centres[:, None], home - centre)
    turn = nearest_rotation(covariance)
    angle = geodesic_distance(turn, torch.eye(3).expand_as(turn))
    return angle.clamp(max=math.pi), (centres - centre).norm(dim=1)

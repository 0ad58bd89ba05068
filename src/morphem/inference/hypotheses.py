"""Several poses of each image, tried against each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.rotations import from_rotation_vector, geodesic_distance, to_quaternion
from morphem.core.so3_grids import mean_spacing, super_fibonacci
from morphem.core.types import Poses, Volume
from morphem.inference.passes import put
from morphem.inference.refine import Fit, Products, refine
from morphem.inference.search import Hypotheses, ramps, search, shifts, with_half_turns
from morphem.inference.store import Coefficients, Store
from morphem.inference.templates import template
from morphem.physics.slices import prepare_transform, sample_places

_SHORTLIST = 24  # of a search, among which distinct rotations are sought
_APART = 1.8  # spacings of the rotations searched
_ELSEWHERE = math.radians(10)  # from a pose: another one
_RIVALS = 4  # poses of an image that are refined to the end
_FIRST_STEPS = 1  # after which these are chosen
_SURE = 1e6  # lead of a pose without a rival
_TURNS = 2304
_NEAR = math.radians(30)  # to no turn: not a symmetry but the map's smoothness


@dataclass(frozen=True)
class SearchGrid:
    """A map's slices at evenly spread rotations, and the shifts to try.

    Attributes:
        rotation: Of each slice, then of each slice's conjugate.
        slices: In units of the coefficients.
        shift: Å.
        moves: Ramp of each shift.
    """

    rotation: Float[Tensor, "_ 3 3"]
    slices: Complex[Tensor, "r m"]
    shift: Float[Tensor, "t 2"]
    moves: Complex[Tensor, "t m"]


def search_grid(
    store: Store,
    volume: Volume,
    limit: int,
    rotations: int,
    reach: float,
    turn: Float[Tensor, "3 3"] | None = None,
) -> SearchGrid:
    """Slices of a map within ``limit``, and shifts up to ``reach`` (Å) a quarter of a wave apart.

    ``turn`` is applied to all rotations: those of two searches may lie between each other.
    """
    turned, moves = half_spread(rotations), shifts(store, limit, reach)
    turned = turned if turn is None else turned @ turn
    slices = template(volume, store.disc, limit).slices(turned)[0]
    return SearchGrid(with_half_turns(turned), slices, moves, ramps(store.disc, limit, moves))


def half_spread(count: int) -> Float[Tensor, "_ 3 3"]:
    """Half of ``count`` rotations that are evenly spread together with their half turns in the plane.

    A half turn in the plane leads from one half of the spiral to the other.
    """
    return super_fibonacci(count)[: (count + 1) // 2]


def distinct(
    found: Hypotheses, rotation: Float[Tensor, "r 3 3"], shift: Float[Tensor, "t 2"], keep: int
) -> Poses:
    """The best ``keep`` poses of each image that are not neighbours, [b keep] in the fields' leading axes."""
    rotations, open_ = rotation[found.rotation], torch.ones_like(found.score, dtype=torch.bool)
    apart = _APART * mean_spacing(len(rotation))
    chosen = []
    for _ in range(keep):
        pick = torch.where(open_, found.score, found.score - 1e9).argmax(1)
        chosen.append(pick)
        best = torch.take_along_dim(rotations, pick[:, None, None, None], 1)
        open_ &= geodesic_distance(rotations, best.expand_as(rotations)) > apart
    at = torch.stack(chosen, 1)
    moves = shift[torch.gather(found.shift, 1, at)]
    return Poses(torch.take_along_dim(rotations, at[..., None, None], 1).flatten(0, 1), moves.flatten(0, 1))


def searched(images: Coefficients, grid: SearchGrid, keep: int) -> Poses:
    """The best ``keep`` distinct poses of each image of a batch, image after image."""
    found = search(images, grid.slices, grid.moves, max(_SHORTLIST, keep))
    return distinct(found, grid.rotation, grid.shift, keep)


def likeliest(
    images: Coefficients, model: Products, tried: Poses, steps: int, spread: float = math.inf
) -> Fit:
    """The best fit of each image over its ``h`` start poses, of which ``tried`` has ``b h`` rows."""
    return ahead(images, model, tried, steps, spread)[0]


def ahead(
    images: Coefficients, model: Products, tried: Poses, steps: int, spread: float = math.inf
) -> tuple[Fit, Float[Tensor, "b"]]:
    """As :func:`likeliest`, and by how much each fit is likelier than the best that ended in another pose.

    Of many poses, the few that are likeliest after a step are gone on with.
    """
    count = len(tried) // len(images)
    owner = torch.arange(len(images)).repeat_interleave(count)
    first = steps if count <= _RIVALS else min(_FIRST_STEPS, steps)
    fits = refine(images[owner], model, tried, first, spread)
    if first < steps:
        rank = fits.score.view(-1, count).topk(_RIVALS, dim=1).indices
        kept = (rank + count * torch.arange(len(images))[:, None]).flatten()
        put(fits, kept, refine(images[owner[kept]], model, fits.poses[kept], steps - first, spread))
    score, rotation = fits.score.view(-1, count), fits.poses.rotation.view(-1, count, 3, 3)
    best = score.argmax(1)
    chosen = fits[torch.arange(len(images)) * count + best]
    other = geodesic_distance(rotation, chosen.poses.rotation[:, None].expand_as(rotation)) > _ELSEWHERE
    lead = chosen.score - torch.where(other, score, -torch.inf).amax(1)
    return chosen, lead.clamp(max=_SURE)


def side_by_side(one: Poses, other: Poses, images: int) -> Poses:
    """The poses tried for each image in both, image after image."""
    fields = [
        torch.cat([a.unflatten(0, (images, -1)), b.unflatten(0, (images, -1))], 1).flatten(0, 1)
        for a, b in ((one.rotation, other.rotation), (one.shift, other.shift))
    ]
    return Poses(*fields)


def with_mates(poses: Poses, turns: Float[Tensor, "s 3 3"]) -> Poses:
    """Each pose, followed by those that a look-alike of the molecule would have.

    The half turn in the plane, the two views from behind, and the molecule turned by each of ``turns`` and
    back.
    """
    signs = [(1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0)]
    flips = torch.stack([torch.diag(torch.tensor(each)) for each in signs])
    flipped = flips @ poses.rotation[:, None]
    turned = poses.rotation[:, None] @ torch.cat([turns, turns.mT])
    rotation = torch.cat([flipped, turned], 1)
    return Poses(rotation.flatten(0, 1), poses.shift.repeat_interleave(rotation.shape[1], 0))


def pseudo_symmetries(volume: Volume, limit: int, likeness: float = 0.5) -> Float[Tensor, "s 3 3"]:
    """Turns of a map about its centre after which it resembles itself, at most four, without their inverses.

    The correlation of the map's transform with itself, turned, over the frequencies within ``limit``: above
    ``likeness``, more than 30° from no turn, and less if turned by 15° more or less about the same axis.
    """
    turns = super_fibonacci(_TURNS)
    correlation = self_correlation(volume, limit, turns)
    angle = geodesic_distance(turns, torch.eye(3).expand_as(turns))
    found: list[Tensor] = []
    for row in correlation.sort(descending=True).indices:
        if correlation[row] < likeness or len(found) == 4:
            break
        known = torch.stack([*found, *(turn.T for turn in found), torch.eye(3)])
        new = float(geodesic_distance(known, turns[row].expand_as(known)).min()) > _NEAR
        if new and float(angle[row]) > _NEAR and _peaks(volume, limit, turns[row], float(angle[row])):
            found.append(turns[row])
    return torch.stack(found) if found else torch.zeros(0, 3, 3)


def _peaks(volume: Volume, limit: int, turn: Float[Tensor, "3 3"], angle: float) -> bool:
    """Whether a little more or less of a turn makes the map less like itself."""
    quaternion = to_quaternion(turn)
    axis = torch.nn.functional.normalize(quaternion[1:], dim=0)
    angles = torch.tensor([angle - _NEAR / 2, angle, angle + _NEAR / 2])
    before, here, after = self_correlation(
        volume, limit, from_rotation_vector(angles[:, None] * axis)
    ).tolist()
    return here > before and here > after


def self_correlation(volume: Volume, limit: int, turns: Float[Tensor, "r 3 3"]) -> Float[Tensor, "r"]:
    """Correlation of a map with itself after each turn, between shells 2 and ``limit``."""
    grid = volume.grid
    half = grid.box // 2
    line = torch.arange(-limit, limit + 1)
    places = torch.cartesian_prod(line, line, line)
    radius = places.double().norm(dim=1)
    # of a real map's mates one is enough
    kept = (
        (radius >= 2)
        & (radius <= limit)
        & ((places * torch.tensor([1, limit * 4, limit * limit * 16])).sum(1) > 0)
    )
    places = places[kept].float() / half
    transform = prepare_transform(volume)[None]
    here = sample_places(transform, places[None])[0]
    power = here.abs().square().sum()
    correlation = [
        (sample_places(transform, places @ part)[0] * here.conj()).real.sum(1) for part in turns.split(256)
    ]
    return torch.cat(correlation) / power

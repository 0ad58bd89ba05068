"""How rigidly the Gaussians of a mixture move, and parts joined from pieces that move as one body."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.rotations import nearest_rotation

_FADING = 0.07  # box units of misplacement that weigh as much as an occupancy that is off by 1
_BLOCK = 128  # Gaussians whose neighbourhoods are fitted at a time
_ROUNDS = 6  # of regrouping
_AROUND = 25  # one Gaussian in so many is around each one
_MOST, _NEAR = 0.95, 0.25  # those that move most, by quantile; of their misplacement: what stands has less
_STILL = 0.005  # of the box: to be misplaced by less is to stand


@dataclass(frozen=True)
class Behaviour:
    """What each Gaussian of a mixture is and does.

    Attributes:
        features: Learned feature of each Gaussian.
        home: Where it is at rest, box units.
        moved: Where it is at some latents, box units.
        shown: Its occupancy there, 0 to 1.
        mass: Its weight in the density at rest; those that the data switched off have none.
    """

    features: Float[Tensor, "g f"]
    home: Float[Tensor, "g 3"]
    moved: Float[Tensor, "m g 3"]
    shown: Float[Tensor, "m g"]
    mass: Float[Tensor, "g"]


@dataclass(frozen=True)
class Partition:
    """A number of parts, and whether fewer would do.

    Attributes:
        part: Of each Gaussian, from 0.
        left: Mean square over the mass of what rigid motions and common occupancies of parts do not tell.
        cost: By how much that grows when the two parts are joined that move most alike.
    """

    part: Int[Tensor, "g"]
    left: float
    cost: float


def calmed(behaviour: Behaviour, neighbours: int = 0) -> Behaviour:
    """The same Gaussians, each moved and shown as its neighbourhood is.

    Where density is even, single Gaussians slide along each other and no image shows it. The best rigid
    motion of ``neighbours`` around each one (0: a fixed share of all) leaves that out.
    """
    around = _nearest(behaviour, neighbours or max(9, len(behaviour.mass) // _AROUND))
    share = behaviour.mass[around]
    share = share / share.sum(1, keepdim=True).clamp(min=1e-30)
    moved = torch.empty_like(behaviour.moved)
    for rows in torch.arange(len(around)).split(_BLOCK):
        near, own = around[rows], share[rows]
        home, places = behaviour.home[near], behaviour.moved[:, near]
        centre = torch.einsum("gk,gki->gi", own, home)
        centres = torch.einsum("gk,mgki->mgi", own, places)
        away = (home - centre[:, None]) * own[..., None]
        turn = nearest_rotation(torch.einsum("mgki,gkj->mgij", places - centres[:, :, None], away))
        moved[:, rows] = centres + torch.einsum("mgij,gj->mgi", turn, behaviour.home[rows] - centre)
    shown = torch.einsum("gk,mgk->mg", share, behaviour.shown[:, around])
    return replace(behaviour, moved=moved, shown=shown)


def regrouped(behaviour: Behaviour, part: Int[Tensor, "g"]) -> Int[Tensor, "g"]:
    """Parts whose Gaussians each follow the rigid motion that tells most of what they do.

    As k-means goes, with rigid motions in place of means; parts that lose all their Gaussians are left out.
    """
    for _ in range(_ROUNDS):
        cost = torch.stack([_misplaced(behaviour, part == a) for a in range(int(part.max()) + 1)])
        before, part = part, cost.argmin(0).unique(return_inverse=True)[1]
        if torch.equal(before, part):
            break
    return part


def standing(behaviour: Behaviour, part: Int[Tensor, "g"]) -> Bool[Tensor, "g"]:
    """Gaussians that move and fade with the heaviest part (0), whichever part they were put into.

    What points anywhere is smeared, and moves least near its joint: clusters end there anywhere, and a body
    that has taken some of the smear for its own is wrong in every image. Each Gaussian is asked by the rigid
    motion of those that were near it before, until they stay.
    """
    calm, alive, member = calmed(behaviour), behaviour.mass > 0, part == 0
    for _ in range(_ROUNDS):
        away = _misplaced(calm, member).sqrt()
        near = away < max(_NEAR * float(torch.quantile(away[alive], _MOST)), _STILL)
        if not near[alive].any():  # nothing moves with anything
            break
        member = near
    return member


def joined(behaviour: Behaviour, part: Int[Tensor, "g"]) -> dict[int, Partition]:
    """Partitions by number of parts, from those of ``part`` down to one: the two most alike are joined.

    Sums over parts add up when these are joined, so that each pair costs one small decomposition a latent.
    """
    part, found = part.unique(return_inverse=True)[1], {}
    sums = _sums(behaviour, part)
    total = float(behaviour.mass.sum())
    left = _left(sums)
    costs = torch.stack([_joint(sums, a) for a in range(len(left))]) - left[:, None] - left
    while True:
        count = len(left)
        outside = torch.eye(count, dtype=torch.bool)
        cheapest = int(costs.masked_fill(outside, torch.inf).argmin())
        a, b = sorted(divmod(cheapest, count))
        cost = float(costs[a, b]) if count > 1 else 0.0
        found[count] = Partition(part, float(left.sum()) / total, cost / total)
        if count == 1:
            return found
        kept = torch.arange(count) != b
        sums = {name: _added(value, a, b)[kept] for name, value in sums.items()}
        part = torch.where(part == b, a, part)
        part = part - (part > b).long()
        left, costs = left[kept], costs[kept][:, kept]
        left[a] = _left({name: value[a : a + 1] for name, value in sums.items()})[0]
        costs[a] = costs[:, a] = _joint(sums, a) - left - left[a]


def rigid_motion(
    home: Float[Tensor, "g 3"], moved: Float[Tensor, "m g 3"], mass: Float[Tensor, "g"]
) -> tuple[Float[Tensor, "m 3 3"], Float[Tensor, "3"], Float[Tensor, "m 3"]]:
    """Best rigid motions (Kabsch): turns about the centre of mass, that centre, and where it goes."""
    # of a part that the data switched off, every Gaussian counts alike
    share = mass / mass.sum() if mass.any() else torch.full_like(mass, 1 / len(mass))
    centre, centres = share @ home, torch.einsum("g,mgi->mi", share, moved)
    covariance = torch.einsum("g,mgi,gj->mij", share, moved - centres[:, None], home - centre)
    return nearest_rotation(covariance), centre, centres


def _nearest(behaviour: Behaviour, count: int) -> Int[Tensor, "g k"]:
    """Gaussians around each one that have mass."""
    alive = torch.nonzero(behaviour.mass > 0)[:, 0]
    blocks = [torch.cdist(some, behaviour.home[alive]) for some in behaviour.home.split(1024)]
    return torch.cat([alive[block.topk(min(count, len(alive)), largest=False).indices] for block in blocks])


def _misplaced(behaviour: Behaviour, member: Tensor) -> Float[Tensor, "g"]:
    """How little the rigid motion and the occupancy of some Gaussians tell of each of all: mean squares."""
    mass = behaviour.mass[member]
    turn, centre, centres = rigid_motion(behaviour.home[member], behaviour.moved[:, member], mass)
    share = mass / mass.sum() if mass.any() else torch.full_like(mass, 1 / len(mass))
    expected = centres[:, None] + (behaviour.home - centre) @ turn.mT
    faded = behaviour.shown - (behaviour.shown[:, member] @ share)[:, None]
    away = (behaviour.moved - expected).square().sum(-1)
    return (away + _FADING**2 * faded.square()).mean(0)


def _sums(behaviour: Behaviour, part: Int[Tensor, "g"]) -> dict[str, Tensor]:
    """What the misfit of every part and of every union of parts follows from, by part."""
    own = torch.nn.functional.one_hot(part).double() * behaviour.mass.double()[:, None]
    home, moved, shown = behaviour.home.double(), behaviour.moved.double(), behaviour.shown.double()
    squares = home.square().sum(-1) + moved.square().sum(-1).mean(0)
    by_axis = (torch.einsum("ga,mgi->ami", own * along[:, None], moved) for along in home.mT)
    return {
        "mass": own.sum(0),
        "home": own.mT @ home,
        "moved": torch.einsum("ga,mgi->ami", own, moved),
        "squares": own.mT @ squares,
        "products": torch.stack(list(by_axis), -1),  # no array of all pairs of Gaussians and parts
        "shown": torch.einsum("ga,mg->am", own, shown),
        "shown_squares": own.mT @ shown.square().mean(0),
    }


def _left(sums: dict[str, Tensor]) -> Float[Tensor, "a"]:
    """What the best rigid motion and common occupancy of each part do not tell, summed over the mass."""
    mass = sums["mass"].clamp(min=1e-30)
    home, moved = sums["home"], sums["moved"]
    spread = sums["squares"] - (home.square().sum(-1) + moved.square().sum(-1).mean(1)) / mass
    covariance = sums["products"] - moved[..., None] * home[:, None, None] / mass[:, None, None, None]
    values = torch.linalg.svdvals(covariance)
    # a reflection is no motion: the smallest value counts against it
    told = values[..., 0] + values[..., 1] + values[..., 2] * torch.linalg.det(covariance).sign()
    faded = sums["shown_squares"] - sums["shown"].square().mean(1) / mass
    return (spread - 2 * told.mean(1)).clamp(min=0) + _FADING**2 * faded.clamp(min=0)


def _joint(sums: dict[str, Tensor], a: int) -> Float[Tensor, "a"]:
    """The same of part ``a`` with each of all parts."""
    return _left({name: value + value[a] for name, value in sums.items()})


def _added(value: Tensor, a: int, b: int) -> Tensor:
    value = value.clone()
    value[a] += value[b]
    return value

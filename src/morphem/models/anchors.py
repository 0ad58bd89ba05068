"""Parts of a mixture: Gaussians that behave alike, and the anchor that stands for each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.models.rigidity import Behaviour, Partition, calmed, joined, regrouped, rigid_motion

_RUNS: Any = 10  # of k-means++, the best is kept; scikit-learn's stubs want a string
_STILL = 0.005  # of the box: motion below this root mean square is not scaled up
_STEADY = 0.05  # likewise for occupancies
_DUST = 0.01  # of the mass: no part has less
_PIECES = 24  # that rigid parts are joined from
_FAINT = 0.002  # of the box, root mean square: to be told so much better is worth no part of its own


@dataclass(frozen=True)
class AnchorConfig:
    """How Gaussians are grouped into parts."""

    count: int = 0
    """Number of clusters; 0 takes the largest whose parts are each worth it, by `gain` or by `worth`."""
    most: int = 8
    """Largest count tried when it is chosen."""
    gain: float = 0.05
    """Least share of all motion and occupancy that one more rigid part must explain."""
    worth: float = 0.5
    """Of clusters by rigidity, least that one more must explain, as a share of what all leave unexplained."""
    by: Literal["features", "responses", "rigidity"] = "features"
    """What makes a cluster: learned features that are alike; Gaussians that move and fade alike over the
    particles' latents; or pieces that one rigid motion and one occupancy tell as well as several do."""
    around: int = 0
    """Of clusters by rigidity, Gaussians around each one that move as one for it; 0 for a 25th of all."""
    neighbours: int = 0
    """Let this many nearest Gaussians vote on each one's part, so that parts are connected; 0 for no vote."""
    part_radius: float = 0.0
    """Split parts in space until none has a larger RMS radius, fraction of the box; 0 never splits."""

    def __post_init__(self) -> None:
        if (
            min(self.count, self.around, self.neighbours, self.part_radius, self.gain, self.worth) < 0
            or self.most < 1
        ):
            raise ValueError(f"{self}: numbers must not be negative, and most is at least 1")


@dataclass(frozen=True)
class Anchors:
    """The parts of a mixture.

    Attributes:
        part: Part of each Gaussian, the heaviest first.
        features: Mean feature of each part.
        centres: Where the Gaussian nearest to that mean is at rest, box units.
        explained: Share of motion and occupancy that each count tried explains, rigid parts given.
    """

    part: Int[Tensor, "g"]
    features: Float[Tensor, "a f"]
    centres: Float[Tensor, "a 3"]
    explained: dict[int, float]


def find_anchors(behaviour: Behaviour, config: AnchorConfig, seed: int) -> Anchors:
    """Parts by k-means++, split in space where they are large (CryoSPIRE, anchors).

    Gaussians vote by their mass: those that the data switched off keep a random feature.
    """
    if config.by == "rigidity":
        part, explained = _rigid_parts(behaviour, config, seed)
    else:
        rows = behaviour.features if config.by == "features" else responses(behaviour)
        counts = [config.count] if config.count else range(1, config.most + 1)
        found = {count: _clustered(behaviour, rows, count, config.neighbours, seed) for count in counts}
        explained = {count: rigid_share(behaviour, part) for count, part in found.items()}
        part = found[config.count or _enough(explained, config.gain)]
    if config.part_radius:
        part = split_in_space(part, behaviour.home, config.part_radius, seed)
    return anchors_of(behaviour, part, explained)


def anchors_of(
    behaviour: Behaviour, part: Int[Tensor, "g"], explained: dict[int, float] | None = None
) -> Anchors:
    """Anchors of parts that are known; numbers that no Gaussian has are left out."""
    _, part = part.unique(return_inverse=True)
    members = [part == a for a in range(int(part.max()) + 1)]
    means = torch.stack([_mean(behaviour.features, behaviour.mass, member) for member in members])
    pairs = zip(means, members, strict=True)
    nearest = torch.stack([_nearest_member(mean, behaviour.features, member) for mean, member in pairs])
    return Anchors(part, means, behaviour.home[nearest], explained or {})


def responses(behaviour: Behaviour) -> Float[Tensor, "g r"]:
    """How each Gaussian departs from its mean place and occupancy at each latent, both to the same scale."""
    motion = (behaviour.moved - behaviour.moved.mean(0)).transpose(0, 1).flatten(1)
    fading = (behaviour.shown - behaviour.shown.mean(0)).mT
    share = behaviour.mass / behaviour.mass.sum()
    latents = len(behaviour.moved)
    travel = (share @ motion.square().sum(1) / latents).sqrt().clamp(min=_STILL)
    flicker = (share @ fading.square().sum(1) / latents).sqrt().clamp(min=_STEADY)
    return torch.cat([motion / travel, fading / flicker], 1) / latents**0.5


def without_dust(part: Int[Tensor, "g"], behaviour: Behaviour, mass: Float[Tensor, "g"]) -> Int[Tensor, "g"]:
    """Parts of next to no mass are none: each of their Gaussians goes to the nearest that has mass."""
    weight = torch.bincount(part, weights=mass.double())
    kept = (weight >= _DUST * weight.sum())[part]
    whole = kept & (mass > 0)
    part = part.clone()
    part[~kept] = nearest_part(behaviour.home[~kept], behaviour.home[whole], part[whole])
    return part


def rigid_share(behaviour: Behaviour, part: Int[Tensor, "g"]) -> float:
    """Mean of the shares of motion and of occupancy that rigid parts with one occupancy each explain.

    The rest is what remains of the variance over Gaussians and latents after each part's best rigid motion
    (Kabsch) and mean occupancy, over what remains if all Gaussians were one part.
    """
    alone = torch.zeros_like(part)
    left, whole = _unexplained(behaviour, part), _unexplained(behaviour, alone)
    floor = torch.tensor([_STILL**2, _STEADY**2], dtype=left.dtype)
    return float(1 - (left / torch.maximum(whole, floor)).mean())


def cluster(rows: Float[Tensor, "g f"], mass: Float[Tensor, "g"], count: int, seed: int) -> Int[Tensor, "g"]:
    """Best of ten weighted k-means++ runs; labels run from the heaviest cluster down."""
    from sklearn.cluster import KMeans

    count = min(count, len(rows))
    search = KMeans(count, init="k-means++", n_init=_RUNS, random_state=seed)
    found = search.fit(rows.cpu().numpy(), sample_weight=mass.cpu().numpy())
    return _heaviest_first(torch.as_tensor(found.labels_, dtype=torch.int64), mass.cpu())


def vote(
    part: Int[Tensor, "g"], centres: Float[Tensor, "g 3"], mass: Float[Tensor, "g"], neighbours: int
) -> Int[Tensor, "g"]:
    """Each Gaussian takes the part that most of the mass around it has, itself among it; three rounds."""
    blocks = [torch.cdist(some, centres) for some in centres.split(1024)]
    near = torch.cat([block.topk(min(neighbours, len(centres)), largest=False).indices for block in blocks])
    for _ in range(3):
        ballots = torch.nn.functional.one_hot(part[near]) * mass[near, None]
        part = ballots.sum(1).argmax(1)
    return part


def split_in_space(
    part: Int[Tensor, "g"], centres: Float[Tensor, "g 3"], radius: float, seed: int
) -> Int[Tensor, "g"]:
    """Divide each part by k-means++ on positions until its pieces' RMS radii are at most ``radius``."""
    pieces = torch.empty_like(part)
    total = 0
    for a in range(int(part.max()) + 1):
        members = part == a
        inside = centres[members]
        label, count = torch.zeros(len(inside), dtype=torch.int64), 1
        while _largest_radius(inside, label) > radius and count < len(inside):
            count += 1
            label = cluster(inside, torch.ones(len(inside)), count, seed)
        pieces[members] = label + total
        total += count
    return pieces


def nearest_part(
    points: Float[Tensor, "n 3"], centres: Float[Tensor, "g 3"], part: Int[Tensor, "g"]
) -> Int[Tensor, "n"]:
    """Part of the Gaussian nearest to each point, in blocks of bounded memory."""
    return torch.cat([part[torch.cdist(block, centres).argmin(1)] for block in points.split(4096)])


def _clustered(
    behaviour: Behaviour, rows: Float[Tensor, "g r"], count: int, neighbours: int, seed: int
) -> Int[Tensor, "g"]:
    part = cluster(rows, behaviour.mass, count, seed)
    if neighbours:
        part = vote(part, behaviour.home, behaviour.mass, neighbours)
    part = without_dust(part, behaviour, behaviour.mass)
    return _heaviest_first(part.unique(return_inverse=True)[1], behaviour.mass.cpu())


def _rigid_parts(
    behaviour: Behaviour, config: AnchorConfig, seed: int
) -> tuple[Int[Tensor, "g"], dict[int, float]]:
    """Parts joined from many pieces, and the share that each number of them explains."""
    calm = calmed(behaviour, config.around)
    # pieces shall be compact as well: what lies far apart may move alike by chance
    place = calm.home - calm.home.mean(0)
    rows = torch.cat([responses(calm), place / place.square().sum(1).mean().sqrt()], 1)
    pieces = _clustered(calm, rows, max(_PIECES, config.count), config.neighbours, seed)
    pieces = without_dust(regrouped(calm, pieces), behaviour, behaviour.mass)
    found = joined(calm, pieces)
    explained = {n: 1 - each.left / max(found[1].left, _FAINT**2) for n, each in found.items()}
    wanted = min(config.count, max(found)) if config.count else _worthy(found, config)
    return _heaviest_first(found[wanted].part, behaviour.mass.cpu()), explained


def _worthy(found: dict[int, Partition], config: AnchorConfig) -> int:
    """The largest number of parts of which no two can be joined at a price that is small."""
    dear = [
        count
        for count, each in found.items()
        if each.cost > max(config.worth * each.left, _FAINT**2) and count <= config.most
    ]
    return max(dear, default=1)


def _enough(explained: dict[int, float], gain: float) -> int:
    """The largest count whose parts beyond a smaller choice explain ``gain`` each."""
    chosen = min(explained)
    for count in sorted(explained):
        if explained[count] >= explained[chosen] + gain * (count - chosen):
            chosen = count
    return chosen


def _heaviest_first(label: Int[Tensor, "g"], mass: Float[Tensor, "g"]) -> Int[Tensor, "g"]:
    heavy = torch.bincount(label, weights=mass.double())
    return heavy.argsort(descending=True).argsort()[label]


def _unexplained(behaviour: Behaviour, part: Int[Tensor, "g"]) -> Float[Tensor, "2"]:
    """Mean square, over the mass, of what rigid motion and a common occupancy of each part leave."""
    left = torch.zeros(2, dtype=torch.float64)
    for a in range(int(part.max()) + 1):
        member = part == a
        mass = behaviour.mass[member]
        home, moved = behaviour.home[member], behaviour.moved[:, member]
        turn, centre, centres = rigid_motion(home, moved, mass)
        shown = behaviour.shown[:, member]
        left_over = moved - centres[:, None] - (home - centre) @ turn.mT
        motion = left_over.square().sum(-1).mean(0) @ mass
        fading = (shown - (shown @ (mass / mass.sum()))[:, None]).square().mean(0) @ mass
        left += torch.stack([motion, fading]).cpu()
    return left / behaviour.mass.sum().cpu()


def _mean(
    rows: Float[Tensor, "g f"], mass: Float[Tensor, "g"], member: Bool[Tensor, "g"]
) -> Float[Tensor, "f"]:
    return mass[member] @ rows[member] / mass[member].sum()


def _nearest_member(
    mean: Float[Tensor, "f"], features: Float[Tensor, "g f"], member: Bool[Tensor, "g"]
) -> Int[Tensor, ""]:
    rows = torch.nonzero(member)[:, 0]
    return rows[(features[rows] - mean).square().sum(1).argmin()]


def _largest_radius(positions: Float[Tensor, "m 3"], label: Int[Tensor, "m"]) -> float:
    groups = [positions[label == k] for k in range(int(label.max()) + 1)]
    return max(float((g - g.mean(0)).square().sum(1).mean().sqrt()) for g in groups)

"""Parts of a mixture: Gaussians that share a behaviour, and the anchor that stands for each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_RUNS: Any = 10  # of k-means++, the best is kept; scikit-learn's stubs want a string


@dataclass(frozen=True)
class AnchorConfig:
    """How Gaussians are grouped into parts."""

    count: int = 0
    """Number of feature clusters; 0 takes the count with the largest mean silhouette."""
    most: int = 8
    """Largest count tried when it is chosen."""
    part_radius: float = 0.0
    """Split parts in space until none has a larger RMS radius, fraction of the box; 0 never splits."""

    def __post_init__(self) -> None:
        if self.count < 0 or self.most < 2 or self.part_radius < 0:
            raise ValueError(f"{self}: count and part_radius are at least 0, most at least 2")


@dataclass(frozen=True)
class Anchors:
    """The parts of a mixture.

    Attributes:
        part: Part of each Gaussian.
        features: Mean feature of each part.
        centres: Where the Gaussian nearest to that mean sits, box units.
        silhouettes: Mean silhouette of each count that was tried.
    """

    part: Int[Tensor, "g"]
    features: Float[Tensor, "a f"]
    centres: Float[Tensor, "a 3"]
    silhouettes: dict[int, float]


def find_anchors(
    features: Float[Tensor, "g f"],
    centres: Float[Tensor, "g 3"],
    mass: Float[Tensor, "g"],
    config: AnchorConfig,
    seed: int,
) -> Anchors:
    """Parts by k-means++ on features, split in space where they are large (CryoSPIRE, anchors).

    Gaussians vote by their mass: those that the data switched off keep a random feature.
    """
    silhouettes: dict[int, float] = {}
    count = config.count
    if not count:
        silhouettes = {k: _silhouette(features, mass, k, seed) for k in range(2, config.most + 1)}
        count = max(silhouettes, key=lambda k: silhouettes[k])
    part = cluster(features, mass, count, seed)
    if config.part_radius:
        part = split_in_space(part, centres, config.part_radius, seed)
    members = [part == a for a in range(int(part.max()) + 1)]
    means = torch.stack([(mass[m, None] * features[m]).sum(0) / mass[m].sum() for m in members])
    nearest = torch.stack(
        [_nearest_member(mean, features, m) for mean, m in zip(means, members, strict=True)]
    )
    return Anchors(part, means, centres[nearest], silhouettes)


def cluster(
    rows: Float[Tensor, "g f"], weight: Float[Tensor, "g"], count: int, seed: int
) -> Int[Tensor, "g"]:
    """Best of ten weighted k-means++ runs; labels run from the heaviest cluster down."""
    from sklearn.cluster import KMeans

    count = min(count, len(rows))
    search = KMeans(count, init="k-means++", n_init=_RUNS, random_state=seed)
    found = search.fit(rows.cpu().numpy(), sample_weight=weight.cpu().numpy())
    labels = torch.as_tensor(found.labels_, dtype=torch.int64)
    heavy = torch.bincount(labels, weights=weight.cpu().double(), minlength=count)
    return heavy.argsort(descending=True).argsort()[labels]


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


def _largest_radius(positions: Float[Tensor, "m 3"], label: Int[Tensor, "m"]) -> float:
    groups = [positions[label == k] for k in range(int(label.max()) + 1)]
    return max(float((g - g.mean(0)).square().sum(1).mean().sqrt()) for g in groups)


def _nearest_member(
    mean: Float[Tensor, "f"], features: Float[Tensor, "g f"], member: Bool[Tensor, "g"]
) -> Int[Tensor, ""]:
    rows = torch.nonzero(member)[:, 0]
    return rows[(features[rows] - mean).square().sum(1).argmin()]


def _silhouette(features: Float[Tensor, "g f"], mass: Float[Tensor, "g"], count: int, seed: int) -> float:
    """Mean silhouette coefficient (Rousseeuw 1987), Gaussians counted by their mass."""
    from sklearn.metrics import silhouette_samples

    label = cluster(features, mass, count, seed)
    if len(label.unique()) < 2:
        return -1.0
    each = torch.as_tensor(silhouette_samples(features.cpu().numpy(), label.numpy()))
    return float((each * mass.cpu()).sum() / mass.sum())

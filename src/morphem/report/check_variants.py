"""Which reading of the poses the images agree with: back-projections under each, ranked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Poses, Volume
from morphem.metrics.fsc import shell_correlation
from morphem.report.check_sample import Sample, agreements, half_maps, mirrored, resized

BOX = 36  # pixels: shells 1 to 16 and a margin
SHELLS = 16
CERTAIN = 4.0  # standard errors
DECLARED, SHUFFLED, MIRRORED, NEGATIVE = "as declared", "order shuffled", "hand mirrored", "contrast inverted"
TRANSPOSED, LATER, EARLIER = "rotation transposed", "images one row later", "images one row earlier"
RIVALS = (TRANSPOSED, MIRRORED, LATER, EARLIER)  # errors of shifts are told by their regression


@dataclass(frozen=True)
class Variant:
    """One reading of the poses.

    Attributes:
        name: What it changes.
        halves: Mean correlation of half maps on the lowest shells; blind to sign and hand.
        consensus: Mean correlation with the consensus map, or with the declared back-projection without one.
        agreement: Mean lean of images towards projections of the reference, in standard deviations of noise.
        gain: How many standard errors the agreement exceeds that of the declared poses, image by image.
    """

    name: str
    halves: float
    consensus: float
    agreement: float
    gain: float


@dataclass(frozen=True)
class Ranking:
    """The variants, and what back-projecting them left behind.

    Attributes:
        variants: Best agreement first.
        half_maps: Of the poses as declared.
        lead: Of the declared rotations, at their best shifts, over shuffled poses; standard errors.
    """

    variants: tuple[Variant, ...]
    half_maps: tuple[Volume, Volume]
    lead: float

    @property
    def winner(self) -> str:
        """The reading of rotations that images agree with for certain; as declared unless it is beaten."""
        best = self.variants[0]
        return best.name if best.name in RIVALS and best.gain > CERTAIN else DECLARED


def rank(sample: Sample, others: Poses, consensus: Volume | None, seed: int) -> Ranking:
    """Back-project a sample under each reading of its poses and rank them.

    Without a consensus map, images are held against the back-projection of the other half set, which no
    image of their own has entered; then sign and hand cannot be told.

    Args:
        sample: At full size; it is cropped.
        others: Poses of the rows after each (n, first) and before each (n, last), joined.
        consensus: Known map in the frame of the poses.
        seed: Of the shuffled order.
    """
    small = sample.cropped(BOX)
    known = None if consensus is None else masked(resized(consensus, small.grid), small)
    tried = {}
    for name, poses in readings(small.poses, others, seed).items():
        moved = small.with_poses(poses.rotation, poses.shift)
        maps = half_maps(moved)
        references = (maps[1], maps[0]) if known is None else (known, known)
        tried[name] = (maps, agreements(moved, references))
    declared = tried[DECLARED]
    whole = known or mean_of(declared[0])
    variants = [_variant(name, maps, whole, lean, declared[1]) for name, (maps, lean) in tried.items()]
    if known is not None:
        reflection = agreements(small, (mirrored(known), mirrored(known)))
        flipped = (mirrored(declared[0][0]), mirrored(declared[0][1]))
        variants.append(_variant(MIRRORED, flipped, whole, reflection, declared[1]))
        variants.append(_negative(declared, whole))
    kept = [lean for name, (_, lean) in tried.items() if name not in (SHUFFLED, *RIVALS)]
    lead = paired_gain(max(kept, key=lambda lean: float(lean.mean())), tried[SHUFFLED][1])
    ranked = tuple(sorted(variants, key=lambda v: -v.agreement))
    return Ranking(ranked, declared[0], lead)


def readings(poses: Poses, others: Poses, seed: int) -> dict[str, Poses]:
    """What the poses may have been meant to be."""
    n = len(poses.shift)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return {
        **shift_readings(poses),
        TRANSPOSED: Poses(poses.rotation.mT.contiguous(), poses.shift),
        LATER: others[:n],
        EARLIER: others[n:],
        SHUFFLED: poses[order],
    }


def shift_readings(poses: Poses) -> dict[str, Poses]:
    """What the shifts may have been meant to be, as declared first."""
    rotation, shift = poses.rotation, poses.shift
    return {
        DECLARED: poses,
        "shifts negated": Poses(rotation, -shift),
        "shifts doubled": Poses(rotation, 2 * shift),
        "shifts halved": Poses(rotation, shift / 2),
        "shifts swapped": Poses(rotation, shift.flip(-1)),
        "shifts ignored": Poses(rotation, 0 * shift),
    }


def masked(volume: Volume, sample: Sample) -> Volume:
    """A map within the sample's mask."""
    return Volume(volume.voxels * sample.mask, volume.grid)


def mean_of(maps: tuple[Volume, Volume]) -> Volume:
    """Mean of two maps."""
    return Volume((maps[0].voxels + maps[1].voxels) / 2, maps[0].grid)


def paired_gain(lean: Float[Tensor, "n"], declared: Float[Tensor, "n"]) -> float:
    """Mean difference over its standard error."""
    difference = (lean - declared).double()
    if not difference.any():
        return 0.0
    error = difference.std(correction=0) / max(len(difference) - 1, 1) ** 0.5
    return float(difference.mean() / error.clamp(min=1e-12))


def low_shells(a: Volume, b: Volume) -> float:
    """Mean correlation on shells 1 to 16, or as many as there are."""
    return float(shell_correlation(a, b)[1 : SHELLS + 1].mean())


def _variant(
    name: str,
    maps: tuple[Volume, Volume],
    whole: Volume,
    lean: Float[Tensor, "n"],
    declared: Float[Tensor, "n"],
) -> Variant:
    halves, known = low_shells(*maps), low_shells(mean_of(maps), whole)
    return Variant(name, halves, known, float(lean.mean()), paired_gain(lean, declared))


def _negative(declared: tuple[tuple[Volume, Volume], Float[Tensor, "n"]], whole: Volume) -> Variant:
    """What inverting the grey values would give; no image has to be read again."""
    maps, lean = declared
    known = -low_shells(mean_of(maps), whole)
    return Variant(NEGATIVE, low_shells(*maps), known, float(-lean.mean()), paired_gain(-lean, lean))

"""Whether images agree with the recorded defocus and astigmatism better than with their usual errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Optics, Volume
from morphem.physics.imaging import phase_ramp
from morphem.physics.noise import band_weights
from morphem.report.check_sample import Sample, expectations
from morphem.report.check_variants import CERTAIN, paired_gain

SCALES = tuple(round(0.8 + 0.02 * k, 2) for k in range(21))


@dataclass(frozen=True)
class OpticsReading:
    """One reading of the contrast transfer columns.

    Attributes:
        name: What it changes.
        agreement: Mean lean of images towards their expectation, in standard deviations of noise.
        gain: How many standard errors that exceeds the agreement as declared, image by image.
    """

    name: str
    agreement: float
    gain: float


@dataclass(frozen=True)
class OpticsRanking:
    """Readings of the contrast transfer, and the factor on defocus that images agree with best.

    Attributes:
        readings: Best agreement first.
        defocus_scale: Best factor between 0.8 and 1.2.
        astigmatism_seen: How many standard errors the declared astigmatism is ahead of none.
    """

    readings: tuple[OpticsReading, ...]
    defocus_scale: float
    astigmatism_seen: float

    @property
    def winner(self) -> str:
        """The reading that images agree with for certain; empty for the declared one."""
        best = self.readings[0]
        return best.name if best.gain > CERTAIN else ""


def rank_optics(sample: Sample, references: tuple[Volume, Volume]) -> OpticsRanking:
    """Agreement of images with their expected projections under each reading of their optics."""
    prepared = [_prepared(sample, references, rows) for rows in sample.batches()]

    def lean(change: Callable[[Optics], Optics]) -> Float[Tensor, "n"]:
        changed = change(sample.optics)
        pairs = zip(sample.batches(), prepared, strict=True)
        return torch.cat([_lean(sample, changed, rows, *parts) for rows, parts in pairs])

    declared = lean(lambda optics: optics)
    found = [_reading("as declared", declared, declared)]
    by_scale = {scale: lean(_scaled(scale)) for scale in SCALES}
    best = max(by_scale, key=lambda scale: float(by_scale[scale].mean()))
    if best != 1:
        found.append(_reading(f"defocus ×{best:g}", by_scale[best], declared))
    for name, change in _READINGS.items():
        found.append(_reading(name, lean(change), declared))
    seen = -next(reading.gain for reading in found if reading.name == "no astigmatism")
    ranked = tuple(sorted(found, key=lambda reading: -reading.agreement))
    return OpticsRanking(ranked, best, seen)


def _scaled(factor: float) -> Callable[[Optics], Optics]:
    def change(optics: Optics) -> Optics:
        return replace(optics, defocus_u=factor * optics.defocus_u, defocus_v=factor * optics.defocus_v)

    return change


def _turned(change: Callable[[Tensor], Tensor]) -> Callable[[Optics], Optics]:
    return lambda optics: replace(optics, astigmatism=change(optics.astigmatism))


def _without_astigmatism(optics: Optics) -> Optics:
    mean = (optics.defocus_u + optics.defocus_v) / 2
    return replace(optics, defocus_u=mean, defocus_v=mean)


def _at_voltage(kilovolt: float) -> Callable[[Optics], Optics]:
    return lambda optics: replace(optics, voltage_kv=torch.full_like(optics.voltage_kv, kilovolt))


_READINGS: dict[str, Callable[[Optics], Optics]] = {
    "angle negated": _turned(torch.neg),
    "angle off by 90°": _turned(lambda angle: angle + math.pi / 2),
    "angle was in radians": _turned(torch.rad2deg),
    "angle was in degrees": _turned(torch.deg2rad),
    "no astigmatism": _without_astigmatism,
    "defocus ×10": _scaled(10),
    "defocus ×0.1": _scaled(0.1),
    "defocus negated": _scaled(-1),
    "voltage 300 kV": _at_voltage(300),
    "voltage 200 kV": _at_voltage(200),
    "voltage 120 kV": _at_voltage(120),
}


def _prepared(
    sample: Sample, references: tuple[Volume, Volume], rows: slice
) -> tuple[Float[Tensor, "b d h"], Float[Tensor, "b d h"]]:
    """Products of images with their expectations, and these squared over noise, both in the band."""
    weights = band_weights(sample.grid)
    expected = expectations(sample, references, rows)
    moved = expected * phase_ramp(sample.poses.shift[rows], sample.grid)
    product = (sample.observed[rows] * moved.conj()).real * weights
    return product, expected.abs().square() * sample.precision[rows] * weights


def _lean(
    sample: Sample,
    optics: Optics,
    rows: slice,
    product: Float[Tensor, "b d h"],
    power: Float[Tensor, "b d h"],
) -> Float[Tensor, "b"]:
    transfer = sample.transfer(rows, optics)
    size = (transfer.square() * power).sum((-2, -1)).clamp(min=1e-30).sqrt()
    return (transfer * product).sum((-2, -1)) / size


def _reading(name: str, lean: Float[Tensor, "n"], declared: Float[Tensor, "n"]) -> OpticsReading:
    return OpticsReading(name, float(lean.mean()), paired_gain(lean, declared))

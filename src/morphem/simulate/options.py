"""What a user states about a simulation; torch is not needed to read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.constructors import PrimitiveConstructorSpec

_DEGREES = PrimitiveConstructorSpec(
    nargs=1,
    metavar="DEGREES",
    instance_from_str=lambda words: math.radians(float(words[0])),
    is_instance=lambda value: isinstance(value, float | int),
    str_from_instance=lambda angle: [f"{math.degrees(angle):.4g}"],
)
Angle = Annotated[float, _DEGREES]  # rad; users read and write degrees


@dataclass(frozen=True)
class Conditions:
    """How particles were seen. Defaults are EMPIAR-10076's defocus, white noise and exact poses."""

    snr: float = 0.1
    """Variance of the signal after the CTF, over the whole box, to that of the noise."""
    shift: float = 8.0
    """Standard deviation of the displacement along each axis, Å."""
    voltage_kv: float = 300.0
    """Acceleration voltage, kV."""
    cs_mm: float = 2.7
    """Spherical aberration, mm."""
    amplitude_contrast: float = 0.1
    """Fraction, 0 to 1."""
    log_defocus: float = 9.753
    """Mean natural logarithm of the defocus in Å."""
    defocus_spread: float = 0.261
    """Standard deviation of that logarithm."""
    astigmatism: float = 381.0
    """Median difference of the two defoci, Å."""
    b_factor: float = 0.0
    """Envelope ``exp(−B s²/4)``, Å²."""
    contrast_spread: float = 0.0
    """Standard deviation of the logarithm of an unreported factor on each image's signal."""
    rotation_error: Angle = 0.0
    """Standard deviation of the reported rotations about each axis; rad in Python, else degrees."""
    shift_error: float = 0.0
    """Standard deviation of the reported shifts along each axis, Å."""
    junk: float = 0.0
    """Share of images without a particle."""
    noise_colour: float = 1.0
    """Power of the noise at zero frequency to that at Nyquist; 1 is white."""
    preferred: float = 0.0
    """Share of particles that lie on one side: seen along the molecule's z axis, give or take."""
    preferred_spread: Angle = 0.2
    """Standard deviation of their tilt about each axis; rad in Python, else degrees."""

    def __post_init__(self) -> None:
        if self.snr <= 0 or self.noise_colour <= 0:
            raise ValueError(f"snr {self.snr} and noise_colour {self.noise_colour} must be above 0")
        if not 0 <= self.junk < 1 or not 0 <= self.preferred <= 1:
            raise ValueError(f"junk {self.junk} and preferred {self.preferred} are shares of the images")


@dataclass(frozen=True)
class Scattering:
    """What atoms scatter."""

    factors: Literal["electron", "gaussian"] = "electron"
    """Tabulated electron scattering factors, or Gaussians weighted by atomic number."""
    sigma: float = 1.5
    """Standard deviation of Gaussian atoms, Å."""
    b_factor: float = 0.0
    """Of every atom, Å²; it blurs the true maps too."""

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.b_factor < 0:
            raise ValueError(f"sigma {self.sigma} must be above 0 and b_factor {self.b_factor} not below")


@dataclass(frozen=True)
class Motion:
    """What moves in a structure or comes and goes; nothing by default. Selections are like L,H:1-234,B*."""

    select: str = ""
    """Part of the structure to use; all of it by default."""
    torsion: str = ""
    """Bond to turn about, by chain, residue and two atoms: H:235:CA:C."""
    moving: str = ""
    """Atoms that turn."""
    angles: tuple[float, float] = (0.0, 360.0)
    """Range of the torsion, degrees."""
    steps: int = 100
    """Discrete angles of the torsion; 0 draws any angle of the range."""
    table: Path | None = None
    """.npz of rigid-body states: rotation [k m 3 3], offset [k m 3] (Å) of every state and body, body [g] of
    every atom; presence [k m] and shares [k] if wanted."""
    blocks: Path | None = None
    """.json with blocks {name: selection}, missing [[names] of each state], and counts if wanted."""
    trajectory: Path | None = None
    """.xtc, .dcd or .trr of the structure's atoms, read by mdtraj; a structure with several models is one."""

    def __post_init__(self) -> None:
        asked = [name for name in ("torsion", "table", "blocks", "trajectory") if getattr(self, name)]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)} were asked for; a molecule has one motion")
        if bool(self.torsion) != bool(self.moving):
            raise ValueError("torsion and moving belong together: the bond, and the atoms that turn about it")
        if self.steps < 0 or self.angles[0] >= self.angles[1]:
            raise ValueError(f"steps {self.steps} must not be below 0, and angles {self.angles} must rise")


@dataclass(frozen=True)
class Tier:
    """A size of data set.

    Attributes:
        box: Pixels.
        images: How many.
        snr: Variance of the signal to that of the noise, over the whole box.
    """

    box: int
    images: int
    snr: float


# .051 at 128 pixels is CryoBench's nominal .01, which it states at 256.
TIERS = {
    "tiny": Tier(32, 2_000, 0.1),
    "small": Tier(64, 10_000, 0.1),
    "standard": Tier(128, 100_000, 0.051),
}


@dataclass(frozen=True)
class Recipe:
    """A named benchmark set.

    Attributes:
        summary: One line.
        extent: Side of the box, Å.
        conditions: But the SNR, which the tier sets.
        standard_extent: Side of the box at the standard tier, Å.
    """

    summary: str
    extent: float = 256.0
    conditions: Conditions = field(default_factory=lambda: Conditions(b_factor=100.0))
    standard_extent: float = 384.0

    def pixel_size(self, tier: str) -> float:
        """Å at a tier."""
        return (self.standard_extent if tier == "standard" else self.extent) / TIERS[tier].box

    def seen(self, tier: str) -> Conditions:
        """Conditions at a tier."""
        return replace(self.conditions, snr=TIERS[tier].snr)


RECIPES = {
    "hinge": Recipe(
        "built in: a domain that swings by 60°, one that 30 % lack",
        conditions=Conditions(),
        standard_extent=256.0,
    ),
    "igg-1d": Recipe("an antibody whose Fab turns a full circle, 100 states; needs 1hzh.pdb"),
    "igg-rl": Recipe("an antibody whose Fab hangs on random linkers, 100 states; needs igg*_recipe.npz"),
    "ribosembly": Recipe("a large ribosomal subunit in 16 states of assembly; needs 4v5a", 384.0),
    "ratchet": Recipe("a ribosome whose small subunit turns by 0, 5 and 10°; needs 4v5a", 384.0),
}

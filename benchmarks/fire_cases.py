"""What cryoFIRE is tried on: molecules, conditions, and what counts as passed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.simulate.ensembles import Bodies, Coordinate, PointEnsemble
from morphem.simulate.hinge import BODY, OPTIONAL, SCALE, hinge
from morphem.simulate.matter import GaussianMatter
from morphem.simulate.motions import TableMotion
from morphem.simulate.options import Conditions
from morphem.simulate.recipes import ratchet

SHIFT = 1.5  # pixels, standard deviation along each axis
EXTENT = {"ratchet": 384.0}  # side of the box, Å
_EXTENT = 256.0
_SWING = math.radians(20)  # of the phantom's domain from its first state to its last
_FEATURE = 0.12  # share of the two-fold molecule's mass that breaks its symmetry


@dataclass(frozen=True)
class Limit:
    """What a figure of a record has to keep to.

    Attributes:
        name: Path of the figure, as ``rotation_deg.median``.
        value: The most, or the least where ``least``.
        least: Whether more is better.
    """

    name: str
    value: float
    least: bool = False


@dataclass(frozen=True)
class Case:
    """One set of particles and what a method should make of it.

    Attributes:
        test: Row of the ladder.
        variant: Which of a row's sets; empty where there is one.
        molecule: ``phantom``, ``ratchet``, ``two-fold`` or ``globe``.
        images: How many.
        box: Pixels.
        snr: Variance of the signal to that of the noise, over the whole box.
        states: Of the molecule; equally spaced.
        shares: Of each state; equal by default.
        nuisance: Fields of ``Conditions`` that are not as usual.
        options: Words added to the command.
        change: What is done to the finished images: ``relabelled``, ``rotated`` or ``mirrored``.
        held_out: Images beyond ``images`` that only inference sees.
        limits: All have to be kept; a set that may end in a warning passes by one as well.
        may_warn: Whether a warning passes.
    """

    test: str
    variant: str = ""
    molecule: str = "phantom"
    images: int = 3000
    box: int = 64
    snr: float = 0.4
    states: int = 1
    shares: tuple[float, ...] = ()
    nuisance: dict[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    change: str = ""
    held_out: int = 0
    limits: tuple[Limit, ...] = ()
    may_warn: bool = False

    @property
    def grid(self) -> Grid:
        """Of the images."""
        return Grid(self.box, EXTENT.get(self.molecule, _EXTENT) / self.box)

    @property
    def conditions(self) -> Conditions:
        """Shifts, microscope and nuisances."""
        return Conditions(snr=self.snr, shift=SHIFT * self.grid.pixel_size, **self.nuisance)

    @property
    def data_name(self) -> str:
        """Of the folder of its images: the same for cases that look at the same ones."""
        shares = "-".join(f"{share:g}" for share in self.shares)
        odd = "-".join(f"{name}{value:g}" for name, value in self.nuisance.items())
        count = self.images + self.held_out
        words = (
            self.molecule,
            f"k{self.states}",
            shares,
            f"d{self.box}",
            f"n{count}",
            f"snr{self.snr:g}",
            odd,
        )
        return "_".join(word for word in words if word)


def _poses(rotation: float, shift: float, beyond: float) -> tuple[Limit, ...]:
    return (
        Limit("poses.rotation_deg.median", rotation),
        Limit("poses.shift_px.median", shift),
        Limit("poses.beyond_10_deg", beyond),
    )


_BASIN = (Limit("poses.beyond_10_deg", 0.1),)
_SAME = tuple(
    Limit(f"change.{name}", 1e-3) for name in ("rotation_rad", "shift_px", "beyond_10_deg", "resolution_px")
)
_A1 = Case("A1", limits=(*_poses(0.6, 0.05, 0.01), Limit("cpu_seconds", 60)))
_UNEQUAL = {"molecule": "ratchet", "states": 2, "shares": (0.9, 0.1)}
_STRAIGHT = (Limit("latents.spearman", 0.98, least=True),)
_HARD = replace(_A1, test="A7", limits=_BASIN, may_warn=True)

CASES = (
    _A1,
    Case("A2", images=4000, snr=0.1, limits=_poses(1.2, 0.10, 0.02)),
    Case("A3", images=6000, snr=0.04, limits=_poses(2.2, 0.18, 0.05)),
    Case(
        "A4",
        molecule="ratchet",
        images=20_000,
        box=128,
        snr=0.1,
        limits=(
            Limit("poses.view_deg.median", 0.5),
            *_poses(0.6, 0.09, 1.0)[:2],
            Limit("maps.commonest.resolution_px", 2.4),
        ),
    ),
    Case(
        "A5",
        **_UNEQUAL,
        images=10_000,
        limits=(Limit("latents.confusion", 1e-3), Limit("maps.rarest_to_commonest", 1.25)),
    ),
    Case("A6", "2 states", "ratchet", 6000, states=2, limits=(Limit("latents.confusion", 5e-3),)),
    Case("A6", "3 states", "ratchet", 6000, states=3, limits=(Limit("latents.confusion", 5e-3),)),
    Case("A6", "10 states", "ratchet", 6000, states=10, limits=_STRAIGHT),
    Case("A6", "continuous", "ratchet", 6000, states=101, limits=_STRAIGHT),
    replace(_HARD, variant="pseudo-C2", molecule="two-fold"),
    replace(_HARD, variant="globular", molecule="globe"),
    replace(_HARD, variant="preferred views", nuisance={"preferred": 0.8}),
    replace(_HARD, variant="wrong contrast sign", options=("--sign", "-1")),
    replace(_HARD, variant="20 % junk", nuisance={"junk": 0.2}),
    *(
        replace(_A1, test="A8", variant=change, change=change, limits=_SAME)
        for change in ("relabelled", "rotated", "mirrored")
    ),
    *(Case("T1", f"{n // 1000}k", **_UNEQUAL, images=n, held_out=2000) for n in (10_000, 50_000)),
)
TESTS = tuple(dict.fromkeys(case.test for case in CASES))


def molecule(case: Case, structures: Path | None = None) -> PointEnsemble:
    """The molecule of a case.

    Args:
        case: What is asked for.
        structures: Folder of the ribosome's file.
    """
    if case.molecule == "ratchet":
        made = ratchet(structures, case.states, case.shares)
        return made if case.states > 1 else _without_motion(made)
    if case.states > 1 and case.molecule != "phantom":
        raise ValueError(f"{case.molecule} has one state, {case.states} were asked for")
    return {"phantom": lambda: _phantom(case), "two-fold": _two_fold, "globe": _globe}[case.molecule]()


def _phantom(case: Case) -> PointEnsemble:
    """The hinge, complete, at angles equally spaced."""
    made = hinge(presence=1.0)
    angles = torch.linspace(0, _SWING, case.states)
    poses = made.motion.bodies(torch.stack([angles, torch.ones_like(angles)], 1))
    shares = torch.tensor(case.shares) if case.shares else torch.full((case.states,), 1 / case.states)
    kind = "linear" if case.states > 1 else "label"
    known = (Coordinate("angle (rad)", kind),)
    rest = made.motion.rest()
    return PointEnsemble("phantom", made.matter, TableMotion(rest, made.labels, angles, shares, poses, known))


def _two_fold() -> PointEnsemble:
    """The phantom's body and its double turned by π about z, with a feature that tells them apart."""
    made = hinge()
    rest, amplitudes = made.motion.rest(), made.matter.amplitudes
    body, feature = rest[made.labels == BODY] + torch.tensor([0.0, 8.0, 0.0]), rest[made.labels == OPTIONAL]
    strength, extra = amplitudes[made.labels == BODY], amplitudes[made.labels == OPTIONAL]
    extra = extra * (_FEATURE / (1 - _FEATURE) * 2 * strength.sum() / extra.sum())
    centres = torch.cat([body, body * torch.tensor([-1.0, -1.0, 1.0]), feature])
    return _still("two-fold", centres, torch.cat([strength, strength, extra]))


def _globe() -> PointEnsemble:
    """Gaussians anywhere in a ball of 42 Å: no shape to see, texture alone."""
    generator = torch.Generator().manual_seed(11)
    direction = torch.nn.functional.normalize(torch.randn(400, 3, generator=generator), dim=1)
    centres = 42 * direction * torch.rand(400, 1, generator=generator) ** (1 / 3)
    return _still("globe", centres, 0.4 + 1.2 * torch.rand(400, generator=generator))


def _still(name: str, centres: Tensor, amplitudes: Tensor) -> PointEnsemble:
    matter = GaussianMatter(torch.full_like(amplitudes, SCALE), amplitudes)
    here = Bodies(torch.eye(3)[None, None], torch.zeros(1, 1, 3), torch.ones(1, 1))
    labels, one = torch.zeros(len(centres), dtype=torch.long), torch.ones(1)
    known = (Coordinate("state", "label"),)
    return PointEnsemble(name, matter, TableMotion(centres, labels, 0 * one, one, here, known))


def _without_motion(made: PointEnsemble) -> PointEnsemble:
    """One state, which has no coordinate that could be found."""
    return replace(made, motion=replace(made.motion, coordinates=(Coordinate("state", "label"),)))

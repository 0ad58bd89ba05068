"""Whether each metric tells apart what it should: errors of known size, on exact maps and known states.

The figures for the antibody were known before the code was. They hold for a box of 128 voxels of 3 Å and
means over shells 1 … 63, which leave out Nyquist. A form factor common to all atoms cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from morphem.core.fourier import low_pass
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, random_rotations
from morphem.core.types import Frame, Poses, Volume
from morphem.metrics.bootstrap import interval
from morphem.metrics.clusters import adjusted_mutual_information, adjusted_rand, cluster, hungarian_accuracy
from morphem.metrics.coordinates import coordinate_error
from morphem.metrics.fsc import cryobench_auc
from morphem.metrics.maps import deviation_sums, mean_to_shell, standard_deviation_map, state_sums
from morphem.metrics.neighbours import information_imbalance, neighbourhood_overlap
from morphem.metrics.poses import pose_errors
from morphem.physics.masks import cosine_edge, distance_to, mask_from_map
from morphem.simulate.atoms import AtomicMatter
from morphem.simulate.hinge import hinge
from morphem.simulate.recipes import make

GRID = Grid(32, 8.0)
ANGLES = 12
SHARES = torch.tensor([0.7, 0.3]).repeat(ANGLES) / ANGLES
LAST = 13  # shell: 20 Å


def _hinge(later: float = 0.0, body_shown: float | None = None) -> torch.Tensor:
    """Maps of the hinge, its angle ``later`` steps on, its optional domain as it is or the same in all."""
    molecule = hinge()
    states = molecule.landmarks(ANGLES)[0]
    states[:, 0] += later * math.pi / 3 / ANGLES
    if body_shown is not None:
        states[:, 1] = body_shown
    return torch.stack([molecule.map(state, GRID).voxels for state in states])


@pytest.fixture(scope="module")
def true() -> torch.Tensor:
    return _hinge()


@pytest.fixture(scope="module")
def wrong(true: torch.Tensor) -> dict[str, torch.Tensor]:
    """The truth, ever less of it, down to one map for all."""
    pairs = true.unflatten(0, (ANGLES, 2))
    smeared = sum(pairs[(torch.arange(ANGLES) + k).clamp(0, ANGLES - 1)] for k in range(-3, 4)) / 7
    return {
        "truth": true,
        "one state off": _hinge(1),
        "two states off": _hinge(2),
        "smeared over seven states": smeared.flatten(0, 1),
        "blurred to 40 Å": torch.stack([low_pass(one, GRID, 40.0) for one in true]),
        "optional domain always absent": _hinge(body_shown=0),
        "consensus": torch.einsum("k,kzyx->zyx", SHARES, true).expand_as(true),
    }


def _deviation(maps: torch.Tensor, true: torch.Tensor) -> float:
    return mean_to_shell(deviation_sums(maps, true, SHARES).pooled(SHARES), LAST)


def _moving(maps: torch.Tensor, true: torch.Tensor) -> float:
    spread = standard_deviation_map(true, SHARES)
    mask = mask_from_map(Volume(spread, GRID), 0.2 * float(spread.max()), 8, 24)
    return mean_to_shell(state_sums(maps, true, mask).pooled(SHARES), LAST)


def _area(maps: torch.Tensor, true: torch.Tensor) -> float:
    pairs = zip(maps, true, SHARES.tolist(), strict=True)
    return sum(p * cryobench_auc(Volume(a, GRID), Volume(b, GRID)) for a, b, p in pairs)


@pytest.mark.parametrize("metric", [_deviation, _moving])
def test_maps_that_know_less_of_the_motion_score_less(metric, true: torch.Tensor, wrong: dict):
    score = {name: metric(maps, true) for name, maps in wrong.items()}
    assert score["truth"] == pytest.approx(1, abs=1e-4)
    assert score["truth"] > score["one state off"] + 0.02 > score["two states off"] + 0.04
    assert score["blurred to 40 Å"] < 0.7  # nothing is left on the outer shells
    for name in ("two states off", "smeared over seven states", "optional domain always absent"):
        assert score["truth"] - 0.02 > score[name] > score["consensus"] + 0.02, name


def test_the_deviation_alone_gives_a_consensus_nothing(true: torch.Tensor, wrong: dict):
    assert _deviation(wrong["consensus"], true) == 0
    assert _moving(wrong["consensus"], true) > 0.2
    # CryoBench's area hardly sees the motion
    assert _area(wrong["consensus"], true) > 0.8 * _area(true, true)


def test_states_are_enough_to_tell_errors_of_one_step_from_two(true: torch.Tensor, wrong: dict):
    """Bootstrap intervals over states do not touch."""
    spans = []
    for name in ("two states off", "one state off"):
        sums = deviation_sums(wrong[name], true, SHARES)
        spans.append(interval(lambda w, sums=sums: mean_to_shell(sums.pooled(w), LAST), SHARES))
    assert spans[0][1] < spans[1][0]


@dataclass
class Antibody:
    """Maps of igg-1d: what stands, the Fab in some states by number, and the Fab's mean over all 100.

    Attributes:
        places: Positions of the Fab's atoms in every state, Å.
    """

    places: torch.Tensor
    fixed: torch.Tensor
    fab: dict[int, torch.Tensor]
    mean: torch.Tensor


ANTIBODY_GRID = Grid(128, 3.0)
COUNTED = slice(1, 64)


@pytest.fixture(scope="module")
def antibody(shared_data: Path) -> Antibody:
    molecule = make("igg-1d", shared_data / "structures")
    rest, moves = molecule.motion.rest(), molecule.labels == 1
    bodies = molecule.bodies(molecule.landmarks(1)[0])
    places = torch.einsum("kij,gj->kgi", bodies.rotation[:, 1], rest[moves]) + bodies.offset[:, 1, None]
    strength = molecule.matter.occupancy * molecule.matter.weights.sum(1)[molecule.matter.kind]
    fab = {k: _density(places[k], strength[moves]) for k in (0, 1, 2, 5)}
    mean = _density(places.flatten(0, 1), strength[moves].repeat(100) / 100)
    return Antibody(places, _density(rest[~moves], strength[~moves]), fab, mean)


def _density(positions: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Gaussians of 1.5 Å, as strong as the atoms are at low resolution."""
    width = torch.full((1, 1), 8 * math.pi**2 * 1.5**2)
    matter = AtomicMatter(torch.zeros(len(strength), dtype=torch.long), strength, torch.ones(1, 1), width)
    return matter.map(positions, torch.ones(len(strength)), ANTIBODY_GRID).voxels


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.83), (2, 0.57), (5, 0.25)])
def test_deviation_of_the_antibody_with_all_states_off_is_as_tabled(
    antibody: Antibody, steps: int, expected: float
):
    """3.6, 7.2 and 18°. Any two states so far apart are the first such pair, turned: one pair is enough."""
    off, right = (antibody.fab[k] - antibody.mean for k in (steps, 0))
    curve = state_sums([off], [right]).pooled(torch.ones(1))
    assert float(curve[COUNTED].mean()) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("estimate", "expected"), [("consensus", 0.508), ("Fab absent", 0.403), ("3.6° off", 0.866)]
)
def test_moving_region_of_the_antibody_is_as_tabled_to_a_hundredth(
    antibody: Antibody, estimate: str, expected: float
):
    """The table does not tell its mask; here, 12 Å around the Fab's atoms in all states, an edge of 24 Å."""
    fixed = antibody.fixed
    maps = {"consensus": fixed + antibody.mean, "Fab absent": fixed, "3.6° off": fixed + antibody.fab[1]}
    curve = state_sums([maps[estimate]], [fixed + antibody.fab[0]], _swept(antibody)).pooled(torch.ones(1))
    assert float(curve[COUNTED].mean()) == pytest.approx(expected, abs=0.01)


def _swept(antibody: Antibody) -> torch.Tensor:
    region = torch.zeros(128, 128, 128, dtype=torch.bool)
    x, y, z = (antibody.places.flatten(0, 1) / 3).round().long().T + 64
    region[z, y, x] = True
    return cosine_edge(distance_to(region, ANTIBODY_GRID, 36) - 12, 24)


def _latents(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """An angle on a circle, and a plane curve that holds it, to a noise in radians."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(1500, generator=generator)
    seen = angle + noise * torch.randn(1500, generator=generator)
    return torch.stack([2 * seen.cos(), seen.sin()], 1), angle


def test_noisier_latents_score_worse_on_every_scale():
    levels = [_latents(noise) for noise in (0.0, 0.1, 0.5, 50.0)]
    circles = [torch.stack([angle.cos(), angle.sin()], 1) for _, angle in levels]
    errors = [float(coordinate_error(z, angle, "circular").median()) for z, angle in levels]
    imbalance = [information_imbalance(z, circle) for (z, _), circle in zip(levels, circles, strict=True)]
    overlap = [neighbourhood_overlap(z, c, 10)[0] for (z, _), c in zip(levels, circles, strict=True)]
    for worse in (errors, imbalance, [-share for share in overlap]):
        assert all(b > a for a, b in pairwise(worse))
    assert errors[1] == pytest.approx(0.6745 * 0.1, rel=0.15)


@pytest.mark.parametrize("score", [adjusted_mutual_information, adjusted_rand, hungarian_accuracy])
def test_states_that_run_together_in_the_latents_score_worse(score):
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(5, (800,), generator=generator)
    scores = []
    for noise in (0.05, 0.35, 0.7, 20.0):
        latents = torch.eye(5)[label] + noise * torch.randn(800, 5, generator=generator)
        scores.append(score(cluster(latents, 5, seed=0), label))
    assert all(a > b + 0.02 for a, b in pairwise(scores))
    assert scores[0] > 0.99


def test_each_pose_error_sees_its_own_kind_of_mistake_and_no_other():
    true = Poses(random_rotations(200, torch.Generator().manual_seed(2)), torch.zeros(200, 2))
    seen = partial(pose_errors, true=true, frame=Frame(torch.eye(3), torch.zeros(3)))
    tilt, turn = (from_rotation_vector(0.1 * torch.eye(3)[axis]) for axis in (0, 2))
    tilted, turned = (seen(Poses(r @ true.rotation, true.shift)) for r in (tilt, turn))
    moved = seen(Poses(true.rotation, true.shift + 3))
    assert tilted.view.min() > 0.099
    assert max(tilted.in_plane.max(), turned.view.max(), moved.view.max(), moved.in_plane.max()) < 1e-3
    assert turned.in_plane.min() > 0.099
    assert max(tilted.shift.max(), turned.shift.max()) == 0
    assert moved.shift.min() > 4.2

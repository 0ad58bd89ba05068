"""What deviation and moving-region correlations see of the hinge, and what they are blind to."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.metrics.fsc import shell_correlation
from morphem.metrics.maps import (
    deviation_fsc,
    mean_to_shell,
    moving_region_fsc,
    standard_deviation_map,
)
from morphem.simulate.hinge import hinge

GRID = Grid(32, 8.0)
EQUAL = torch.ones(8) / 8


def _series(late: float = 0.0, shown: float = 1.0) -> torch.Tensor:
    """Eight angles of the swing, each ``late`` degrees too far, the optional domain ``shown`` throughout."""
    molecule = hinge()
    angles = torch.linspace(0, 1, 8) * molecule.motion.swing + math.radians(late)
    states = torch.stack([angles, torch.full((8,), shown)], 1)
    return torch.stack([molecule.map(state, GRID).voxels for state in states])


@pytest.fixture(scope="module")
def true() -> torch.Tensor:
    return _series()


def _score(estimated: torch.Tensor, true: torch.Tensor) -> float:
    return mean_to_shell(deviation_fsc(estimated, true, EQUAL), 12)


def test_the_truth_scores_one(true: torch.Tensor):
    assert deviation_fsc(true, true, EQUAL)[1:].min() > 0.9999


def test_a_consensus_scores_zero_although_it_resembles_every_state(true: torch.Tensor):
    consensus = true.mean(0).expand(8, -1, -1, -1)
    assert deviation_fsc(consensus, true, EQUAL).abs().max() == 0
    assert moving_region_fsc(consensus, true, EQUAL, torch.ones(32, 32, 32))[1:6].mean() > 0.7


def test_the_further_off_the_angles_the_lower_the_score(true: torch.Tensor):
    scores = [_score(_series(late), true) for late in (3.6, 7.2, 18.0)]
    assert 0.98 > scores[0] > scores[1] > scores[2] > 0
    assert scores[0] > 0.9
    assert scores[2] < 0.6


def test_states_in_another_order_score_less_than_nothing_known(true: torch.Tensor):
    assert _score(true.flip(0), true) < 0


def test_a_constant_error_is_not_held_against_the_deviations(true: torch.Tensor):
    error = torch.randn(32, 32, 32, generator=torch.Generator().manual_seed(0))
    assert _score(true + error, true) == pytest.approx(1, abs=1e-3)


def test_noise_of_the_power_of_the_deviations_scores_as_theory_says(true: torch.Tensor):
    deviation = true - true.mean(0)
    noise = deviation[torch.tensor([3, 7, 0, 5, 6, 1, 2, 4])].transpose(1, 3).contiguous()
    assert _score(true + noise, true) == pytest.approx(1 / math.sqrt(2), abs=0.12)


def test_two_states_of_unequal_weight_are_worked_by_hand():
    """Deviations of two states are one map times −p₂ and p₁: pooled, the correlation of the differences."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 2, 16, 16, 16, generator=generator)
    weights = torch.tensor([0.7, 0.3])
    pair = [torch.stack([torch.zeros_like(v[0]), v[1] - v[0]]) for v in (a, b)]
    grid = Grid(16, 1.0)
    expected = shell_correlation(Volume(pair[0][1], grid), Volume(pair[1][1], grid))
    assert torch.allclose(deviation_fsc(a, b, weights), expected, atol=1e-5)


def test_what_varies_most_is_the_swinging_domain(true: torch.Tensor):
    spread = standard_deviation_map(true, EQUAL)
    peak = (spread == spread.max()).nonzero()[0]
    x, y, _ = ((peak.flip(0) - 16) * 8.0).tolist()
    assert y > 10
    assert x > -30


def test_the_mean_to_a_shell_leaves_out_dc_and_what_comes_after():
    assert mean_to_shell(torch.tensor([9.0, 1.0, 0.5, 7.0]), 2.9) == pytest.approx(0.75)

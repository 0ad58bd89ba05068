"""What is told of a mixture's parts."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.engine.parts import part_table
from morphem.models.gaussian_density import AnchoredMixture


@pytest.fixture
def density() -> AnchoredMixture:
    """Three parts; the second turns by the latent about z, through its anchor."""
    torch.manual_seed(0)
    made = AnchoredMixture(60, 3, 2, 1, (4, 1), 100.0)
    with torch.no_grad():
        made.part.copy_(torch.arange(60) % 3)
        made.anchor_centres.copy_(0.2 * torch.eye(3))
        made.anchor_features.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
        made.offsets.normal_(std=0.05)
        made.log_scales.fill_(math.log(0.02))
        made.amplitudes.fill_(1.0)
        first, last = made.motion.get_submodule("first"), made.motion.get_submodule("last")
        # max(0, feature + latent - 1): the latent of the second part, nothing elsewhere
        first.get_parameter("weight").copy_(torch.tensor([[1.0, 0.0, 1.0]] + [[0.0] * 3] * 3))
        first.get_parameter("bias").copy_(torch.tensor([-1.0, 0.0, 0.0, 0.0]))
        last.get_parameter("weight")[2, 0] = 1.0
    return made


def test_a_part_that_turns_is_told_apart_from_those_that_rest(density: AnchoredMixture):
    rows = part_table(density, torch.linspace(0, 0.5, 201)[:, None])
    # from the middle, a quarter of a radian to either side; 5 % go beyond 95 % of that
    assert rows[1]["rotation_degrees"] == pytest.approx(math.degrees(0.25 * 0.95), rel=0.03)
    assert max(rows[0]["rotation_degrees"], rows[2]["rotation_degrees"]) < 0.1
    assert sum(row["mass"] for row in rows) == pytest.approx(1)


def test_a_part_that_the_data_switched_off_has_no_mass_and_no_nonsense(density: AnchoredMixture):
    with torch.no_grad():
        density.amplitudes[density.part == 2] = -0.1
    row = part_table(density, torch.linspace(0, 0.5, 50)[:, None])[2]
    assert row["mass"] == 0
    assert all(math.isfinite(value) for value in (row["rotation_degrees"], row["travel"], *row["occupancy"]))

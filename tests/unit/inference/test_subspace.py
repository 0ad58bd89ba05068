"""What differs between particles, at known poses."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.engine.run import Run
from morphem.inference.modes import ModeConfig, borne_out, find_modes
from morphem.inference.refine import Fit
from morphem.inference.rounds import half_maps
from morphem.inference.search import ramps
from morphem.inference.store import collect
from morphem.inference.subspace import (
    Latents,
    Setting,
    Subspace,
    find_subspace,
    frequency_weight,
    infer_latents,
    principal_turn,
    rigid_tangents,
    setting,
    spread_of,
    without_rigid_motion,
)
from morphem.inference.templates import template
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth, simulate

LIMIT = 9


@pytest.fixture(scope="module")
def made() -> tuple[Setting, Truth, tuple[torch.Tensor, torch.Tensor]]:
    """Particles half of which lack a domain, at their true poses."""
    grid, n = Grid(32, 8.0), 500
    stack, truth = simulate(hinge(1e-3, 0.5), n, grid, 0, Conditions(snr=0.5))
    store = collect(stack, 14, torch.ones(1, grid.half))
    fit = Fit(truth.poses, torch.ones(n), torch.zeros(n), torch.zeros(n, 5, 5))
    halves = torch.arange(0, n, 2), torch.arange(1, n, 2)
    return setting(store, fit, half_maps(store, fit, halves, LIMIT, None), LIMIT), truth, halves


def _weighed(where: Setting, voxels: torch.Tensor) -> torch.Tensor:
    from morphem.inference.subspace import _weighed  # pyright: ignore[reportPrivateUsage]

    return _weighed(voxels, frequency_weight(where))


def test_latents_are_the_posterior_of_dense_linear_algebra(made):
    where, _, _ = made
    grid = template(Volume(where.mask, Grid(26, 256 / 26)), where.store.disc, LIMIT)
    generator = torch.Generator().manual_seed(0)
    box = where.mask.shape[0]
    maps = 0.01 * torch.randn(3, box, box, box, generator=generator)
    space = Subspace(maps[0], maps[1:], Grid(box, 256 / box))
    rows = torch.arange(5)
    found = infer_latents(where, rows, space)
    images, poses = where.store.read(rows, LIMIT), where.fit.poses[rows]
    columns = [
        template(Volume(each, space.grid), where.store.disc, LIMIT).slices(poses.rotation)[0] for each in maps
    ]
    ramp = ramps(where.store.disc, LIMIT, poses.shift) * images.transfer
    stacked = torch.view_as_real(torch.stack([each * ramp for each in columns], 1)).flatten(2).double()
    left = torch.view_as_real(images.values).flatten(1).double() - stacked[:, 0]
    noise = 0.5  # variance of each part of a coefficient
    for k in range(5):
        a = stacked[k, 1:].T
        marginal = noise * torch.eye(len(a)).double() + a @ a.T
        mean = a.T @ torch.linalg.solve(marginal, left[k])
        covariance = torch.eye(2).double() - a.T @ torch.linalg.solve(marginal, a)
        torch.testing.assert_close(found.mean[k].double(), mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.covariance[k].double(), covariance, rtol=1e-3, atol=1e-4)
        with_z = torch.distributions.MultivariateNormal(torch.zeros(len(a)).double(), marginal)
        without = -0.5 * left[k].square().sum() / noise - len(a) / 2 * math.log(2 * math.pi * noise)
        assert float(found.evidence[k]) == pytest.approx(
            float(with_z.log_prob(left[k]) - without), rel=1e-3, abs=1e-2
        )
    assert grid.limit == LIMIT


def test_the_direction_that_tells_two_states_apart_is_found(made):
    where, truth, _ = made
    rows = torch.arange(len(truth))
    space = find_subspace(where, rows, 2, 5, 0)
    latents = infer_latents(where, rows, space.first(1)).mean[:, 0]
    there = truth.state[:, 1] > 0.5
    wrong = float(((latents > latents.median()) == there).float().mean())
    assert max(wrong, 1 - wrong) > 0.95


def test_directions_keep_no_rigid_motion_of_the_mean(made):
    where, truth, _ = made
    grid = Grid(26, 256 / 26)
    from morphem.core.fourier import resize_map

    mean = resize_map(truth.volume(torch.tensor([0.0, 1.0])).voxels, 26)
    tangents = rigid_tangents(Volume(mean, grid))
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, 26, 26, 26, generator=generator) * mean.std() + 3 * tangents[[0, 4]]
    free = without_rigid_motion(where, Subspace(mean, directions, grid))
    overlap = _weighed(where, free.directions) @ _weighed(where, tangents).T
    scale = _weighed(where, directions).norm(dim=1)[:, None] * _weighed(where, tangents).norm(dim=1)
    assert float((overlap / scale).abs().max()) < 1e-4


def test_tangents_are_what_small_motions_change(made):
    _, truth, _ = made
    from morphem.core.rotations import from_rotation_vector
    from morphem.core.types import Frame

    state, step = torch.tensor([0.0, 1.0]), 0.01
    here = truth.volume(state)
    tangents = rigid_tangents(here)
    turn = Frame(from_rotation_vector(torch.tensor([0.0, 0.0, step])), torch.zeros(3))
    change = (truth.volume(state, turn).voxels - here.voxels) / step
    # the map moved by a turn has at x what was at the turned-back place
    cosine = float((change * -tangents[5]).sum() / (change.norm() * tangents[5].norm()))
    assert cosine > 0.97
    moved = Frame(torch.eye(3), torch.tensor([step, 0.0, 0.0]))
    change = (truth.volume(state, moved).voxels - here.voxels) / step
    assert float((change * -tangents[0]).sum() / (change.norm() * tangents[0].norm())) > 0.97


def test_other_coordinates_are_spread_evenly_and_mean_the_same_densities(made):
    where, _, _ = made
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(50, 2, generator=generator) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + 1
    latents = Latents(z, 0.1 * torch.eye(2).repeat(50, 1, 1), torch.zeros(50))
    maps = torch.randn(3, 26, 26, 26, generator=generator)
    space, spread = Subspace(maps[0], maps[1:], Grid(26, 256 / 26)), spread_of(latents)
    found, moved = spread.of_latents(latents), spread.of_maps(space)
    for own, coordinates in ((space, z), (moved, found.mean)):
        density = own.mean + torch.einsum("nq,qzyx->nzyx", coordinates[:5], own.directions)
        wanted = space.mean + torch.einsum("nq,qzyx->nzyx", z[:5], space.directions)
        torch.testing.assert_close(density, wanted, rtol=1e-4, atol=1e-4)
    moment = found.mean.T @ found.mean / 50 + found.covariance.mean(0)
    torch.testing.assert_close(moment, torch.eye(2), rtol=0, atol=1e-4)
    turned = principal_turn(where, moved)
    torch.testing.assert_close(turned.root @ turned.root.T, torch.eye(2), rtol=0, atol=1e-5)


def test_only_directions_beyond_doubt_count():
    gain = torch.tensor([5.0, 1.0, 0.1, -0.2])
    assert borne_out(gain, torch.full((4,), 0.2)) == 2
    assert borne_out(-gain, torch.full((4,), 0.2)) == 0


def test_a_latent_does_not_depend_on_who_else_is_asked_for(made):
    where, truth, _ = made
    space = find_subspace(where, torch.arange(len(truth)), 1, 1, 0)
    some = infer_latents(where, torch.arange(40, 50), space)
    every = infer_latents(where, torch.arange(len(truth)), space)
    torch.testing.assert_close(some.mean[40:50], every.mean[40:50])
    assert float(some.mean[:40].abs().max()) == 0


@pytest.mark.parametrize("alike", [False, True])
def test_no_more_directions_are_tried_than_the_first_ones_call_for(made, tmp_path, alike):
    where, truth, halves = made
    if alike:
        there = truth.state[:, 1] > 0.5
        halves = tuple(rows[there[rows]] for rows in halves)
    config = ModeConfig(most=3, passes=4)
    modes = find_modes(where, halves, config, 0, Run(tmp_path))
    assert len(modes.gain) == 2
    assert len(modes.space) == (0 if alike else 1)
    assert modes.latents.mean.shape == (len(truth), len(modes.space))
    assert float(modes.space.mean.abs().max()) > 0

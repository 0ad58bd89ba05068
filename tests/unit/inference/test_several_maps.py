"""Poses sought in maps of several typical shapes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance, random_rotations
from morphem.core.types import Poses
from morphem.engine.run import Run
from morphem.inference.refine import Fit
from morphem.inference.several_maps import SearchRule, SeveralConfig, found_elsewhere, shape_of
from morphem.inference.store import collect
from morphem.inference.subspace import Latents, Setting, Subspace, infer_latents
from morphem.inference.templates import working_grid
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

GRID, LIMIT, N = Grid(32, 8.0), 12, 120
LOST = N // 4
RULE = SearchRule(SeveralConfig(maps=2, rotations=2304, sample=60), 15.0, 0.3, 0)


@pytest.fixture(scope="module")
def known() -> tuple[Setting, Subspace]:
    """Particles half of which lack a domain, at their true poses, and the true mean and difference."""
    stack, truth = simulate(hinge(1e-3, 0.5), N, GRID, 0, Conditions(snr=0.5))
    store = collect(stack, LIMIT, torch.ones(1, GRID.half))
    fit = Fit(truth.poses, torch.ones(N), torch.zeros(N), torch.zeros(N, 5, 5))
    grid = working_grid(GRID, LIMIT)
    lacking, whole = (
        resize_map(truth.volume(torch.tensor([0.0, there])).voxels, grid.box) for there in (0.0, 1.0)
    )
    space = Subspace((lacking + whole) / 2, (whole - lacking)[None] / 2, grid)
    where = Setting(store, fit, LIMIT, torch.ones_like(space.mean), torch.full((grid.half,), 0.9))
    return where, space


def _turned(poses: Poses) -> Poses:
    """The first quarter of the images at rotations of others."""
    rotation = poses.rotation.clone()
    rotation[:LOST] = random_rotations(LOST, torch.Generator().manual_seed(5))
    return replace(poses, rotation=rotation)


def _degrees_off(fit: Fit, truth: Poses) -> torch.Tensor:
    return torch.rad2deg(geodesic_distance(fit.poses.rotation, truth.rotation))


def _latents(where: Setting, space: Subspace) -> Latents:
    return infer_latents(where, torch.arange(N), space)


def test_images_with_the_pose_of_another_find_their_own(known: tuple[Setting, Subspace], tmp_path: Path):
    where, space = known
    lost = replace(where, fit=replace(where.fit, poses=_turned(where.fit.poses)))
    found = found_elsewhere(lost, torch.arange(N), (space, _latents(lost, space)), RULE, Run(tmp_path))
    assert found is not None
    off = _degrees_off(found, where.fit.poses)
    assert float((_degrees_off(lost.fit, where.fit.poses)[:LOST] > 20).float().mean()) > 0.9
    assert float((off[:LOST] < 10).float().mean()) > 0.9
    assert float((off[LOST:] < 10).float().mean()) > 0.95
    assert float(found.contrast.mean()) == pytest.approx(1, abs=1e-5)
    again = found_elsewhere(lost, torch.arange(N), (space, _latents(lost, space)), RULE, Run(tmp_path))
    assert again is not None
    assert torch.equal(again.poses.rotation, found.poses.rotation)


def test_where_poses_are_right_no_more_than_a_sample_is_searched(
    known: tuple[Setting, Subspace], tmp_path: Path
):
    where, space = known
    rule = replace(RULE, config=replace(RULE.config, least=0.05))
    model = space, _latents(where, space)
    assert found_elsewhere(where, torch.arange(N), model, rule, Run(tmp_path)) is None
    kept, _ = Run(tmp_path).load_result()
    assert set(kept) == {"share"}
    assert float(kept["share"]) < 0.05


def test_a_typical_shape_is_the_map_at_its_place(known: tuple[Setting, Subspace]):
    _, space = known
    there = shape_of(space, torch.tensor([1.0])).voxels
    torch.testing.assert_close(there, space.mean + space.directions[0])
    assert math.isclose(float(shape_of(space, torch.zeros(1)).voxels.sum()), float(space.mean.sum()))

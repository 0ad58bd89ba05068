"""Poses and latents found together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance
from morphem.core.types import Poses, Volume
from morphem.inference.joint import JointRule, empty_joint, find_together, jointly, place
from morphem.inference.refine import Fit
from morphem.inference.rounds import half_maps
from morphem.inference.store import collect
from morphem.inference.subspace import Latents, Setting, Subspace, infer_latents, setting
from morphem.inference.templates import tables_of, working_grid
from morphem.physics.pose_gram import PoseTables
from morphem.physics.slices import prepare_transform, sample_plane
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

GRID, LIMIT, N = Grid(32, 8.0), 13, 300
SPREAD = 0.3


@dataclass(frozen=True)
class Scene:
    """Particles half of which lack a domain, at poses some 5° off, and the true mean and difference."""

    where: Setting
    space: Subspace
    truth: Poses
    z: torch.Tensor


@pytest.fixture(scope="module")
def scene() -> Scene:
    stack, truth = simulate(hinge(1e-3, 0.5), N, GRID, 0, Conditions(snr=0.5))
    store = collect(stack, LIMIT, torch.ones(1, GRID.half))
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(N, 3, generator=generator) * math.radians(3)
    shift = truth.poses.shift + 3 * torch.randn(N, 2, generator=generator)
    off = Poses(from_rotation_vector(turn) @ truth.poses.rotation, shift)
    fit = Fit(off, torch.ones(N), torch.zeros(N), torch.zeros(N, 5, 5))
    ends = [truth.volume(torch.tensor([0.0, there])).voxels for there in (0.0, 1.0)]
    grid = working_grid(GRID, LIMIT)
    lacking, whole = (resize_map(each, grid.box) for each in ends)
    space = Subspace((lacking + whole) / 2, (whole - lacking)[None] / 2, grid)
    where = Setting(store, fit, LIMIT, torch.ones_like(space.mean), torch.full((grid.half,), 0.9))
    return Scene(where, space, truth.poses, 2 * truth.state[:, 1:] - 1)


def _tables(scene: Scene) -> PoseTables:
    maps = [Volume(each, scene.space.grid) for each in (scene.space.mean, *scene.space.directions)]
    return tables_of(maps, scene.where.store.disc, LIMIT)


def _posterior(scene: Scene, rows: torch.Tensor, poses: Poses, z: torch.Tensor) -> torch.Tensor:
    """Log-posterior in float64 from slices alone, the contrast at the best of many."""
    store, images = scene.where.store, scene.where.store.read(rows, LIMIT)
    unit = GRID.box / scene.space.grid.box**2
    maps = torch.cat([scene.space.mean[None], scene.space.directions]).double() * unit
    transforms = torch.stack([prepare_transform(Volume(each, scene.space.grid)) for each in maps])
    plane = store.disc.places[: store.disc.count(LIMIT)].double() / (scene.space.grid.box // 2)
    slices = sample_plane(transforms, poses.rotation.double(), plane)
    weights = torch.cat([torch.ones(len(z), 1), z], 1).to(slices.dtype)
    model = torch.einsum("cbm,bc->bm", slices, weights) * images.transfer
    turns = poses.shift.double() @ (store.disc.places[: store.disc.count(LIMIT)].double() / GRID.extent).T
    model = model * torch.exp(-2j * math.pi * turns)
    values = images.values.to(model.dtype)
    contrast = torch.linspace(0, 3, 3001, dtype=torch.float64)[:, None]
    power, match = model.abs().square().sum(1), (values.conj() * model).real.sum(1)
    gain = 2 * contrast * match - contrast.square() * power - (contrast - 1).square() / (2 * SPREAD**2)
    return gain.amax(0) - z.double().square().sum(1) / 2


def test_the_score_is_the_log_posterior_of_slices_in_double_precision(scene: Scene):
    rows = torch.arange(12)
    poses, z = scene.where.fit.poses[rows], torch.linspace(-2, 2, 12)[:, None]
    found = jointly(scene.where.store.read(rows, LIMIT), _tables(scene), (poses, z), 0, SPREAD)
    wanted = _posterior(scene, rows, poses, z)
    torch.testing.assert_close(found.fit.score.double(), wanted, rtol=1e-3, atol=0.02)


def test_the_peak_is_flat_in_double_precision(scene: Scene):
    rows = torch.arange(40)
    start = scene.where.fit.poses[rows], torch.zeros(40, 1)
    found = jointly(scene.where.store.read(rows, LIMIT), _tables(scene), start, 12, SPREAD)
    poses, z = found.fit.poses, found.latents.mean.double()
    deviation = found.latents.covariance[:, 0, 0].double().sqrt()
    steps = 0.05 * deviation
    up, down = (_posterior(scene, rows, poses, z + sign * steps[:, None]) for sign in (1, -1))
    here = _posterior(scene, rows, poses, z)
    # a slope that moves z by less than a tenth of its standard deviation
    assert float(((up - down) / (2 * steps) * deviation).abs().median()) < 0.1
    assert float(((up < here + 1e-3) & (down < here + 1e-3)).float().mean()) > 0.9
    bound = torch.linalg.inv(found.fit.information.double()).diagonal(dim1=1, dim2=2).sqrt()
    for axis in torch.eye(3):
        turn = 0.3 * (bound[:, :3] @ axis.double())[:, None].float() * axis
        there = [Poses(from_rotation_vector(s * turn) @ poses.rotation, poses.shift) for s in (1, -1)]
        up, down = (_posterior(scene, rows, each, z) for each in there)
        # derivatives are interpolated maps, not those of the interpolation: 2 % of what is steep
        assert float(((up - down) / 0.6).abs().median()) < 0.3


def test_what_is_left_open_is_the_inverse_of_a_numerical_curvature(scene: Scene):
    rows = torch.arange(40)
    start = scene.where.fit.poses[rows], torch.zeros(40, 1)
    found = jointly(scene.where.store.read(rows, LIMIT), _tables(scene), start, 8, SPREAD)
    bound = torch.linalg.inv(found.fit.information.double()).diagonal(dim1=1, dim2=2)
    scale = torch.cat([bound, found.latents.covariance[:, :, 0].double()], 1).sqrt()

    def at(step: torch.Tensor) -> torch.Tensor:
        change = step * scale
        turn = from_rotation_vector(change[:, :3].float())
        poses = Poses(turn @ found.fit.poses.rotation, found.fit.poses.shift + change[:, 3:5].float())
        return _posterior(scene, rows, poses, found.latents.mean.double() + change[:, 5:])

    unit = 0.7 * torch.eye(6, dtype=torch.float64)
    curvature = torch.zeros(40, 6, 6, dtype=torch.float64)
    for i in range(6):
        for j in range(6):
            corners = [a * b * at(a * unit[i] + b * unit[j]) for a in (1, -1) for b in (1, -1)]
            curvature[:, i, j] = -sum(corners) / (4 * 0.7**2)
    open_ = torch.linalg.inv(curvature)  # in units of what was found
    # steps of Newton's method leave out how residuals bend, and maps are interpolated
    assert float(open_[:, 5, 5].median()) == pytest.approx(1, abs=0.1)
    pose = torch.linalg.inv(open_[:, :5, :5])
    wanted = torch.einsum("bi,bij,bj->bij", scale[:, :5], found.fit.information.double(), scale[:, :5])
    away = (pose - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert float(away.median()) < 0.25


def _at(scene: Scene, rows: torch.Tensor, fit: Fit) -> Setting:
    """Images ``rows`` at other poses."""
    poses = Poses(scene.truth.rotation.clone(), scene.truth.shift.clone())
    poses.rotation[rows], poses.shift[rows] = fit.poses.rotation, fit.poses.shift
    contrast = torch.ones(N).index_copy(0, rows, fit.contrast)
    return replace(scene.where, fit=replace(scene.where.fit, poses=poses, contrast=contrast))


def test_evidence_is_that_of_latents_at_the_pose_found(scene: Scene):
    rows = torch.arange(30)
    start = scene.where.fit.poses[rows], torch.zeros(30, 1)
    found = jointly(scene.where.store.read(rows, LIMIT), _tables(scene), start, 4, SPREAD)
    wanted = infer_latents(_at(scene, rows, found.fit), rows, scene.space).evidence[rows]
    torch.testing.assert_close(found.latents.evidence, wanted, rtol=5e-3, atol=0.05)


def test_no_step_makes_pose_and_latent_less_likely(scene: Scene):
    rows = torch.arange(60)
    images, start = scene.where.store.read(rows, LIMIT), (scene.where.fit.poses[rows], torch.zeros(60, 1))
    scores = [jointly(images, _tables(scene), start, steps, SPREAD).fit.score for steps in (0, 1, 3, 6)]
    assert all(bool((after >= before).all()) for before, after in pairwise(scores))


def test_what_is_left_open_is_as_wide_as_the_errors(scene: Scene):
    found, rows = empty_joint(N, 1), torch.arange(N)
    blank = Latents(torch.zeros(N, 1), torch.zeros(N, 1, 1), torch.zeros(N))
    place(scene.where, rows, (scene.space, blank), (8, SPREAD), found)
    error = geodesic_distance(found.fit.poses.rotation, scene.truth.rotation)
    bound = torch.linalg.inv(found.fit.information.double()).diagonal(dim1=1, dim2=2)
    assert float(error.median()) < 1.2 * float(bound[:, :3].sum(1).sqrt().median())
    ratio = (found.latents.mean - scene.z).square()[:, 0] / found.latents.covariance[:, 0, 0]
    assert 0.3 < float(ratio.median()) < 0.7  # 0.455 for a normal distribution


def test_poses_and_latents_come_nearer_than_in_one_map(scene: Scene):
    halves = torch.arange(0, N, 2), torch.arange(1, N, 2)
    maps = half_maps(scene.where.store, scene.where.fit, halves, LIMIT, None)
    where = setting(scene.where.store, scene.where.fit, maps, LIMIT)
    start = infer_latents(where, torch.arange(N), scene.space)
    found, space = find_together(where, halves, start, JointRule(3, 3, SPREAD, LIMIT))
    before = geodesic_distance(scene.where.fit.poses.rotation, scene.truth.rotation)
    after = geodesic_distance(found.fit.poses.rotation, scene.truth.rotation)
    assert float(after.median()) < 0.7 * float(before.median())
    z = found.latents.mean[:, 0]
    assert float(z.mean()) == pytest.approx(0, abs=1e-3)
    moment = z.square().mean() + found.latents.covariance.mean()
    assert float(moment) == pytest.approx(1, abs=1e-2)
    right = float(((z > 0) == (scene.z[:, 0] > 0)).float().mean())
    assert max(right, 1 - right) > 0.93
    assert len(space) == 1


def test_an_image_learns_nothing_of_the_other_half_beyond_what_is_common(scene: Scene):
    halves = torch.arange(0, N, 2), torch.arange(1, N, 2)
    store = scene.where.store
    changed = store.values.clone()
    changed[halves[1]] = changed[halves[1]].roll(7, 0)
    other = replace(scene.where, store=replace(store, values=changed))
    start = infer_latents(scene.where, torch.arange(N), scene.space)
    found = [
        find_together(where, halves, start, JointRule(1, 2, SPREAD, common))[0].fit.poses.rotation
        for where in (scene.where, other)
        for common in (0, LIMIT)
    ]
    apart, together, apart_changed, together_changed = found
    assert torch.equal(apart[halves[0]], apart_changed[halves[0]])
    assert not torch.equal(together[halves[0]], together_changed[halves[0]])
    assert not torch.equal(apart[halves[1]], apart_changed[halves[1]])

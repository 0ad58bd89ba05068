"""From images alone to poses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, geodesic_distance
from morphem.core.types import Optics, Poses
from morphem.data.errors import DataError
from morphem.data.stack import stack_in_memory
from morphem.engine.run import Run
from morphem.inference.abinitio import Found, SeedConfig, difference, first_map, global_pass
from morphem.inference.rounds import PoseConfig, RoundConfig, next_limit, refine_poses
from morphem.inference.seeds import Phase
from morphem.inference.soundness import one_sided, refuse_alike, refuse_few, warnings_of
from morphem.inference.store import collect

QUICK = SeedConfig(most=3, judges=60, rotations=1152)


@pytest.fixture(scope="module")
def found(small_set, tmp_path_factory: pytest.TempPathFactory):
    """A small set solved from its images, and the folder of that."""
    made = small_set(500, snr=0.5)
    run = Run(tmp_path_factory.mktemp("run"))
    start = first_map(made.store, QUICK, 0, run)
    first = global_pass(made.store, torch.arange(500), (start.volume, start.limit), QUICK)
    refined = refine_poses(made.store, first, made.stack.halves(0), PoseConfig(QUICK), run, start.limit)
    return made, start, refined, run


def test_poses_are_found_without_any_to_begin_with(found):
    made, _, refined, _ = found
    bound = (
        refined.fit.information[:, :3, :3].double().inverse().diagonal(dim1=1, dim2=2).sum(1).sqrt().median()
    )
    error = difference(made.truth.poses, refined.fit.poses)
    assert error < 1.6 * float(bound)
    assert math.degrees(error) < 5


def test_finer_rounds_follow_while_halves_agree(found):
    _, _, refined, _ = found
    limits = [record["limit"] for record in refined.log]
    assert limits == sorted(limits)
    assert limits[-1] > limits[0]
    assert next_limit(torch.tensor([1.0] * 6 + [0.1] * 10), 12, 14, 1.3) == 12
    assert next_limit(torch.ones(16), 10, 14, 1.3) == 13
    assert next_limit(torch.ones(16), 13, 14, 1.3) == 14


def test_doubtful_poses_are_searched_again_and_others_are_not(found, tmp_path: Path):
    made, _, refined, _ = found
    n = len(made.store)
    wrong = torch.arange(n) % 5 == 0
    lost = refined.fit.poses.rotation.clone()
    lost[wrong] = lost[wrong] @ from_rotation_vector(torch.tensor([1.5, 0.7, -0.4]))
    fit = replace(refined.fit, poses=Poses(lost, refined.fit.poses.shift))
    once = PoseConfig(QUICK, RoundConfig(most=1, mates=0), limit=10)
    for doubted, mended in ((wrong, True), (torch.zeros(n, dtype=torch.bool), False)):
        start = Found(fit, torch.where(doubted, 0.0, torch.inf))
        run = Run(tmp_path / str(mended))
        again = refine_poses(made.store, start, made.stack.halves(0), once, run).fit.poses
        off = geodesic_distance(again.rotation, refined.fit.poses.rotation)
        assert float(off[~wrong].median().rad2deg()) < 3
        assert (float(off[wrong].median().rad2deg()) < 5) == mended


def test_what_was_finished_is_not_done_again(found, monkeypatch: pytest.MonkeyPatch):
    made, start, _, run = found

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("morphem.inference.abinitio.random_start", never)
    again = first_map(made.store, QUICK, 0, run)
    assert torch.equal(again.volume.voxels, start.volume.voxels)


def test_a_sound_result_draws_no_warning_and_starts_that_disagree_one(found):
    _, start, refined, _ = found
    assert warnings_of(start, refined, QUICK) == []
    apart = replace(start, agreement=[0.0, 1.0])
    assert "different maps" in warnings_of(apart, refined, QUICK)[0]


def test_a_dark_map_is_told(found):
    _, start, refined, _ = found
    dark = [replace(each, voxels=-each.voxels) for each in refined.halves.volumes]
    turned = replace(refined, halves=replace(refined.halves, volumes=(dark[0], dark[1])))
    assert any("other sign" in warning for warning in warnings_of(start, turned, QUICK))


def test_views_from_one_side_are_told_from_views_all_round(small_set):
    poses = small_set(4).truth.poses
    from morphem.core.rotations import random_rotations

    round_about = random_rotations(2000, torch.Generator().manual_seed(0))
    assert one_sided(Poses(round_about, torch.zeros(2000, 2))) < 0.1
    tilt = poses.rotation[:1].repeat(2000, 1, 1)
    assert one_sided(Poses(tilt, torch.zeros(2000, 2))) > 0.9


def _store(images: torch.Tensor):
    n = len(images)
    same = torch.ones(n)
    optics = Optics(
        1e4 * same, 1e4 * same, 0 * same, 300 * same, 2.7 * same, 0.1 * same, 0 * same, 0 * same, same
    )
    return collect(stack_in_memory(images, Grid(32, 8.0), optics), 10, torch.ones(1, 17))


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="fewer than 100"):
        refuse_few(60)


def test_images_that_are_all_alike_are_refused():
    with pytest.raises(DataError, match="all alike"):
        refuse_alike(_store(torch.randn(1, 32, 32).repeat(150, 1, 1)))


def test_noise_alone_draws_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("FIRST", "FINER"):  # shorter than usual
        monkeypatch.setattr(f"morphem.inference.abinitio.{name}", (Phase(8, 600, 8, 100),))
    store = _store(torch.randn(300, 32, 32, generator=torch.Generator().manual_seed(0)))
    run, quick = Run(tmp_path), replace(QUICK, most=2, rotations=600)
    start = first_map(store, quick, 0, run)
    assert len(start.scores) == 2
    first = global_pass(store, torch.arange(300), (start.volume, start.limit), quick)
    halves = torch.arange(0, 300, 2), torch.arange(1, 300, 2)
    refined = refine_poses(store, first, halves, PoseConfig(quick, RoundConfig(most=1, mates=0)), run)
    assert any("do not trust" in warning for warning in warnings_of(start, refined, quick))

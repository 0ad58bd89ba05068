"""An evaluation separates those who know the states from those who do not, score by score."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector
from morphem.core.types import Frame, Poses
from morphem.engine.reconstruction import Reconstruction
from morphem.models.gaussian_density import AnchoredMixture
from morphem.report.evaluate import evaluate_result, judged
from morphem.report.evaluate_latents import latent_scores
from morphem.report.evaluate_maps import upright
from morphem.report.evaluate_pairs import Limits, limits
from morphem.report.evaluate_poses import found_frame, state_groups
from morphem.report.results import Parts, Result, as_result
from morphem.simulate.hinge import hinge
from morphem.simulate.particles import Conditions, Truth, known_truth

GRID = Grid(16, 16.0)
IMAGES = 400


@pytest.fixture(scope="module")
def truth() -> Truth:
    return known_truth(hinge(), torch.arange(IMAGES), GRID, 0, Conditions(junk=0.05))


def knowing(truth: Truth, late: float = 0.0, frame: Frame | None = None) -> Result:
    """Latents are states; the angle in the maps is ``late`` degrees too far."""
    late_by = torch.tensor([math.radians(late), 0.0])

    def decode(rows: Tensor) -> Tensor:
        return torch.stack([truth.volume(state + late_by, frame).voxels for state in truth.state[rows]])

    return Result(decode, latents=truth.state)


def still(truth: Truth) -> Result:
    """One map for all particles, and latents at random."""
    states, shares = truth.ensemble.landmarks(5)
    maps = [share * truth.volume(state).voxels for state, share in zip(states, shares, strict=True)]
    mean = torch.stack(maps).sum(0)
    latents = torch.randn(IMAGES, 2, generator=torch.Generator().manual_seed(1))
    return Result(lambda rows: mean.expand(len(rows), -1, -1, -1), latents=latents)


def cut(truth: Truth, part: Tensor) -> Callable[[int], Parts]:
    """The molecule's own points, cut into parts."""
    return lambda row: Parts(truth.ensemble.points(truth.state[row][None])[0][0], part)


@pytest.fixture(scope="module")
def limit(truth: Truth) -> Limits:
    return limits(truth)


def scores(result: Result, truth: Truth, limit: Limits) -> dict:
    return judged(result, truth, limit).written()


@pytest.fixture(scope="module")
def known(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("known")
    result = replace(knowing(truth), parts=cut(truth, truth.ensemble.labels))
    return evaluate_result(result, truth, out), out


@pytest.fixture(scope="module")
def unknowing(truth: Truth, limit: Limits) -> dict:
    return scores(still(truth), truth, limit)


def test_one_who_knows_every_state_scores_near_one_throughout(known: tuple[dict, Path]):
    record = known[0]
    states, images = record["maps"]["by_state"], record["maps"]["by_image"]
    assert states["deviation_fsc"]["value"] > 0.99  # less 1 by the spread of angles about a landmark
    assert images["deviation_fsc"]["value"] > 0.9999
    assert states["auc"]["value"] == pytest.approx(7 / 16, abs=0.005)  # the most a box of 16 gives
    angle, optional = record["latents"]["coordinates"].values()
    assert angle["rank_correlation"]["value"] > 0.999
    assert angle["error_median"]["value"] < 0.001
    assert optional["auroc"]["value"] == 1
    assert record["latents"]["bodies"]["body 2"]["occupancy_auroc"]["value"] == 1
    assert record["latents"]["bodies"]["body 2"]["occupancy_auroc_decoded"]["value"] == 1
    assert record["latents"]["information_imbalance"]["state"]["value"] < 0.05


def test_one_who_knows_only_the_consensus_scores_nothing(unknowing: dict):
    assert unknowing["maps"]["by_state"]["deviation_fsc"]["value"] == 0
    assert unknowing["maps"]["by_image"]["deviation_fsc"]["value"] == 0
    angle, optional = unknowing["latents"]["coordinates"].values()
    assert abs(angle["rank_correlation"]["value"]) < 0.2  # 3.5/√380
    assert angle["error_median"]["normalised"] == pytest.approx(0, abs=0.15)
    assert optional["auroc"]["value"] == pytest.approx(0.5, abs=0.12)
    assert unknowing["latents"]["bodies"]["body 2"]["occupancy_auroc_decoded"]["value"] == 0.5
    assert unknowing["latents"]["information_imbalance"]["state"]["value"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("score", ["deviation_fsc", "moving_region_fsc", "auc", "auc_unmasked"])
def test_the_exact_mean_scores_its_own_floor_and_knowledge_more(
    unknowing: dict, known: tuple[dict, Path], score: str
):
    nothing, everything = (record["maps"]["by_state"][score] for record in (unknowing, known[0]))
    assert nothing["value"] == pytest.approx(nothing["floor"], abs=2e-3)  # a coarser mean over the angles
    assert everything["floor"] == nothing["floor"]
    assert everything["value"] > everything["floor"] + 0.01


def test_no_method_without_exact_maps_is_above_the_ceiling(known: tuple[dict, Path]):
    for series in known[0]["maps"].values():
        for score in ("deviation_fsc", "moving_region_fsc", "auc"):
            assert series[score]["floor"] < series[score]["ceiling"] <= 1
    by_image = known[0]["maps"]["by_image"]["deviation_fsc"]
    assert by_image["normalised"] > 1  # exact maps, which nobody could make of these images


def test_the_ceiling_of_known_motion_is_above_that_of_states_taken_alone(known: tuple[dict, Path]):
    score = known[0]["maps"]["by_state"]["deviation_fsc"]
    assert score["floor"] < score["ceiling_by_state"] < score["ceiling"]


def test_angles_seven_degrees_late_score_between(truth: Truth, known: tuple[dict, Path], limit: Limits):
    late = scores(knowing(truth, late=7.0), truth, limit)
    score, best = (record["maps"]["by_state"]["deviation_fsc"] for record in (late, known[0]))
    assert 0.5 < score["value"] < best["value"] - 0.02
    assert score["interval"][0] < score["value"] < score["interval"][1]
    assert late["latents"] == {**known[0]["latents"], "bodies": late["latents"]["bodies"]}


def test_the_last_shell_is_the_same_for_every_method(known: tuple[dict, Path], unknowing: dict):
    assert known[0]["shells"] == unknowing["shells"]
    assert 1 < known[0]["shells"]["last"] <= 8


def test_dark_protein_is_turned_over(truth: Truth):
    maps = torch.stack([truth.volume(state).voxels for state in truth.state[:4]])
    assert (upright(-2 * maps, maps), upright(maps, maps)) == (-1, 1)


@pytest.mark.parametrize("hand", [1, -1])
def test_a_result_in_another_frame_is_judged_in_that_frame(
    truth: Truth, known: tuple[dict, Path], limit: Limits, hand: int
):
    turn = from_rotation_vector(torch.tensor([0.4, -1.1, 0.7])) * hand
    frame = Frame(turn, torch.tensor([5.0, -3.0, 8.0]))
    side = torch.tensor([1.0, 1.0, float(hand)])
    rotation = side[:, None] * truth.poses.rotation @ turn.mT
    poses = Poses(rotation, truth.poses.shift - (rotation @ frame.offset)[:, :2])
    record = scores(replace(knowing(truth, frame=frame), poses=poses), truth, limit)
    assert record["poses"]["hand"] == ("same" if hand == 1 else "mirrored")
    assert record["poses"]["view_rad"]["p95"] < 1e-3
    assert record["poses"]["shift_angstrom"]["p95"] < 0.01
    assert record["poses"]["by_state"]["states"] == 16
    assert record["poses"]["by_state"]["rotation_rad"]["p95"] < 1e-3
    assert record["maps"]["by_image"]["deviation_fsc"]["value"] > 0.999
    own, usual = (each["maps"]["by_state"]["auc"]["value"] for each in (record, known[0]))
    assert own == pytest.approx(usual, abs=0.005)  # corners of the box are others


def test_nearly_equal_states_are_judged_together():
    few = torch.tensor([[0.1], [0.2], [0.1], [0.3]])
    assert state_groups(few).tolist() == [0, 1, 0, 2]
    line = torch.linspace(0, 1, 320)
    many = state_groups(torch.stack([line, 0.01 * line.flip(0) ** 2], 1))
    assert torch.equal(many.sort().values, torch.arange(320) // 20)
    order = many if many[0] == 0 else many.flip(0)
    assert torch.equal(order, torch.arange(320) // 20)


def test_poses_of_the_particle_file_are_not_judged(truth: Truth):
    assert found_frame(Poses(truth.poses.rotation + 1e-6, truth.poses.shift), truth) is None


def test_scores_and_a_page_of_pictures_are_left_in_the_folder(known: tuple[dict, Path]):
    record, out = known
    written = json.loads((out / "evaluation.json").read_text())
    assert {name: value for name, value in written.items() if name != "curves"} == record
    assert written["schema"] == 1
    assert len(written["curves"]["by_state"]["found"]["deviation_fsc"]) == GRID.half
    assert (out / "evaluation.png").read_bytes()[:4] == b"\x89PNG"


def test_one_map_without_latents_is_judged_by_its_maps_alone(truth: Truth, limit: Limits):
    record = scores(replace(still(truth), latents=torch.zeros(IMAGES, 0)), truth, limit)
    assert record["latents"] is None
    assert record["maps"]["by_state"]["deviation_fsc"]["value"] == 0


def _mixture(truth: Truth, part: Tensor) -> AnchoredMixture:
    """The hinge at mid-swing, cut into parts; further Gaussians of no amplitude lie where they mislead."""
    rest = truth.ensemble.matter.mixture(*truth.ensemble.points(torch.tensor([[math.pi / 6, 1.0]])))
    centres = rest.centres[0] / GRID.extent
    density = AnchoredMixture(2 * len(part), 3, 2, 2, (4, 1), GRID.extent)
    with torch.no_grad():
        density.offsets.copy_(torch.cat([centres, centres]))
        density.log_scales.fill_(math.log(3 / GRID.extent))
        density.amplitudes.copy_(torch.cat([torch.ones(len(part)), torch.zeros(len(part))]))
        density.part.copy_(torch.cat([part, torch.zeros_like(part)]))
    return density


def test_gaussians_that_are_not_seen_have_no_part(truth: Truth):
    bodies = truth.ensemble.labels
    found = Reconstruction(truth.poses, torch.zeros(IMAGES, 2), _mixture(truth, bodies), GRID)
    parts = as_result(found, truth).parts
    assert parts is not None
    assert len(parts(0).part) == len(bodies)


def test_the_true_bodies_as_parts_have_a_rand_index_of_one_and_a_wrong_cut_less(
    truth: Truth, known: tuple[dict, Path], limit: Limits
):
    halves = (truth.ensemble.points(torch.tensor([[0.5, 1.0]]))[0][0, :, 0] > 0).long()
    wrong = scores(replace(still(truth), parts=cut(truth, halves)), truth, limit)
    assert known[0]["parts"]["adjusted_rand"]["value"] == 1
    assert wrong["parts"]["adjusted_rand"]["value"] < 0.5


def test_errors_of_a_coordinate_bear_the_spread_of_their_particles(unknowing: dict):
    """Guesses of the middle of 60° err by up to 30°, spread by 0.15 rad; their mean by 1/√380 of that."""
    angle, _ = unknowing["latents"]["coordinates"].values()
    for name in ("error_median", "error_mean"):
        low, high = angle[name]["interval"]
        assert low < angle[name]["value"] < high
    low, high = angle["error_mean"]["interval"]
    assert (high - low) / (4 * 0.15 / 380**0.5) == pytest.approx(1, abs=0.4)


def test_a_rand_index_bears_the_spread_of_its_particles(truth: Truth, limit: Limits):
    """Two states, told apart for nine in ten: p = 0.9 makes the index about (2p − 1)² = 0.64."""
    two = replace(truth, state=torch.stack([torch.full((IMAGES,), 0.5), truth.state[:, 1]], 1))
    wrong = torch.rand(IMAGES, generator=torch.Generator().manual_seed(2)) < 0.1
    told = torch.where(wrong, 1 - two.state[:, 1], two.state[:, 1])
    score = latent_scores(told[:, None], two, limit.bound)["clusters"]["adjusted_rand"]
    low, high = score.interval
    assert low < score.value < high
    deviation = 4 * 0.8 * (0.09 / IMAGES) ** 0.5  # of (2p − 1)²: 4 (2p − 1) √(p (1 − p) / n)
    assert (high - low) / (4 * deviation) == pytest.approx(1, abs=0.4)


def test_latents_of_another_set_are_refused(truth: Truth, limit: Limits):
    with pytest.raises(ValueError, match="whole simulated set"):
        scores(replace(still(truth), latents=torch.zeros(10, 2)), truth, limit)

"""The ladder of cryoFIRE: images without poses, figures whatever the names and frames, and the page."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import fire, fire_table  # noqa: E402
from benchmarks.fire_cases import CASES, Case, molecule  # noqa: E402
from benchmarks.fire_data import Job, simulated, withheld  # noqa: E402
from benchmarks.fire_scores import (  # noqa: E402
    changed,
    errors_at,
    first_component,
    frame_of,
    latent_figures,
    map_figures,
    pose_figures,
    seen_by,
    threshold_confusion,
)

from morphem.core.rotations import from_rotation_vector, random_rotations  # noqa: E402
from morphem.core.types import Poses  # noqa: E402
from morphem.data.stack import open_stack  # noqa: E402
from morphem.engine.reconstruction import Reconstruction  # noqa: E402
from morphem.models.density import LinearDensity  # noqa: E402
from morphem.simulate.bounds import CramerRao  # noqa: E402
from morphem.simulate.particles import photograph  # noqa: E402

SMALL = Case("A5", "tiny", images=60, box=32, states=2, shares=(0.8, 0.2))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A job with its images, and their truth."""
    job = Job(SMALL, 3, "fast", (), tmp_path_factory.mktemp("fire"))
    return job, simulated(job, None)


def perfect(truth, frame=None):
    """What a method leaves that finds everything, in the frame of the truth."""
    states = truth.state.unique(dim=0)
    maps = [truth.volume(state) for state in states]
    direction = maps[1].voxels - maps[0].voxels
    density = LinearDensity.of(maps[0], direction[None])
    latents = (truth.state == states[1]).float()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    return Reconstruction(truth.poses, latents + 0.01 * noise, density, truth.grid)


def figures(found, truth):
    frame = frame_of(found.poses, truth)
    return pose_figures(found.poses, truth, frame) | {"latents": latent_figures(found.latents, truth)}


def test_the_particle_file_of_a_run_tells_nothing_of_poses_or_states(made):
    job, truth = made
    blind = withheld(job)
    assert not any(word in blind.read_text() for word in ("_rlnAngle", "_rlnOrigin", "_morphemTrue"))
    stack = open_stack(blind)
    assert not stack.has_poses
    assert torch.allclose(stack.optics.defocus_u, truth.optics.defocus_u, atol=0.1)


@pytest.mark.parametrize("change", ["", "relabelled", "rotated", "mirrored"])
def test_changed_images_are_those_of_the_changed_truth(made, change):
    job, truth = made
    job = replace(job, case=replace(job.case, change=change))
    stack = open_stack(withheld(job))
    moved, basis = changed(truth, change, job.order)
    moved = replace(moved, optics=stack.optics)
    turned = replace(moved, poses=Poses(moved.poses.rotation @ basis, moved.poses.shift))
    noiseless = replace(turned, conditions=replace(truth.conditions, snr=1.0))
    signal = photograph(noiseless) - photograph(replace(noiseless, unit=0.0))
    images = stack.read(torch.arange(len(stack))).images
    by_itself = (signal * images).sum() / signal.square().sum()
    wrong = (signal.roll(1, 0) * images).sum() / signal.square().sum()
    assert float(by_itself) == pytest.approx(1, abs=0.05)
    assert float(wrong) < 0.7


def test_nothing_is_amiss_with_what_is_perfect(made):
    _, truth = made
    found = perfect(truth)
    told = figures(found, truth)
    assert told["rotation_deg"]["median"] < 0.01
    assert told["shift_px"]["p95"] < 1e-3
    assert told["beyond_10_deg"] == 0
    assert told["latents"]["confusion"] == told["latents"]["confusion_by_threshold"] == 0
    assert map_figures(found, truth, frame_of(found.poses, truth))["rarest"]["resolution_px"] == 2


def test_the_first_component_is_told_state_by_state(made):
    _, truth = made
    state = truth.state[:, :1]
    rows = first_component(-2.0 * state, truth)
    kinds = state[truth.intact].unique()
    assert len(rows) == (len(kinds) if 2 <= len(kinds) <= 10 else 0)
    assert all(low == middle == high for low, middle, high in rows)
    middles = [middle for _, middle, _ in rows]
    assert middles == sorted(middles)
    assert first_component(state[:, :0], truth) == []


@pytest.mark.parametrize("change", ["relabelled", "rotated", "mirrored"])
def test_figures_do_not_depend_on_order_frame_or_hand(made, change):
    job, truth = made
    error = from_rotation_vector(0.02 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1)))
    found = replace(perfect(truth), poses=Poses(error @ truth.poses.rotation, truth.poses.shift + 1.0))
    moved, basis = changed(truth, change, job.order)
    turn = random_rotations(1, torch.Generator().manual_seed(2))[0]
    again = changed(replace(truth, poses=found.poses), change, job.order)[0].poses
    again = Poses(again.rotation @ turn, again.shift)
    latents = found.latents[job.order] if change == "relabelled" else found.latents
    plain, other = figures(found, truth), figures(replace(found, poses=again, latents=latents), moved)
    for name in ("rotation_deg", "view_deg", "shift_px"):
        assert other[name]["median"] == pytest.approx(plain[name]["median"], rel=1e-3)
    assert other["latents"] == pytest.approx(plain["latents"], abs=1e-6)
    frame = seen_by(frame_of(again, moved), basis)
    hand = -1.0 if change == "mirrored" else 1.0
    assert float(torch.linalg.det(frame.matrix)) == pytest.approx(hand, abs=1e-4)


def test_errors_at_the_bound_are_those_of_normal_deviates():
    bound = CramerRao(torch.ones(4, 5), torch.full((4, 5), math.radians(1.0)), ())
    told = errors_at(bound, pixel_size=math.radians(1.0))
    assert told["view_deg"]["median"] == pytest.approx(1.1774, rel=0.05)  # Rayleigh
    assert told["rotation_deg"]["median"] == pytest.approx(1.5382, rel=0.05)  # Maxwell
    assert told["shift_px2"]["mean"] == pytest.approx(2, rel=0.1)


def test_thresholds_make_the_fewest_errors_that_thresholds_can():
    values = torch.tensor([0.0, 1, 2, 3, 4, 5])
    assert threshold_confusion(values, torch.tensor([0, 0, 1, 0, 1, 1])) == pytest.approx(1 / 6)
    assert threshold_confusion(values, torch.tensor([0, 0, 1, 1, 2, 2])) == 0
    assert threshold_confusion(values, torch.tensor([2, 0, 0, 1, 1, 2])) == pytest.approx(1 / 6)


def test_every_row_of_the_ladder_has_its_molecule_and_no_other_of_its_name():
    names = [(case.test, case.variant, case.molecule) for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.test for case in CASES} == {"A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "T1"}
    for kind in ("two-fold", "globe", "phantom"):
        assert len(molecule(Case("A7", molecule=kind)).labels) > 100


def test_the_two_fold_molecule_is_one_but_for_its_feature():
    ensemble = molecule(Case("A7", molecule="two-fold"))
    centres, mass = ensemble.motion.centres, ensemble.matter.amplitudes
    mates = centres * torch.tensor([-1.0, -1.0, 1.0])
    alone = (centres[:, None] - mates).norm(dim=-1).amin(1) > 1e-3
    assert float(mass[alone].sum() / mass.sum()) == pytest.approx(0.12, abs=0.01)


@pytest.mark.slow
def test_one_command_leads_from_a_row_to_a_record_and_to_the_page(tmp_path, monkeypatch, capsys):
    words = ["A1", "--images", "150", "--box", "32", "--set", "search.starts.least=1", "search.starts.most=1"]
    words += ["search.modes.most=0", "--work", str(tmp_path), "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["fire", *words])
    assert fire.main() in (0, 1)
    record = json.loads((tmp_path / "out.json").read_text())["records"][0]
    assert record["finished"], capsys.readouterr().err
    assert record["command"].startswith("python -m benchmarks.fire A1 --images 150 --box 32")
    assert str(tmp_path) not in json.dumps(record)
    assert record["bound"]["images"] == 150
    assert set(record["checks"]) == {limit.name for limit in CASES[0].limits}
    page = fire_table.filled(f"{fire_table.BEGIN}\n{fire_table.END}", [record])
    assert "**A1**: phantom, 150 × 32², SNR 0.4, seed 0" in page
    fire_table.draw([record], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000


def test_a_record_takes_the_place_of_the_one_before_it(tmp_path):
    key = dict.fromkeys(fire.MATTERS, "x")
    fire.keep(key | {"value": 1 / 3}, tmp_path / "out.json")
    fire.keep(key | {"seed": 1, "value": 2}, tmp_path / "out.json")
    fire.keep(key | {"value": 3}, tmp_path / "out.json")
    assert [each["value"] for each in fire_table.read(tmp_path / "out.json")] == [2, 3]


def test_the_page_agrees_with_the_results():
    text = fire_table.PAGE.read_text(encoding="utf-8")
    assert fire_table.filled(text, fire_table.read(fire_table.RESULTS)) == text

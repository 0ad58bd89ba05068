"""Simulated particles are what was asked for, each by itself, in memory and on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from morphem.core.fourier import radial_mean, to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance
from morphem.data.mrc import read_map
from morphem.data.stack import ParticleStack, open_stack
from morphem.physics.gaussians import gaussian_slices
from morphem.physics.imaging import form_image
from morphem.simulate.datasets import plan, read_truth, write_dataset
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import Truth, known_truth, photograph, simulate

GRID = Grid(32, 8.0)


@pytest.fixture(scope="module")
def simulated() -> tuple[ParticleStack, Truth]:
    return simulate(hinge(), 300, GRID, seed=4)


def _images(stack: ParticleStack) -> torch.Tensor:
    return stack.read(torch.arange(len(stack))).images


def _without_noise(stack: ParticleStack, truth: Truth, rows: torch.Tensor) -> torch.Tensor:
    """Images by the projector and the image formation that reconstructions use."""
    mixture = truth.ensemble.matter.mixture(*truth.ensemble.points(truth.state[rows]))
    projection = gaussian_slices(mixture, stack.poses.rotation[rows], GRID) * truth.unit
    return to_real(form_image(projection, stack.optics[rows], stack.poses.shift[rows], GRID))


def test_noise_has_variance_one_and_the_signal_the_stated_share(simulated: tuple[ParticleStack, Truth]):
    stack, truth = simulated
    images = _images(stack)
    signal = _without_noise(stack, truth, torch.arange(300))
    assert float((images - signal).var()) == pytest.approx(1, abs=0.01)
    assert float(signal.var((-2, -1)).mean()) == pytest.approx(0.1, rel=0.05)  # 300 views against another 256


def test_the_models_image_formation_explains_all_but_white_noise(simulated: tuple[ParticleStack, Truth]):
    stack, truth = simulated
    residual = _images(stack) - _without_noise(stack, truth, torch.arange(300))
    power = radial_mean(to_fourier(residual).abs().square(), GRID).mean(0) / 32**2
    assert float((power[2:16] - 1).abs().max()) < 0.05  # 300 × 6 independent numbers on shell 2: σ = 0.024


def test_images_are_brighter_where_the_protein_is(simulated: tuple[ParticleStack, Truth]):
    stack, truth = simulated
    expected = _without_noise(stack, truth, torch.arange(300))
    overlap = (_images(stack) * expected).sum((-2, -1)) / expected.square().sum((-2, -1))
    assert float(overlap.mean()) == pytest.approx(1, abs=0.03)


def test_image_i_is_the_same_made_alone(simulated: tuple[ParticleStack, Truth]):
    stack, _ = simulated
    alone = photograph(known_truth(hinge(), torch.tensor([217]), GRID, 4, Conditions()))
    torch.testing.assert_close(alone, stack.read(torch.tensor([217])).images, atol=1e-5, rtol=0)


def test_another_seed_gives_other_particles(simulated: tuple[ParticleStack, Truth]):
    stack, truth = simulated
    other, other_truth = simulate(hinge(), 4, GRID, seed=5)
    assert not torch.isclose(other_truth.state[:, 0], truth.state[:4, 0]).any()
    assert float((_images(other) * stack.read(torch.arange(4)).images).mean().abs()) < 0.1


def test_numbers_of_neighbouring_images_and_seeds_are_unrelated():
    truths = [known_truth(hinge(), torch.arange(2000), GRID, seed, Conditions()) for seed in (0, 1)]
    angle, other = (truth.state[:, 0] for truth in truths)
    pairs = [(angle[1:], angle[:-1]), (angle, other), (angle[1:], other[:-1])]
    assert all(abs(float(torch.corrcoef(torch.stack(pair))[0, 1])) < 0.08 for pair in pairs)  # 3.5/√2000


def test_a_larger_set_only_adds_images(simulated: tuple[ParticleStack, Truth]):
    _, truth = simulated
    more = known_truth(hinge(), torch.arange(400), GRID, 4, Conditions())
    assert torch.equal(more.state[:300], truth.state)
    assert more.unit == truth.unit


def test_views_are_uniform(simulated: tuple[ParticleStack, Truth]):
    truth = known_truth(hinge(), torch.arange(3000), GRID, 0, Conditions())
    beam = truth.poses.rotation[:, 2]
    assert float(beam.mean(0).norm()) < 0.05
    moments = beam.T @ beam / len(beam)
    torch.testing.assert_close(moments, torch.eye(3) / 3, atol=0.02, rtol=0)


def test_the_preferred_share_lies_on_one_side():
    conditions = Conditions(preferred=0.4, preferred_spread=0.1)
    truth = known_truth(hinge(), torch.arange(3000), GRID, 0, conditions, unit=1.0)
    tilt = truth.poses.rotation[:, 2, 2].clamp(-1, 1).acos()
    near = tilt < 0.3
    assert float(near.float().mean()) == pytest.approx(0.4 + 0.6 * (1 - math.cos(0.3)) / 2, abs=0.03)
    assert float(tilt[near].square().mean().sqrt()) == pytest.approx(0.1 * math.sqrt(2), rel=0.1)
    psi = torch.atan2(truth.poses.rotation[near, 1, 0], truth.poses.rotation[near, 0, 0])
    assert float(torch.exp(1j * psi).mean().abs()) < 0.08  # in the plane they lie as they fell


def test_shifts_and_defocus_follow_the_conditions():
    truth = known_truth(hinge(), torch.arange(4000), GRID, 0, Conditions(shift=6.0))
    assert float(truth.poses.shift.std()) == pytest.approx(6, rel=0.05)
    defocus = (truth.optics.defocus_u + truth.optics.defocus_v) / 2
    assert float(defocus.log().mean()) == pytest.approx(9.753, abs=0.02)
    assert float(defocus.log().std()) == pytest.approx(0.261, rel=0.05)
    difference = truth.optics.defocus_u - truth.optics.defocus_v
    assert float(difference.median()) == pytest.approx(381, rel=0.1)


def test_reported_poses_err_by_what_was_asked_and_true_ones_do_not():
    conditions = Conditions(rotation_error=math.radians(3), shift_error=2.0)
    stack, truth = simulate(hinge(), 200, GRID, 4, conditions)
    exact = known_truth(hinge(), torch.arange(200), GRID, 4, Conditions())
    torch.testing.assert_close(truth.poses.rotation, exact.poses.rotation)
    error = geodesic_distance(stack.poses.rotation, truth.poses.rotation).square().mean().sqrt()
    assert math.degrees(error) == pytest.approx(3 * math.sqrt(3), rel=0.1)
    assert float((stack.poses.shift - truth.poses.shift).std()) == pytest.approx(2, rel=0.1)


def test_contrast_is_hidden_from_the_reported_optics():
    stack, truth = simulate(hinge(), 200, GRID, 4, Conditions(contrast_spread=0.3))
    assert float(truth.optics.scale.log().std()) == pytest.approx(0.3, rel=0.15)
    assert torch.equal(stack.optics.scale, torch.ones(200))


def test_junk_is_noise_alone():
    stack, truth = simulate(hinge(), 200, GRID, 4, Conditions(junk=0.25))
    assert 0.15 < float((~truth.intact).float().mean()) < 0.35
    assert float(_images(stack)[~truth.intact].var()) == pytest.approx(1, abs=0.03)


def test_coloured_noise_falls_with_frequency_and_keeps_its_variance():
    conditions = Conditions(snr=1e-9, noise_colour=10.0)
    images = _images(simulate(hinge(), 200, GRID, 4, conditions)[0])
    assert float(images.var()) == pytest.approx(1, abs=0.03)
    power = radial_mean(to_fourier(images).abs().square(), GRID).mean(0)
    assert float(power[2] / power[14]) == pytest.approx(10 ** (12 / 16), rel=0.1)


def test_impossible_conditions_are_refused():
    with pytest.raises(ValueError, match="snr"):
        Conditions(snr=0)
    with pytest.raises(ValueError, match="junk"):
        Conditions(junk=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hinge")
    write_dataset(folder, plan(hinge(), 300, GRID, seed=4))
    return folder


def test_the_set_on_disk_is_the_set_in_memory(folder: Path, simulated: tuple[ParticleStack, Truth]):
    stack, opened = simulated[0], open_stack(folder / "particles.star")
    assert torch.equal(_images(opened), _images(stack))
    torch.testing.assert_close(opened.poses.rotation, stack.poses.rotation, atol=1e-6, rtol=0)
    torch.testing.assert_close(opened.poses.shift, stack.poses.shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(opened.optics.defocus_u, stack.optics.defocus_u, atol=0.01, rtol=0)
    torch.testing.assert_close(opened.optics.astigmatism, stack.optics.astigmatism, atol=1e-6, rtol=0)
    assert opened.half.bincount().tolist() == [0, 150, 150]


def test_the_truth_can_be_made_again_from_its_folder(folder: Path, simulated: tuple[ParticleStack, Truth]):
    again, truth = read_truth(folder), simulated[1]
    assert torch.equal(again.state, truth.state)
    assert torch.equal(again.poses.rotation, truth.poses.rotation)
    assert again.unit == truth.unit


def test_maps_on_disk_are_those_of_their_states_and_lie_within_the_mask(folder: Path):
    record = json.loads((folder / "truth" / "dataset.json").read_text())
    truth = read_truth(folder)
    one = record["maps"][7]
    found = read_map(folder / "truth" / one["file"])
    torch.testing.assert_close(found.voxels, truth.volume(torch.tensor(one["state"])).voxels)
    mask = read_map(folder / "truth" / "mask.mrc").voxels
    assert float((found.voxels * (1 - mask)).abs().max()) < 0.05 * float(found.voxels.max())

"""Ceilings against real back-projections, and their order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from morphem.core.fourier import to_fourier, to_fourier_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.metrics.fsc import cross_power
from morphem.metrics.maps import deviation_fsc
from morphem.physics.ctf import contrast_transfer
from morphem.physics.imaging import phase_ramp
from morphem.physics.slices import insert_weighted, solve_insertion
from morphem.simulate.hinge import hinge
from morphem.simulate.maps import MapEnsemble
from morphem.simulate.oracle import ceiling_maps, estimate, information, nearest_landmark
from morphem.simulate.particles import Conditions, Truth, known_truth, noise_amplitude, photograph
from morphem.simulate.true_maps import true_maps

GRID = Grid(32, 8.0)
WHOLE = torch.ones(32, 32, 32)


def _shell_power(voxels: torch.Tensor) -> torch.Tensor:
    """Mean squared coefficient of each shell."""
    spectrum = to_fourier_3d(voxels)
    one = torch.ones_like(spectrum)
    return cross_power(spectrum, spectrum) / cross_power(one, one)


def _truth(n: int, presence: float = 0.7) -> Truth:
    return known_truth(hinge(presence=presence), torch.arange(n), GRID, 0, Conditions(snr=0.1))


def _back_projected(truth: Truth, images: torch.Tensor, density: Volume) -> torch.Tensor:
    """Wiener reconstruction from images of one state, by slices inserted into a padded transform."""
    transfer = contrast_transfer(truth.optics, GRID)
    noise = noise_amplitude(truth).square() * GRID.box**2
    spectra = to_fourier(images) * phase_ramp(-truth.poses.shift, GRID)
    weights = (transfer.square() / noise).expand(spectra.shape)
    inserted = insert_weighted(spectra * transfer / noise, weights, truth.poses.rotation, GRID)
    # a padded box has eight times the coefficients, over which weights are spread
    prior = 1 / (8 * _shell_power(density.voxels).clamp(min=1e-12) * GRID.pixel_size**2)
    return solve_insertion(*inserted, GRID, prior.float()).voxels


@pytest.mark.parametrize("colour", [1.0, 6.0])
def test_errors_are_as_large_as_those_of_a_back_projection_of_images(colour: float):
    molecule, conditions = hinge(swing=1e-6, presence=1), Conditions(snr=0.05, noise_colour=colour)
    observed, predicted = torch.zeros(2, GRID.half, dtype=torch.float64)
    for seed in range(2):
        truth = known_truth(molecule, torch.arange(400), GRID, seed, conditions)
        density = truth.volume(truth.state[0])
        observed += _shell_power(_back_projected(truth, photograph(truth), density) - density.voxels)
        certain = information(truth, truth.poses.rotation)
        for draw in range(4):
            drawn = estimate(density, certain, WHOLE, torch.Generator().manual_seed(draw))
            predicted += _shell_power(drawn.voxels - density.voxels) / 4
    for low, high in ((4, 8), (8, 12), (12, 16)):
        ratio = observed[low:high].sum() / predicted[low:high].sum()
        assert float(ratio) == pytest.approx(1, abs=0.1)


def test_images_tell_of_each_coefficient_in_proportion_to_their_number_and_contrast():
    truth = _truth(300)
    once = information(truth, truth.poses.rotation)
    brighter = replace(truth, optics=replace(truth.optics, scale=2 * truth.optics.scale))
    assert torch.allclose(information(brighter, truth.poses.rotation), 4 * once)
    twice = truth[torch.arange(600) % 300]
    assert torch.allclose(information(twice, twice.poses.rotation), 2 * once, rtol=1e-4, atol=1e-3)


def test_all_images_together_tell_what_their_pixels_do():
    """Unfiltered images: every coefficient of a half plane below Nyquist is one measurement."""
    truth = _truth(50)
    flat = replace(truth.optics, defocus_u=0 * truth.optics.scale, defocus_v=0 * truth.optics.scale)
    flat = replace(flat, cs_mm=0 * flat.scale, amplitude_contrast=flat.scale)
    certain = information(replace(truth, optics=flat), truth.poses.rotation)
    weight = torch.full_like(certain, 1.0)
    weight[..., 0] = 0.5  # x = 0 holds each pair of conjugates twice
    pixels = sum((y * y + x * x) < 16**2 for y in range(-15, 16) for x in range(-15, 16)) / 2
    expected = 50 * pixels * (GRID.pixel_size / GRID.box) ** 2
    assert float((certain * weight).sum()) == pytest.approx(expected, rel=0.01)


def test_of_many_images_a_part_stands_for_all(monkeypatch: pytest.MonkeyPatch):
    truth = _truth(1000)
    whole = information(truth, truth.poses.rotation)
    monkeypatch.setattr("morphem.simulate.oracle._ENOUGH", 500)
    part = information(truth, truth.poses.rotation)
    assert float(part.sum() / whole.sum()) == pytest.approx(1, abs=0.05)
    assert not torch.allclose(part, whole)


def test_without_noise_to_speak_of_the_ceiling_is_the_truth():
    truth = _truth(500)
    sharp = replace(truth, unit=1e3 * truth.unit)
    states = truth.ensemble.landmarks(2)[0]
    true = true_maps(sharp, states)
    found = ceiling_maps(sharp, states, "motion")
    shares = torch.ones(len(states))
    # the outermost shells are only half covered by slices, and the soft support cuts a little
    assert deviation_fsc(found, true, shares)[1:15].min() > 0.99


def test_pooling_by_motion_beats_states_alone_and_more_images_beat_fewer():
    truth = _truth(1500)
    states, shares = truth.ensemble.landmarks(4)
    true = true_maps(truth, states)

    def score(part: Truth, kind: str) -> float:
        return float(deviation_fsc(ceiling_maps(part, states, kind), true, shares)[1:12].mean())

    motion, alone = score(truth, "motion"), score(truth, "states")
    assert motion > alone + 0.1
    assert motion > score(truth[:300], "motion") + 0.01


def test_a_body_that_few_images_have_is_less_certain():
    truth = _truth(600, presence=0.05)
    states = torch.tensor([[0.0, 1.0]])
    optional = truth.ensemble.body_map(2, GRID).voxels
    inside = optional > 0.1 * optional.max()

    def error(part: Truth) -> float:
        difference = (ceiling_maps(part, states, "motion") - true_maps(part, states))[0, inside]
        return float(difference.square().mean())

    full = replace(truth, state=torch.cat([truth.state[:, :1], torch.ones(600, 1)], 1))
    assert error(truth) > 3 * error(full)


def test_bodies_are_moved_as_points_are():
    """With hardly any noise the ceiling of a turned state is the exact map of that state."""
    truth = replace(_truth(300), unit=1e3 * _truth(1).unit)
    state = torch.tensor([[1.0, 1.0]])
    found, true = ceiling_maps(truth, state, "motion")[0], true_maps(truth, state)[0]
    assert (found - true).norm() < 0.15 * true.norm()
    still = true_maps(truth, torch.tensor([[0.0, 1.0]]))[0]
    assert (still - true).norm() > 0.4 * true.norm()


def test_the_same_seed_gives_the_same_ceiling_and_junk_does_not_count():
    truth = _truth(200)
    states = truth.ensemble.landmarks(1)[0]
    first = ceiling_maps(truth, states, "motion", seed=1)
    assert torch.equal(first, ceiling_maps(truth, states, "motion", seed=1))
    assert not torch.equal(first, ceiling_maps(truth, states, "motion", seed=2))
    junk = replace(truth, intact=torch.arange(200) < 100)
    assert torch.equal(
        ceiling_maps(junk, states, "motion", seed=1), ceiling_maps(truth[:100], states, "motion", seed=1)
    )


def test_maps_without_bodies_have_a_ceiling_by_states_alone():
    voxels = torch.stack([hinge().map(torch.tensor([a, 1.0]), GRID).voxels for a in (0.0, 1.0)])
    molecule = MapEnsemble("two maps", voxels, 8.0, torch.tensor([0.5, 0.5]))
    truth = known_truth(molecule, torch.arange(200), GRID, 0, Conditions())
    states = molecule.landmarks(1)[0]
    assert ceiling_maps(truth, states, "states").shape == (2, 32, 32, 32)
    with pytest.raises(ValueError, match="two maps does not move by rigid bodies"):
        ceiling_maps(truth, states, "motion")


def test_a_state_without_images_is_not_known():
    truth = _truth(300)
    low = truth[(truth.state[:, 0] < 0.3) & (truth.state[:, 1] == 1)]
    found = ceiling_maps(low, torch.tensor([[1.0, 1.0]]), "states")
    assert not found.any()


def test_states_belong_to_the_nearest_landmark():
    molecule = hinge()
    landmarks, _ = molecule.landmarks(3)  # at a sixth, a half and five sixths of 60°, with and without
    states = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.4, 1.0], [1.0, 0.0]])
    assert nearest_landmark(molecule, states, landmarks).tolist() == [0, 1, 2, 5]

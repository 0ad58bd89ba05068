"""Bounds against estimates that reach them, and against derivatives written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.physics.imaging import form_image
from morphem.simulate.bounds import cramer_rao
from morphem.simulate.ensembles import Coordinate, PointEnsemble
from morphem.simulate.hinge import SWINGING, hinge
from morphem.simulate.maps import MapEnsemble
from morphem.simulate.motions import TableMotion, Turning, turned
from morphem.simulate.particles import Conditions, Truth, known_truth, noise_amplitude, photograph

GRID = Grid(32, 8.0)


def _truth(n: int = 24, **conditions: float) -> Truth:
    return known_truth(hinge(), torch.arange(n), GRID, 0, Conditions(**conditions))


def _shown(truth: Truth) -> torch.Tensor:
    """Noise-free spectra."""
    projection = truth.ensemble.projections(truth.state, truth.poses.rotation, truth.grid) * truth.unit
    return form_image(projection, truth.optics, truth.poses.shift, truth.grid)


def _turning(table: int | None) -> PointEnsemble:
    """The hinge's swing as a full circle, of any angle or of some."""
    molecule = hinge()
    motion = molecule.motion
    labels = (motion.labels == SWINGING).long()
    circle = (Coordinate("angle (rad)", "circular"),)
    if table is None:
        around = Turning(motion.centres, labels, motion.pivot, motion.axis, 0.0, 2 * math.pi, circle)
    else:
        angles = torch.arange(table) * (2 * math.pi / table)
        poses = turned(motion.pivot, motion.axis, angles)
        share = torch.full((table,), 1 / table)
        around = TableMotion(motion.centres, labels, angles, share, poses, circle)
    return PointEnsemble("turning", molecule.matter, around)


def test_the_likeliest_angle_of_noisy_images_is_as_far_off_as_the_bound_says():
    truth = _truth(120, snr=2.0)
    bound = cramer_rao(truth).alone[:, 0]
    images = to_fourier(photograph(truth))
    steps = torch.linspace(-4, 4, 33)
    misfits = []
    for step in steps:
        tried = truth.state + torch.stack([step * bound, torch.zeros(120)], 1)
        misfits.append(to_real(images - _shown(replace(truth, state=tried))).square().sum((1, 2)))
    deviations = steps[torch.stack(misfits).argmin(0)]  # in units of the bound
    assert float(deviations.square().mean().sqrt()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("colour", [1.0, 8.0])
def test_bounds_of_shifts_are_those_of_the_exact_derivative(colour: float):
    truth = _truth(noise_colour=colour)
    ramp = 2 * math.pi * np.fft.fftfreq(32, 8.0)
    whitened = torch.fft.fft2(to_real(_shown(truth) / noise_amplitude(truth))).numpy()
    information = (np.abs(whitened * ramp) ** 2).sum((1, 2)) / 32**2
    bound = cramer_rao(truth)
    column = bound.names.index("shift along x (Å)")
    np.testing.assert_allclose(bound.alone[:, column], information**-0.5, rtol=5e-3)


def test_a_turn_about_the_beam_is_that_of_the_image():
    """The derivative of an unfiltered image about its centre, by the derivatives of its pixels."""
    truth = _truth(6)
    flat = replace(truth.optics, defocus_u=0 * truth.optics.scale, defocus_v=0 * truth.optics.scale)
    flat = replace(flat, cs_mm=0 * flat.scale, amplitude_contrast=flat.scale)
    grid = Grid(128, 2.0)
    poses = replace(truth.poses, shift=torch.zeros(6, 2))
    fine = replace(truth, optics=flat, poses=poses, grid=grid)
    images = to_real(_shown(fine)).double().numpy()
    waves = 2j * math.pi * np.fft.fftfreq(128, 2.0)
    slope_x = np.fft.ifft(np.fft.fft(images, axis=2) * waves, axis=2).real
    slope_y = np.fft.ifft(np.fft.fft(images, axis=1) * waves[:, None], axis=1).real
    x = (np.arange(128) - 64) * 2.0
    information = ((x[:, None] * slope_x - x * slope_y) ** 2).sum((1, 2))
    bound = cramer_rao(fine)
    column = bound.names.index("rotation about the beam (rad)")
    np.testing.assert_allclose(bound.alone[:, column], information**-0.5, rtol=0.02)


def test_knowing_less_never_helps():
    bound = cramer_rao(_truth())
    assert (bound.joint >= bound.alone * (1 - 1e-5)).all()
    assert bound.names[0] == "angle (rad)"
    assert bound.alone.shape == (24, 6)


def test_twice_the_signal_halves_the_bounds():
    truth = _truth(4)
    once, twice = cramer_rao(truth), cramer_rao(replace(truth, unit=2 * truth.unit))
    assert torch.allclose(twice.alone, once.alone / 2, rtol=1e-4)
    assert torch.allclose(twice.joint, once.joint / 2, rtol=1e-3)


def test_discrete_states_of_a_motion_have_the_bound_of_the_motion():
    """100 angles of a circle, its seam included, against any angle of it."""
    table, free = _turning(100), _turning(None)
    truth = known_truth(table, torch.arange(30), GRID, 0, Conditions())
    first = torch.tensor([0.0, 99 * 2 * math.pi / 100])  # on both sides of the seam
    truth = replace(truth, state=torch.cat([first, truth.state[2:, 0]])[:, None])
    bounds = [cramer_rao(replace(truth, ensemble=each)).alone[:, 0] for each in (table, free)]
    assert torch.allclose(*bounds, rtol=5e-3)


def test_a_series_of_maps_is_bounded_by_neighbouring_maps():
    angles = torch.linspace(0.24, 0.26, 3)
    voxels = torch.stack([hinge().map(torch.tensor([float(a), 1.0]), GRID).voxels for a in angles])
    series = MapEnsemble("series", voxels, 8.0, torch.full((3,), 1 / 3), "linear")
    truth = known_truth(series, torch.arange(6), GRID, 0, Conditions())
    middle = replace(truth, state=torch.ones(6, 1))
    ours = cramer_rao(middle).alone[:, 0] * 0.01
    swung = torch.tensor([[0.25, 1.0]]).repeat(6, 1)
    theirs = cramer_rao(replace(middle, ensemble=hinge(), state=swung)).alone[:, 0]
    assert torch.allclose(ours, theirs, rtol=0.06)  # slices of maps lack the corners of the plane
    assert (ours > theirs).all()


def test_junk_tells_nothing():
    truth = _truth(4)
    bound = cramer_rao(replace(truth, intact=torch.tensor([True, False, True, True])))
    assert bound.alone[1].isinf().all()
    assert bound.alone[0].isfinite().all()


def test_labels_have_no_bound_and_poses_still_do():
    voxels = hinge().map(torch.tensor([0.0, 1.0]), GRID).voxels
    labels = MapEnsemble("labels", torch.stack([voxels, voxels]), 8.0, torch.tensor([0.5, 0.5]))
    bound = cramer_rao(known_truth(labels, torch.arange(3), GRID, 0, Conditions()))
    assert len(bound.names) == 5
    assert bound.joint.isfinite().all()


def test_a_motion_of_one_state_is_refused():
    one = _turning(1)
    with pytest.raises(ValueError, match="one value"):
        cramer_rao(known_truth(one, torch.arange(2), GRID, 0, Conditions()))

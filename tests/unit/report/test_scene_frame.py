"""The grid that a scene's maps share, and their bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scene_cases import GRID, blobs

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume
from morphem.physics.gaussians import rasterise
from morphem.report.scene.frame import contour, decode, encode, encode_labels, frame_of


def ball(x: float, y: float, z: float, grid: Grid = GRID) -> Volume:
    centre = torch.tensor([[x, y, z]])
    return rasterise(GaussianMixture(centre, torch.tensor([8.0]), torch.tensor([1.0])), grid)


def middle_of_the_brightest(codes: np.ndarray) -> np.ndarray:
    """Along z, y, x; what exceeds the frame's range has one code."""
    return np.argwhere(codes == codes.max()).mean(0)


def test_a_map_comes_back_from_its_bytes_within_half_a_code():
    volume = rasterise(blobs(0.0), GRID)
    frame = frame_of([volume])
    cropped = volume.voxels[frame.crop].clamp(frame.low, frame.high)
    step = (frame.high - frame.low) / 255
    assert (decode(encode(volume, frame), frame) - cropped).abs().max() <= 0.501 * step
    assert encode(volume, frame).dtype == np.uint8
    assert encode(volume, frame).shape == frame.shape


def test_a_voxel_lies_where_the_frame_says():
    place = (36.0, -24.0, 12.0)  # x, y, z in Å, on voxels
    volumes = [ball(*place), ball(-42.0, 0.0, 0.0)]
    frame = frame_of(volumes)
    brightest = middle_of_the_brightest(encode(volumes[0], frame))
    at = [(first + i - frame.box / 2) * frame.pixel for first, i in zip(frame.first, brightest, strict=True)]
    assert at == pytest.approx(place[::-1])


def test_the_crop_holds_what_stands_out_in_any_map():
    volumes = [ball(42.0, 0.0, 0.0), ball(-42.0, 0.0, 0.0), ball(0.0, 30.0, -36.0)]
    frame = frame_of(volumes)
    outside = torch.ones(GRID.box, GRID.box, GRID.box, dtype=torch.bool)
    outside[frame.crop] = False
    assert all(not bool((volume.voxels[outside] > frame.level).any()) for volume in volumes)
    assert len(set(frame.shape)) == 1
    assert frame.shape[0] < GRID.box


def test_single_bright_voxels_far_off_do_not_widen_the_crop():
    volume = ball(0.0, 0.0, 0.0)
    noisy = Volume(volume.voxels.clone(), GRID)
    noisy.voxels[1, 2, 3] = noisy.voxels.max()
    assert frame_of([noisy]).shape == frame_of([volume]).shape


def test_maps_finer_than_asked_for_are_made_coarser_and_stay_in_place():
    fine = Grid(64, 3.0)
    frame = frame_of([ball(36.0, -24.0, 12.0, fine)], 32)
    assert (frame.box, frame.pixel) == (32, 6.0)
    brightest = middle_of_the_brightest(encode(ball(36.0, -24.0, 12.0, fine), frame))
    at = [(first + i - 16) * 6.0 for first, i in zip(frame.first, brightest, strict=True)]
    assert at == pytest.approx([12.0, -24.0, 36.0])


def test_the_contour_lies_above_the_noise_and_below_the_molecule():
    generator = torch.Generator().manual_seed(0)
    clean = rasterise(blobs(0.0), GRID).voxels
    noisy = clean + 0.05 * clean.max() * torch.randn(clean.shape, generator=generator)
    level = contour(noisy, GRID)
    assert 4 * 0.05 * clean.max() <= 1.05 * level
    assert level < clean.max()


def test_a_map_of_nothing_has_a_frame_and_is_black():
    empty = Volume(torch.zeros(16, 16, 16), Grid(16, 2.0))
    frame = frame_of([empty])
    assert frame.high > frame.low
    assert not encode(empty, frame).any()


def test_labels_are_cropped_like_their_map():
    volume = ball(36.0, 0.0, 0.0)
    labels = (volume.voxels > 0.3 * volume.voxels.max()).long() * 3
    frame = frame_of([volume])
    assert encode_labels(labels, frame).sum() == 3 * int((labels > 0).sum())
    assert encode_labels(labels, frame)[encode(volume, frame) == 255].min() == 3


def test_a_frame_of_no_map_is_refused():
    with pytest.raises(ValueError, match="needs a map"):
        frame_of([])

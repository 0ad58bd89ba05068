"""Experimental images from their own files: back-projection finds what other programs found in them."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import to_real
from morphem.core.rotations import random_rotations
from morphem.core.types import Volume
from morphem.data.errors import MetadataWarning
from morphem.data.mrc import read_map
from morphem.data.preprocess import prepare
from morphem.data.stack import ParticleStack, open_stack
from morphem.engine.half_maps import HalfMaps
from morphem.engine.insertion import backproject
from morphem.metrics.fsc import shell_correlation
from morphem.physics.imaging import form_image
from morphem.physics.masks import soft_ball, soft_disk
from morphem.physics.slices import central_slices

# data/MANIFEST.md, "half-set FSC by shell": found to be shells 1 to 11 of the halves of even and odd
# particles within a soft ball of 11 pixels. Halves drawn at random from 40 particles differ by 0.1 in some.
MANIFEST_FSC = torch.tensor([0.96, 0.89, 0.83, 0.77, 0.63, 0.47, 0.44, 0.44, 0.38, 0.29, 0.21])
WARP = "tomodrgn/warptools_test"


def quietly_opened(path: Path) -> ParticleStack:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        return open_stack(path)


@pytest.fixture(scope="module")
def tilts(shared_data: Path) -> ParticleStack:
    name = f"{WARP}_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    stack = quietly_opened(shared_data / "real" / name)
    return replace(stack, half=1 + stack.particle % 2)


@pytest.fixture(scope="module")
def maps(tilts: ParticleStack) -> HalfMaps:
    return backproject(tilts)


@pytest.fixture(scope="module")
def relion_map(shared_data: Path, tilts: ParticleStack) -> Volume:
    found = read_map(shared_data / "real" / f"{WARP}_box-32_angpix-12_reconstruct.mrc")
    return Volume(found.voxels, tilts.grid)  # its header rounds the pixel to 12.0024 Å


def mirrored(volume: Volume) -> Volume:
    """The map of the other hand: z → −z about the centre; the plane without a partner is left empty."""
    voxels = torch.zeros_like(volume.voxels)
    voxels[1:] = volume.voxels[1:].flip(0)
    return Volume(voxels, volume.grid)


def test_the_tilt_series_open_unedited(tilts):
    assert (len(tilts), tilts.n_particles, tilts.n_groups) == (1430, 40, 4)
    assert bool(tilts.premultiplied.all())


@pytest.mark.parametrize("road", ["as they are", "prepared"])
def test_half_maps_correlate_as_the_manifest_says(tilts, maps, road):
    if road == "prepared":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetadataWarning)
            maps = backproject(prepare(tilts))
    ball = soft_ball(tilts.grid, 11 * tilts.grid.pixel_size, 3 * tilts.grid.pixel_size)
    found = shell_correlation(maps.half1, maps.half2, ball)[1:12]
    assert (found - MANIFEST_FSC).abs().max() < 0.05


def test_the_map_is_that_of_relion_in_the_other_hand(maps, relion_map):
    # the manifest: .99 → .49 at shell 13 (29.5 Å)
    ball = soft_ball(relion_map.grid, 120, 36)
    found = shell_correlation(mirrored(maps.mean), relion_map, ball)
    assert float(found[1:3].min()) > 0.97
    assert float(found[1:14].min()) > 0.49
    unmirrored = shell_correlation(maps.mean, relion_map, ball)
    assert float(unmirrored[4:14].mean()) < 0.3


def test_the_mask_finds_the_ribosome(maps):
    # a bacterial 70S is about 4.0e6 Å^3 dry; at 30 Å, dilated and soft, some two to six times that
    volume = float(maps.mask.sum()) * maps.mean.grid.pixel_size**3
    assert 4e6 < volume < 2.4e7
    assert float(maps.mask[16, 16, 16]) == 1


def test_resolution_is_told_between_nyquist_and_forty_angstrom(maps):
    assert 24 <= maps.resolution < 40


@pytest.mark.parametrize("wrong", ["transposed", "particles shuffled"])
def test_wrong_poses_of_tilts_lose_the_ribosome(tilts, relion_map, wrong):
    right = tilts.poses.rotation
    rotation = {"transposed": right.transpose(1, 2).contiguous(), "particles shuffled": right.roll(36, 0)}
    maps = backproject(replace(tilts, poses=replace(tilts.poses, rotation=rotation[wrong])))
    found = shell_correlation(mirrored(maps.mean), relion_map, soft_ball(relion_map.grid, 120, 36))
    assert float(found[4:14].mean()) < 0.35


@pytest.fixture(scope="module")
def trpv1(shared_data: Path) -> ParticleStack:
    """Ten images whose star file names a stack that is not there under that name."""
    return quietly_opened(shared_data / "real/cryojax/trpv1_small_stack.star")


@pytest.fixture(scope="module")
def trpv1_map(shared_data: Path) -> Volume:
    return read_map(shared_data / "real/cryojax/trpv1_volume.mrc")


def test_images_correlate_with_the_map_at_their_poses_as_the_manifest_says(trpv1, trpv1_map):
    found = correlations(trpv1, trpv1_map, trpv1.poses.rotation)
    assert float(found.min()) == pytest.approx(0.185, abs=0.005)
    assert float(found.max()) == pytest.approx(0.269, abs=0.005)


def test_images_hardly_correlate_with_the_map_at_random_poses(trpv1, trpv1_map):
    generator = torch.Generator().manual_seed(0)
    draws = [correlations(trpv1, trpv1_map, random_rotations(10, generator)) for _ in range(30)]
    by_image = torch.stack(draws).mean(0)
    assert float(by_image.min()) > 0.055
    assert float(by_image.max()) < 0.115
    assert float(torch.stack(draws).std()) == pytest.approx(0.036, abs=0.006)


def test_negated_shifts_lose_the_correlation(trpv1, trpv1_map):
    negated = replace(trpv1, poses=replace(trpv1.poses, shift=-trpv1.poses.shift))
    assert float(correlations(negated, trpv1_map, trpv1.poses.rotation).mean()) < 0.05


def test_ten_images_back_project_to_something_like_the_map(trpv1, trpv1_map):
    maps = backproject(trpv1)
    ball = soft_ball(trpv1.grid, 19 * trpv1.grid.pixel_size, 4 * trpv1.grid.pixel_size)
    found = shell_correlation(maps.mean, Volume(trpv1_map.voxels, trpv1.grid), ball)
    assert float(found[1:5].mean()) > 0.5
    assert math.isfinite(maps.resolution)


def correlations(
    stack: ParticleStack, volume: Volume, rotation: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n"]:
    """Pearson correlation of each image with its projection of the map, in a soft disk of 19 + 4 pixels."""
    batch, grid = stack.read(torch.arange(len(stack))), stack.grid
    slices = central_slices(Volume(volume.voxels, grid), rotation)
    disk = soft_disk(grid, 19 * grid.pixel_size, 4 * grid.pixel_size)
    pair = []
    for images in (batch.images, to_real(form_image(slices, batch.optics, batch.poses.shift, grid))):
        level = (images * disk).sum((-2, -1)) / disk.sum()
        pair.append(images - level[:, None, None])
    seen, made = pair
    norms = ((seen.square() * disk).sum((-2, -1)) * (made.square() * disk).sum((-2, -1))).sqrt()
    return (seen * made * disk).sum((-2, -1)) / norms

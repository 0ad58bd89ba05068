"""Mean maps of some particles from their images alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scene_cases import GRID, blobs, two_states

from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.engine.insertion import backproject
from morphem.metrics.fsc import shell_correlation
from morphem.physics.gaussians import rasterise
from morphem.report.subset import rows_of_particles, subset_map


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_half_maps_are_those_of_the_back_projection_of_a_run():
    stack, _ = two_states(200)
    rows = torch.arange(0, 200, 2)
    ours, theirs = subset_map(stack, stack.poses, rows), backproject(stack, rows=rows)
    for mine, other in zip(ours.halves, (theirs.half1, theirs.half2), strict=True):
        # both sum in float32, in another order
        assert correlation(mine.voxels, other.voxels) > 0.9999
    assert ours.resolution == pytest.approx(theirs.resolution, rel=0.01)


def test_images_of_one_state_make_its_map_and_not_the_other():
    stack, _ = two_states(600)
    rows = torch.arange(0, 600, 2)
    found = subset_map(stack, stack.poses, rows)
    truths = [rasterise(blobs(state), GRID) for state in (0.0, 1.0)]
    own, other = (shell_correlation(found.volume, truth)[1:8].mean() for truth in truths)
    assert own > 0.95
    assert own > other + 0.1
    assert (found.used, found.asked) == (300, 300)


def test_poses_that_are_given_win_over_those_of_the_stack():
    stack, _ = two_states(300)
    lost = replace(stack, poses=replace(stack.poses, rotation=stack.poses.rotation.flip(0)))
    rows = torch.arange(0, 300, 2)
    found = subset_map(lost, stack.poses, rows)
    assert correlation(found.volume.voxels, subset_map(stack, stack.poses, rows).volume.voxels) > 0.9999


def test_no_more_images_are_read_than_the_limit_and_the_draw_is_repeatable():
    stack, _ = two_states(300)
    found = [subset_map(stack, stack.poses, torch.arange(300), limit=80, seed=seed) for seed in (1, 1, 2)]
    assert (found[0].used, found[0].asked) == (80, 300)
    assert torch.equal(found[0].volume.voxels, found[1].volume.voxels)
    assert not torch.equal(found[0].volume.voxels, found[2].volume.voxels)


def test_large_images_are_cropped_to_the_box_and_keep_their_extent():
    stack, _ = two_states(200)
    rows = torch.arange(0, 200, 2)
    small, whole = (subset_map(stack, stack.poses, rows, box=box) for box in (20, 128))
    assert (small.volume.grid.box, whole.volume.grid.box) == (20, 32)
    assert small.volume.grid.extent == pytest.approx(whole.volume.grid.extent)
    resized = Volume(torch.nn.functional.interpolate(small.volume.voxels[None, None], (32,) * 3)[0, 0], GRID)
    assert correlation(resized.voxels, whole.volume.voxels) > 0.8  # nearest neighbours, by eye


def test_noise_alone_has_no_resolution_worth_the_name():
    stack, _ = two_states(120)
    noise = torch.randn(120, 32, 32, generator=torch.Generator().manual_seed(2))
    from morphem.data.images import MemoryImages

    found = subset_map(replace(stack, images=MemoryImages(noise)), stack.poses, torch.arange(120))
    assert found.resolution is None or found.resolution > 4 * GRID.pixel_size


def test_images_of_one_half_set_are_refused():
    stack, _ = two_states(40)
    first, _ = stack.halves(0)
    with pytest.raises(DataError, match="COUNT-003"):
        subset_map(stack, stack.poses, first[:5])


def test_all_images_of_a_particle_are_found():
    stack, _ = two_states(40)
    tilted = replace(stack, particle=torch.arange(40) // 4)
    assert rows_of_particles(tilted, torch.tensor([7, 0])).tolist() == [0, 1, 2, 3, 28, 29, 30, 31]

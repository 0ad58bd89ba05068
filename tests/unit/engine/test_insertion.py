"""Back-projection against exact images of a known molecule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from morphem.core.fourier import low_pass
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses
from morphem.data.errors import DataError
from morphem.data.images import MemoryImages
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.engine.insertion import backproject
from morphem.metrics.fsc import phase_randomised_correlation, shell_correlation
from static_molecule import correlation_by_shell, optics_of, photograph, three_arms, transfer

GRID = Grid(32, 4.0)
MOLECULE = three_arms(GRID.extent)
TRUTH = MOLECULE.map(GRID)
HALF_NYQUIST = slice(1, GRID.box // 4 + 1)


@pytest.fixture(scope="module")
def clean() -> ParticleStack:
    return photograph(MOLECULE, GRID, 600, noise=0.1)


@pytest.fixture(scope="module")
def noisy() -> ParticleStack:
    return photograph(MOLECULE, GRID, 500, noise=3.0)


def of_noise(n: int, box: int = 32) -> ParticleStack:
    generator = torch.Generator().manual_seed(3)
    poses = Poses(random_rotations(n, generator), torch.zeros(n, 2))
    images = torch.randn(n, box, box, generator=generator)
    return stack_in_memory(images, Grid(box, 4.0), optics_of(n, generator), poses)


def agreement(stack: ParticleStack) -> float:
    """Worst correlation with the truth to half Nyquist."""
    return float(correlation_by_shell(backproject(stack).mean.voxels, TRUTH)[HALF_NYQUIST].min())


def turned(stack: ParticleStack, rotation: torch.Tensor) -> ParticleStack:
    return replace(stack, poses=replace(stack.poses, rotation=rotation))


def test_a_known_molecule_comes_back(clean):
    assert agreement(clean) > 0.99


def test_grey_values_integrate_to_the_projection(clean):
    # the images' signal was scaled to unit variance: the same factor must come back on the map
    unscaled = MOLECULE.spectra(clean.poses.rotation, GRID) * transfer(clean.optics, GRID)
    factor = 1 / torch.fft.irfft2(unscaled, s=(32, 32)).var(dim=(-2, -1)).mean().sqrt()
    found, wanted = (low_pass(v, GRID, 16.0) for v in (backproject(clean).mean.voxels, TRUTH))
    ratio = (found * wanted).sum() / wanted.square().sum()
    assert float(ratio) == pytest.approx(float(factor), rel=0.015)


@pytest.mark.parametrize("wrong", ["transposed", "shift negated", "mirrored", "shuffled", "sign"])
def test_a_wrong_convention_loses_the_molecule(clean, wrong):
    rotation, shift = clean.poses.rotation, clean.poses.shift
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    stack = {
        "transposed": turned(clean, rotation.transpose(1, 2).contiguous()),
        "shift negated": replace(clean, poses=replace(clean.poses, shift=-shift)),
        "mirrored": turned(clean, mirror @ rotation @ mirror),
        "shuffled": replace(clean, poses=clean.poses[torch.arange(len(clean)).roll(1)]),
        "sign": replace(clean, images=MemoryImages(-clean.images.images)),
    }[wrong]
    assert agreement(stack) < 0.9


def test_turning_all_poses_turns_the_map(clean):
    # x_view = R x = (R Qᵀ)(Q x): poses R Qᵀ belong to the molecule turned by Q, here (x, y, z) → (z, x, y)
    cycle = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    map_of = backproject(clean).half1.voxels
    again = backproject(turned(clean, clean.poses.rotation @ cycle.T)).half1.voxels
    rotated = map_of.permute(1, 2, 0)
    inner = slice(1, None)  # voxel 0 has no partner on an even grid
    close = torch.allclose(again[inner, inner, inner], rotated[inner, inner, inner], atol=2e-3 * map_of.max())
    assert close


def test_premultiplied_images_give_the_same_maps(clean):
    filtered = torch.fft.fftshift(
        torch.fft.irfft2(
            torch.fft.rfft2(torch.fft.ifftshift(clean.images.images.double(), dim=(-2, -1)))
            * transfer(clean.optics, GRID),
            s=(32, 32),
        ),
        dim=(-2, -1),
    )
    stack = replace(
        clean,
        images=MemoryImages(filtered.float()),
        premultiplied=torch.ones(len(clean), dtype=torch.bool),
    )
    plain, premultiplied = backproject(clean), backproject(stack)
    error = (plain.half1.voxels - premultiplied.half1.voxels).norm() / plain.half1.voxels.norm()
    assert float(error) < 0.02  # the weights by shell differ slightly: noise is measured anew


def test_noise_alone_does_not_correlate():
    maps = backproject(of_noise(400))
    shell = torch.arange(1, 17)
    # 2πk² independent complex values on shell k
    spread = 1 / (4 * torch.pi * shell.square()).sqrt()
    assert (maps.fsc[1:].abs() < 4 * spread).all()
    assert float(maps.fsc_corrected[4:].mean().abs()) < 0.1
    assert float(maps.wiener[8:].max()) < 0.3


def test_the_mask_raises_the_correlation_and_the_correction_takes_its_share_back(noisy):
    maps = backproject(noisy)
    last = slice(8, 16)
    assert (maps.fsc_masked[last] > maps.fsc[last]).all()
    assert float(maps.fsc_corrected[15]) < float(maps.fsc_masked[15])


def test_correlation_that_a_sharp_mask_makes_is_taken_out():
    smooth = replace(MOLECULE, width=4 * MOLECULE.width)
    maps, truth = backproject(photograph(smooth, GRID, 400, noise=3.0)), smooth.map(GRID)
    sharp = (truth > 0.4 * truth.max()).float()
    beyond = slice(11, 17)  # the molecule ends at shell 7
    assert float(maps.fsc[beyond].abs().max()) < 0.1
    assert float(shell_correlation(maps.half1, maps.half2, sharp)[beyond].min()) > 0.5
    corrected = phase_randomised_correlation(maps.half1, maps.half2, sharp)
    assert float(corrected[beyond].mean().abs()) < 0.1


def test_half_maps_correlate_less_at_higher_resolution(noisy):
    maps = backproject(noisy)
    assert float(maps.fsc[1:4].min()) > 0.95
    assert float(maps.fsc[14:].max()) < 0.3


def test_the_promised_correlation_with_the_truth_holds(noisy):
    maps = backproject(noisy)
    full = torch.sqrt(2 * maps.fsc / (1 + maps.fsc))  # Rosenthal & Henderson 2003
    found = correlation_by_shell((maps.half1.voxels + maps.half2.voxels) / 2, TRUTH)
    assert (full - found)[2:13].abs().max() < 0.1


def test_within_the_mask_the_filtered_mean_is_nearer_the_truth_than_the_plain_mean(noisy):
    maps = backproject(noisy)

    def error(voxels: torch.Tensor) -> float:
        found, wanted = voxels * maps.mask, TRUTH * maps.mask
        factor = (found * wanted).sum() / wanted.square().sum()
        return float((found / factor - wanted).norm() / wanted.norm())

    assert error(maps.mean.voxels) < error((maps.half1.voxels + maps.half2.voxels) / 2)


def test_noise_is_known_by_group_and_weighs_accordingly(noisy):
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(len(noisy)) % 2
    extra = 6 * torch.randn(noisy.images.images.shape, generator=generator) * group[:, None, None]
    mixed = replace(noisy, images=MemoryImages(noisy.images.images + extra), group=group)
    blind = replace(mixed, group=torch.zeros_like(group))
    maps = backproject(mixed)
    assert maps.noise[:, 3:].mean(1).tolist() == pytest.approx([9, 45], rel=0.08)
    assert float(maps.fsc[6:12].mean()) > float(backproject(blind).fsc[6:12].mean()) + 0.03


def test_residuals_tell_the_noise_too(noisy):
    maps = backproject(noisy, noise_passes=1)
    # overfitting takes a few percent; the shell of Nyquist is not in the map
    assert maps.noise[0, 1:-1].tolist() == pytest.approx([9.0] * 15, rel=0.12)


def test_halves_share_no_particle_and_come_from_the_file_where_it_names_them(noisy):
    named = replace(noisy, half=1 + (torch.arange(len(noisy)) < 100).long())
    maps = backproject(named)
    alone = backproject(named.select(torch.cat([torch.arange(100), torch.arange(100, 120)])))
    scale = alone.half2.voxels.norm()
    assert float((maps.half2.voxels - alone.half2.voxels).norm() / scale) < 0.1


def test_rows_left_out_do_not_count(noisy):
    rows = torch.arange(0, len(noisy), 2)
    named = replace(noisy, half=1 + (torch.arange(len(noisy)) % 4 > 1).long())
    part = backproject(named, rows=rows)
    alone = backproject(named.select(rows))
    assert torch.allclose(part.mean.voxels, alone.mean.voxels, atol=1e-4 * float(alone.mean.voxels.max()))


def test_the_same_particles_give_the_same_maps(noisy):
    assert torch.equal(backproject(noisy).mean.voxels, backproject(noisy).mean.voxels)


def test_poses_are_asked_for(noisy):
    with pytest.raises(DataError, match="POSE-005"):
        backproject(replace(noisy, has_poses=False))


def test_a_single_particle_has_no_halves(noisy):
    with pytest.raises(DataError, match="COUNT-003"):
        backproject(noisy, rows=torch.tensor([4]))

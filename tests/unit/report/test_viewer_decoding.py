"""Maps drawn into the frame are those that are decoded whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finished import LATENT, mixture
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume
from morphem.models.gaussian_density import PartMixture
from morphem.physics.gaussians import rasterise
from morphem.report.scene.frame import Frame, encode, frame_of
from morphem.report.scene.shown import Shown
from morphem.report.viewer.decoding import decoder_of, drawn

GRID = Grid(32, 4.0)


def cloud(count: int = 200, seed: int = 0) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    centres = 20 * torch.randn(count, 3, generator=generator)
    scales = 3 + 6 * torch.rand(count, generator=generator)
    return GaussianMixture(centres, scales, torch.rand(count, generator=generator))


def frames() -> list[Frame]:
    whole = frame_of([rasterise(cloud(), GRID)])
    uneven = Frame(32, 4.0, (3, 8, 12), (20, 9, 16), 0.0, whole.high, whole.level)
    outside = Frame(32, 4.0, (0, 0, 0), (4, 4, 4), 0.0, whole.high, whole.level)
    return [whole, uneven, outside]


@pytest.mark.parametrize("frame", frames(), ids=["molecule", "uneven", "corner"])
def test_a_drawn_map_is_the_decoded_one_within_a_step_of_the_bytes(frame: Frame):
    codes = drawn(cloud(), frame)["map"]
    expected = encode(rasterise(cloud(), GRID), frame)
    assert codes.shape == frame.shape
    assert int(np.abs(codes.astype(int) - expected.astype(int)).max()) <= 1
    assert (codes != expected).mean() < 0.02  # ends of Gaussians at 3e-4 of their peaks


def test_a_coarser_frame_is_drawn_on_its_own_grid():
    frame = frame_of([rasterise(cloud(), GRID.resized(24))])
    expected = encode(rasterise(cloud(), frame.grid), frame)
    assert int(np.abs(drawn(cloud(), frame)["map"].astype(int) - expected.astype(int)).max()) <= 1


def test_each_voxel_is_labelled_by_the_part_that_gives_most_to_it():
    cloud_ = cloud()
    part = (cloud_.centres[:, 0] > 0).long() + 2 * (cloud_.centres[:, 2] > 0).long()
    frame = frames()[1]
    found = drawn(cloud_, frame, part)
    own = [GaussianMixture(*(values[part == k] for values in vars(cloud_).values())) for k in range(4)]
    each = [rasterise(mixture, GRID).voxels[frame.crop] for mixture in own]
    expected = np.where(found["map"] > 0, 1 + torch.stack(each).argmax(0).numpy(), 0)
    assert (found["labels"] == expected).mean() > 0.999
    np.testing.assert_array_equal(found["map"], drawn(cloud_, frame)["map"])


def unlabelled(z: torch.Tensor, grid: Grid) -> torch.Tensor:
    return torch.zeros(grid.box, grid.box, grid.box, dtype=torch.long)


def shown_of(density, label: bool) -> Shown:
    return Shown(
        title="t",
        subtitle="s",
        latents=torch.zeros(3, LATENT),
        grid=Grid(16, 4.0),
        decode=lambda z: density.volume(z, Grid(16, 4.0)),
        label=(lambda z, grid: torch.zeros(grid.box, grid.box, grid.box, dtype=torch.long))
        if label
        else None,
    )


def test_parts_are_labelled_where_the_result_has_parts():
    density = mixture()
    z = torch.randn(LATENT, generator=torch.Generator().manual_seed(0))
    frame = frame_of([density.volume(z, Grid(16, 4.0))])
    with_parts, without = (decoder_of(shown_of(density, parts), density, frame) for parts in (True, False))
    assert with_parts is not None
    assert without is not None
    found = with_parts(z)
    assert set(np.unique(found["labels"])) == {0, 1, 2}
    expected = encode(density.volume(z, Grid(16, 4.0)), frame)
    assert int(np.abs(found["map"].astype(int) - expected.astype(int)).max()) <= 1
    assert set(without(z)) == {"map"}


def test_what_is_no_mixture_is_decoded_as_the_scene_was():
    volume = Volume(torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(0)), Grid(16, 4.0))
    shown = Shown("t", "s", torch.zeros(3, 0), Grid(16, 4.0), decode=lambda z: volume)
    frame = frame_of([volume])
    decoder = decoder_of(shown, None, frame)
    assert decoder is not None
    np.testing.assert_array_equal(decoder(torch.zeros(0))["map"], encode(volume, frame))


def test_a_result_that_cannot_be_decoded_has_no_decoder():
    volume = rasterise(cloud(), GRID)
    assert decoder_of(Shown("t", "s", torch.zeros(3, 2), GRID), None, frame_of([volume])) is None


def test_a_mixture_of_the_first_stage_is_drawn_too():
    torch.manual_seed(0)
    density = PartMixture(30, 4, LATENT, (8, 2), 64.0)
    with torch.no_grad():
        density.centres.uniform_(-0.2, 0.2)
        density.log_scales.fill_(-3)
        density.amplitudes.fill_(1.0)
    z = torch.zeros(LATENT)
    frame = frame_of([density.volume(z, Grid(16, 4.0))])
    decoder = decoder_of(shown_of(density, False), density, frame)
    assert decoder is not None
    expected = encode(density.volume(z, Grid(16, 4.0)), frame)
    assert int(np.abs(decoder(z)["map"].astype(int) - expected.astype(int)).max()) <= 1

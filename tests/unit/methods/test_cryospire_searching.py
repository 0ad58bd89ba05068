"""The pose of a part that points anywhere becomes latents and a mixture that follows them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, random_rotations
from morphem.core.types import GaussianMixture, Volume
from morphem.engine.run import Run
from morphem.inference.latents import Scene, Solved, weak_prior
from morphem.inference.loose_part import Loose
from morphem.inference.populations import Placed, Placements
from morphem.inference.store import collect
from morphem.methods.cryospire.searching import (
    Climbed,
    Found,
    latents_of,
    loose_mixture,
    searched_part,
    worthwhile,
)
from morphem.methods.cryospire.settings import PRESETS, SolvingConfig
from morphem.models.anchors import AnchorConfig
from morphem.models.gaussian_density import PartMixture
from morphem.physics.gaussians import rasterise
from static_molecule import photograph, three_arms

GRID = Grid(32, 6.0)
JOINT = torch.tensor([0.0, 10.0, 15.0])
CONFIG = replace(PRESETS["fast"], fine=replace(PRESETS["fast"].fine, gaussians=300))


def blobs(centres: torch.Tensor) -> Volume:
    count = len(centres)
    return rasterise(GaussianMixture(centres, torch.full((count,), 7.0), torch.ones(count)), GRID)


def found(turns: torch.Tensor, slack: float) -> Found:
    """A part 40 Å long with these turns."""
    generator, n = torch.Generator().manual_seed(0), len(turns)
    body = blobs(torch.tensor([[0.0, 0, 0], [20, -10, -20], [-25, 5, -15], [0, 10, 10]]))
    part = blobs(torch.tensor([[0.0, 0, 8], [0, 0, 24], [14, 0, 38], [-10, 8, 40]]))
    places = Placements(turns, slack * torch.randn(n, 3, generator=generator))
    placed = Placed(places, 1e-4 * torch.eye(12).expand(n, 12, 12), torch.zeros(n))
    return Found(Loose(body, part, JOINT), placed, before(n))


def before(n: int) -> Solved:
    """Latents that tell nothing."""
    covariance = torch.eye(2).expand(n, 2, 2)
    return Solved(torch.zeros(n, 2), covariance, torch.zeros(n), torch.ones(n), torch.zeros(n))


def circle(n: int) -> torch.Tensor:
    angle = torch.linspace(0, 2 * math.pi, n + 1)[:-1, None]
    return from_rotation_vector(angle * torch.tensor([0.0, 0.6, 0.8]))


def test_a_turn_about_an_axis_is_two_latents_and_one_that_points_anywhere_nine():
    assert latents_of(found(circle(400), 0.0)).mean.shape == (400, 2)
    anywhere = random_rotations(400, torch.Generator().manual_seed(1))
    assert latents_of(found(anywhere, 0.0)).mean.shape == (400, 9)
    assert latents_of(found(anywhere, 4.0)).mean.shape == (400, 12)


def test_latents_have_unit_spread_and_a_covariance_in_their_own_unit():
    made = found(circle(400), 0.0)
    told = latents_of(made)
    torch.testing.assert_close(told.mean.std(0, correction=0), torch.ones(2), rtol=1e-3, atol=0)
    # turned by an angle that is 0.01 uncertain, a point on the unit circle of variance 1/2 a coordinate
    tangent = torch.roll(told.mean, -1, 0) - told.mean
    assert float((tangent.norm(dim=1) / tangent.norm(dim=1).mean() - 1).abs().max()) < 0.02
    assert float(told.covariance.diagonal(dim1=1, dim2=2).max()) < 1e-3


def test_a_part_that_does_not_move_has_a_latent_too():
    told = latents_of(found(torch.eye(3).expand(50, 3, 3).contiguous(), 0.0))
    assert told.mean.shape[1] >= 1
    assert told.mean.isfinite().all()


def test_the_mixture_moves_as_the_part_was_found_to():
    turns = random_rotations(2000, torch.Generator().manual_seed(1))
    made = found(turns, 3.0)
    latents = latents_of(made).mean
    mixture = loose_mixture(made.loose, made.placed.places, latents, GRID, CONFIG)
    some = torch.arange(0, 2000, 40)
    with torch.no_grad():
        drawn, rest = mixture.mixture(latents[some]), mixture.resting().centres
    moving = mixture.part == 1
    assert 0.3 < float(moving.float().mean()) < 0.7
    # where Gaussians are in one particle tells where they are in the next
    places, here = made.placed.places[some], drawn.centres[:, moving]
    own = torch.einsum("nij,ngi->ngj", places.rotation, here - JOINT - places.slack[:, None])
    wanted = torch.einsum("nij,ngj->ngi", places.rotation, own.roll(1, 0)) + JOINT + places.slack[:, None]
    assert float((here - wanted).norm(dim=2).median()) < 2.5
    assert float((drawn.centres[:, ~moving] - rest[~moving]).norm(dim=2).median()) < 0.7
    assert bool((drawn.amplitudes > 0).all())


@pytest.mark.parametrize(
    ("asked", "images_each", "parts", "frames", "reason"),
    [
        (0, 1, 2, "anchors", "0 images are asked"),
        (200, 1, 2, "anchors", "200 images are asked whether it is worth it, and there are 40"),
        (40, 2, 2, "anchors", "20 particles have 40 images"),
        (40, 1, 1, "anchors", "one part moves as a whole"),
        (40, 1, 3, "anchors", "a body and one part are not the frames that were asked for"),
        (40, 1, 2, "none", "a body and one part are not the frames that were asked for"),
    ],
)
def test_who_reads_the_log_learns_why_no_search_was_made(
    tmp_path: Path, asked: int, images_each: int, parts: int, frames: Literal["anchors", "none"], reason: str
):
    stack = photograph(three_arms(GRID.extent), GRID, 40, noise=1.0)
    stack = replace(stack, particle=torch.arange(40) // images_each)
    particles = 40 // images_each
    torch.manual_seed(0)
    coarse = PartMixture(60, 4, 2, (8, 3, "products"), GRID.extent)
    with torch.no_grad():
        coarse.centres.normal_(std=0.1)
        coarse.features.normal_()
        coarse.amplitudes.fill_(1.0)
    latents = torch.randn(particles, 2)
    solved = replace(before(particles), mean=latents)
    prior = weak_prior(2, 1.0)
    scene = Scene(collect(stack, 8, torch.ones(1, GRID.half)), stack.poses, stack.particle, 8, 0.0, prior)
    config = replace(CONFIG, anchors=AnchorConfig(by="features", count=parts), frames=frames)
    config = replace(config, solving=SolvingConfig(search=asked))
    found = searched_part(
        coarse, Climbed(latents, solved, prior), (stack, scene, scene), config, Run(tmp_path)
    )
    assert found is None
    assert f"moving part: not searched for: {reason}" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("gain", "wanted"),
    [
        ((17.4, 0.9, 51.3), True),
        ((10.6, 0.8, 51.0), True),
        ((2.2, 0.3, 51.6), False),
        ((17.4, 4.0, 51.3), False),
        ((-3.0, 0.3, -9.0), False),
    ],
)
def test_a_search_is_made_where_latents_miss_much_and_surely(
    tmp_path: Path, gain: tuple[float, float, float], wanted: bool
):
    assert worthwhile(torch.tensor(gain), Run(tmp_path)) == wanted
    told = (tmp_path / "log.txt").read_text()
    assert f"miss {gain[0]:.1f} ± {gain[1]:.1f}" in told
    assert ("not searched for" in told) != wanted

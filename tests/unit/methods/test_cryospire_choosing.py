"""Images choose which parts move as frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector
from morphem.core.types import GaussianMixture
from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig
from morphem.engine.run import open_run
from morphem.inference.latents import Scene, project_at_disc, weak_prior
from morphem.inference.loose_part import Loose
from morphem.inference.populations import Placements
from morphem.inference.search import ramps
from morphem.inference.store import collect
from morphem.methods.cryospire.choosing import likeliest_frames
from morphem.methods.cryospire.redrawing import followed_anew, rigid_descents
from morphem.methods.cryospire.searching import Glimpsed, loose_mixture
from morphem.methods.cryospire.settings import Config, MixtureConfig, SolvingConfig
from morphem.methods.cryospire.starting import anchored
from morphem.models.anchors import AnchorConfig, anchors_of, nearest_part
from morphem.models.gaussian_density import PartMixture
from morphem.models.table import ParticleTable
from morphem.physics.gaussians import rasterise
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

GRID, LIMIT, IMAGES = Grid(24, 10.0), 8, 200
BODY = torch.arange(2).repeat_interleave(30)
SMALL = Config(
    latent=2,
    features=4,
    parts=MixtureConfig(gaussians=60, scale=0.04, hidden=8, layers=3),
    fine=MixtureConfig(gaussians=64, scale=0.04, hidden=8, layers=3),
    anchors=AnchorConfig(by="responses", neighbours=9, most=1),
    fine_descent=DescentConfig(epochs=1, batch_size=25),
    solving=SolvingConfig(parts_limit=LIMIT, contrast_spread=0.0),
)


class Swinging(PartMixture):
    """Two bodies, of which the second turns about the middle by the latent's first number."""

    def placed(self, z: Tensor) -> tuple[Tensor, Tensor]:
        turned = self.centres @ from_rotation_vector(z[:, :1] * torch.tensor([0.0, 0.0, 1.0])).mT
        return torch.where((BODY == 1)[:, None], turned, self.centres), torch.ones(len(z), len(BODY))


def swinging() -> Swinging:
    torch.manual_seed(0)
    made = Swinging(60, 4, 2, (8, 3, "products"), GRID.extent)
    with torch.no_grad():
        made.centres.normal_(std=0.04)
        # neither lies on the axis, where one that turns and one that rests look alike
        made.centres[BODY == 0] += torch.tensor([-0.18, 0.0, -0.05])
        made.centres[BODY == 1] += torch.tensor([0.18, 0.0, 0.05])
        made.log_scales.fill_(-3.2)
        made.amplitudes.fill_(0.8)
        made.features.normal_()
    return made


@pytest.fixture(scope="module")
def stack() -> ParticleStack:
    return simulate(hinge(), IMAGES, GRID, 0, Conditions(snr=0.5))[0]


def images(stack: ParticleStack, shown: Swinging, latents: Tensor) -> Scene:
    """What a mixture looks like at latents, with noise of variance 1."""
    store = collect(stack, LIMIT, torch.ones(1, GRID.half))
    rows = torch.arange(IMAGES)
    transfer = store.read(rows, LIMIT).transfer * ramps(store.disc, LIMIT, stack.poses.shift)
    with torch.no_grad():
        model = project_at_disc(shown, latents, stack.poses, store, LIMIT) * transfer
    noise = torch.randn(*model.shape, 2, generator=torch.Generator().manual_seed(3)) / 2**0.5
    store = replace(store, values=(torch.view_as_real(model) + noise).half())
    return Scene(store, stack.poses, stack.particle, LIMIT, 0.0, weak_prior(2, 0.2))


@pytest.mark.parametrize(("gain", "parts"), [(0.01, 2), (0.9, 1)])
def test_a_body_has_a_frame_of_its_own_if_images_tell_enough_more_by_it(
    stack: ParticleStack, tmp_path: Path, gain: float, parts: int
):
    coarse = swinging()
    latents = torch.rand(IMAGES, 2, generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    scene, asked = images(stack, coarse, latents), replace(SMALL, solving=replace(SMALL.solving, gain=gain))
    run = open_run(tmp_path, asked, stack)
    assert len(asked.ways()) == 3
    found = likeliest_frames(coarse, latents, (stack, scene), asked, run)
    assert found.anchors == parts
    again = likeliest_frames(coarse, latents, (stack, scene), asked, run)
    assert torch.equal(again.part, found.part)
    assert "images tell" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("rightly", [True, False])
def test_a_part_that_was_placed_in_some_images_has_its_frame_if_images_tell_no_more_by_others(
    stack: ParticleStack, tmp_path: Path, rightly: bool
):
    coarse, z = swinging(), torch.rand(IMAGES, 2, generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    scene, rest = images(stack, coarse, z), coarse.at_rest(0 * z)
    own = [
        GaussianMixture(rest.centres[b], rest.scales[b], rest.amplitudes[b]) for b in (BODY == 0, BODY == 1)
    ]
    loose = Loose(rasterise(own[0], GRID), rasterise(own[1], GRID), torch.zeros(3))
    some = torch.arange(0, IMAGES, 2)
    turns = from_rotation_vector((1 if rightly else -3) * z[some, :1] * torch.tensor([0.0, 0.0, 1.0]))
    glimpsed = Glimpsed(loose, some, Placements(turns, torch.zeros(len(some), 3)))
    found = likeliest_frames(coarse, z, (stack, scene), SMALL, open_run(tmp_path, SMALL, stack), glimpsed)
    assert found.anchors == 2
    placed = loose_mixture(loose, glimpsed.places, z[some], GRID, SMALL)
    assert torch.equal(found.anchor_centres, placed.anchor_centres) == rightly
    assert "by 2 as they were placed rather than by" in (tmp_path / "log.txt").read_text()


def test_drawn_anew_from_parts_maps_gaussians_leave_the_part_they_were_wrongly_tied_to(
    stack: ParticleStack, tmp_path: Path
):
    coarse, z = swinging(), torch.rand(IMAGES, 2, generator=torch.Generator().manual_seed(2)) * 1.6 - 0.8
    scene, latents, wrong = images(stack, coarse, z), ParticleTable(z, 0.0), BODY.clone()
    second = torch.nonzero(BODY == 1)[:, 0]
    wrong[second[coarse.centres[second, 1].argsort()[:10]]] = 0
    behaviour, run = coarse.behaviour(z), open_run(tmp_path, SMALL, stack)
    mixtures = [anchored(coarse, z, GRID, SMALL, anchors_of(behaviour, wrong)) for _ in range(2)]
    rigid_descents(mixtures[0], latents, (stack, scene), SMALL, (run, "rigid"))
    mixtures[1] = followed_anew(mixtures[1], latents, (stack, scene), SMALL, (run, "anew"))
    shares = []
    for mixture in mixtures:
        body = nearest_part(mixture.resting().centres, coarse.centres.detach(), BODY)
        shares.append([float((mixture.part[body == each] == each).float().mean()) for each in (0, 1)])
    (own, before), (own_anew, anew) = shares
    assert own == own_anew == 1.0
    assert anew > before + 0.1


def test_a_person_who_told_of_parts_is_not_asked_twice():
    told = replace(SMALL, anchors=replace(SMALL.anchors, count=3))
    assert told.ways() == [told.anchors]
    none = replace(SMALL, solving=replace(SMALL.solving, rigid_epochs=0))
    assert none.ways() == [none.anchors]

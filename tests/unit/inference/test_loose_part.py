"""A part that points anywhere is found: its map, its joint, and where it is in each image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from morphem.core.fourier import resize_map, to_fourier
from morphem.core.grid import Grid
from morphem.core.rotations import geodesic_distance, mean_rotation, random_rotations
from morphem.core.types import GaussianMixture, Poses, Volume
from morphem.inference.latents import Scene, at_disc, weak_prior
from morphem.inference.loose_part import Loose, Remainders, about, loose_part, searched, sharpened
from morphem.inference.populations import mirrored
from morphem.inference.refine import best_rows
from morphem.inference.search import ramps
from morphem.inference.store import Store, disc
from morphem.inference.templates import template, working_grid
from morphem.physics.gaussians import project_gaussians_windowed, rasterise
from static_molecule import optics_of

GRID, LIMIT, IMAGES = Grid(32, 6.0), 10, 600
JOINT = torch.tensor([0.0, 10.0, 15.0])
BODY = torch.tensor([[0.0, 0, 0], [20, -10, -20], [-25, 5, -15], [10, 25, -30], [-5, -25, -40], [0, 10, 10]])
# from the joint
PART = torch.tensor(
    [
        [0.0, 0, 8],
        [0, 0, 22],
        [0, 0, 36],
        [15, 0, 44],
        [30, 0, 48],
        [38, 14, 42],
        [-16, 12, 42],
        [-20, 28, 36],
    ]
)
CONTRAST = 0.8


def gaussians(centres: Tensor) -> GaussianMixture:
    count = centres.shape[-2]
    return GaussianMixture(centres, torch.full((count,), 7.0), torch.full(centres.shape[:-1], 1.0))


def photographed(noise: float) -> tuple[Scene, Tensor, float]:
    """Images of the body and a part turned at random about the joint; the turns; the images' unit."""
    generator, every = torch.Generator().manual_seed(0), torch.arange(IMAGES)
    poses = Poses(random_rotations(IMAGES, generator), 4 * torch.randn(IMAGES, 2, generator=generator))
    turns = random_rotations(IMAGES, generator)
    moving = torch.einsum("nij,gj->ngi", turns, PART) + JOINT
    centres = torch.cat([BODY.expand(IMAGES, -1, -1), moving], 1)
    places, white = disc(GRID, LIMIT), torch.ones(1, GRID.half)
    nothing = torch.zeros(IMAGES, len(places.places), 2, dtype=torch.float16)
    store = Store(nothing, places, optics_of(IMAGES, generator), torch.zeros_like(every), white)
    drawn = project_gaussians_windowed(gaussians(centres), poses.rotation, working_grid(GRID, LIMIT))
    filter_ = store.read(every, LIMIT).transfer * ramps(places, LIMIT, poses.shift)
    clean = CONTRAST * torch.view_as_real(at_disc(to_fourier(drawn), store, LIMIT) * filter_)
    # noise of E|n|² = 1
    unit = 1 / (2**0.5 * noise * float(clean.std()))
    values = unit * clean + torch.randn(clean.shape, generator=generator) / 2**0.5
    store = replace(store, values=values.half())
    return Scene(store, poses, every, LIMIT, 0.0, weak_prior(1, 1.0)), turns, unit


def of(centres: Tensor, unit: float) -> Volume:
    return rasterise(replace(gaussians(centres), amplitudes=torch.full((len(centres),), unit)), GRID)


def off(found: Tensor, turns: Tensor) -> Tensor:
    """Degrees by which turns differ from the true ones, when those of one frame of the part are compared."""
    relative = turns.mT @ found
    frame = mean_rotation(relative)
    for _ in range(5):
        distance = geodesic_distance(relative, frame.expand_as(relative))
        frame = mean_rotation(relative[distance <= distance.median()])
    return torch.rad2deg(geodesic_distance(relative, frame.expand_as(relative)))


@pytest.fixture(scope="module")
def known() -> tuple[Scene, Tensor, Loose]:
    scene, turns, unit = photographed(0.5)
    return scene, turns, Loose(of(BODY, unit), of(PART, unit), JOINT)


def test_the_body_is_taken_off_with_the_contrast_of_each_image(known: tuple[Scene, Tensor, Loose]):
    scene, turns, loose = known
    rows, contrast = torch.arange(IMAGES), torch.full((IMAGES,), CONTRAST)
    images = Remainders(loose.still, scene, contrast)
    left = images.centred(rows, 8, loose.joint)
    part = template(loose.part, scene.store.disc, 8).slices(scene.poses.rotation @ turns)[0]
    noise = left.values - part * left.transfer
    # drawn with windows, sliced by interpolation: nothing but noise is left
    assert float(noise.abs().square().mean()) == pytest.approx(1, abs=0.03)
    assert float(images.known(rows, 8).mean()) > 0


def test_the_part_is_found_in_every_image(known: tuple[Scene, Tensor, Loose]):
    scene, turns, loose = known
    images = Remainders(loose.still, scene, torch.full((IMAGES,), CONTRAST))
    fit = searched(loose, images, torch.arange(IMAGES), 8)
    best = fit[best_rows(fit.score, len(fit.score) // IMAGES)]
    error = off(scene.poses.rotation.mT @ best.poses.rotation, turns)
    assert float(error.median()) < 5
    assert float((error < 20).float().mean()) > 0.95
    seen = scene.poses.shift + (scene.poses.rotation @ JOINT)[:, :2]
    assert float((best.poses.shift - seen).norm(dim=1).median()) < 2
    halves = torch.arange(0, IMAGES, 2), torch.arange(1, IMAGES, 2)
    finer, again = sharpened(loose, fit, (images, halves), LIMIT)
    best = again[best_rows(again.score, len(again.score) // IMAGES)]
    assert float(off(scene.poses.rotation.mT @ best.poses.rotation, turns).median()) < float(error.median())
    for found, true in ((finer.still, loose.still), (finer.part, loose.part)):
        wanted = resize_map(true.voxels, found.grid.box)
        scale = (found.voxels * wanted).sum() / wanted.square().sum()
        assert float(scale) == pytest.approx(1, abs=0.2)
        assert float((found.voxels - wanted).norm()) < 0.5 * float(wanted.norm())


def test_a_map_is_moved_to_its_joint():
    place = torch.tensor([6.0, -12.0, 18.0])
    moved = about(of(PART + place, 1.0), place).voxels
    assert float((moved - of(PART, 1.0).voxels).abs().max()) < 1e-3 * float(moved.max())


def test_map_joint_and_poses_come_from_a_smear():
    """Whose hand no image tells: poses are right as they are, or mirrored."""
    scene, turns, unit = photographed(0.25)
    anywhere = torch.einsum("nij,gj->ngi", turns[:40], PART).flatten(0, 1)
    middle = torch.tensor([3.0, -4.0, 5.0])
    smear = Loose(of(BODY, unit), of(anywhere + JOINT - middle, unit / 40), middle)
    contrast = torch.full((IMAGES,), CONTRAST)
    loose = loose_part(smear, scene, contrast, 0, ((6, 150, 4), (8, 200, 4), (10, 300, 8)))
    assert float((loose.joint - JOINT).norm()) < GRID.pixel_size
    fit = searched(loose, Remainders(loose.still, scene, contrast), torch.arange(IMAGES), LIMIT)
    errors = []
    for hand in (fit, mirrored(fit)):
        best = hand[best_rows(hand.score, len(hand.score) // IMAGES)]
        errors.append(float(off(scene.poses.rotation.mT @ best.poses.rotation, turns).median()))
    assert min(errors) < 20  # rotations searched are 12° apart

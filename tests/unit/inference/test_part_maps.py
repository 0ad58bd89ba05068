"""What a mixture leaves of the images is found in the frames of its parts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, random_rotations
from morphem.core.types import Poses
from morphem.inference.latents import Scene, project_at_disc, weak_prior
from morphem.inference.part_maps import moved, part_maps, parts_at_rest, refined_volume
from morphem.inference.search import ramps
from morphem.inference.store import Store, disc
from morphem.models.gaussian_density import AnchoredMixture
from static_molecule import optics_of

GRID, LIMIT = Grid(32, 5.0), 12
PART = torch.tensor([0] * 8 + [1] * 6)
BLOB = 13  # the Gaussian that one mixture has and the other lacks


def swinging() -> AnchoredMixture:
    """A body at rest and one that swings by 1 rad per unit of its latent."""
    torch.manual_seed(0)
    made = AnchoredMixture(len(PART), 2, 2, 1, (8, 4, "products"), GRID.extent)
    with torch.no_grad():
        made.part.copy_(PART)
        made.anchor_centres.copy_(torch.tensor([[0.0, 0, 0], [0.2, 0, 0]]))
        made.offsets.normal_(std=0.06)
        made.offsets[BLOB] = torch.tensor([0.12, 0.0, 0.05])
        made.log_scales.fill_(-3.2)
        made.amplitudes.fill_(1.0)
        made.unit.fill_(3.0)
    made.frames = lambda z: swing(z)  # type: ignore[method-assign]
    return made


def swing(z: Tensor) -> tuple[Tensor, Tensor]:
    turn = torch.eye(3).repeat(len(z), 2, 1, 1)
    turn[:, 1] = from_rotation_vector(z * torch.tensor([0.0, 0, 1]))
    shift = torch.zeros(len(z), 2, 3)
    shift[:, 1, 1] = 0.05 * z[:, 0]
    return turn, shift


def without_blob() -> AnchoredMixture:
    made = swinging()
    with torch.no_grad():
        made.amplitudes[BLOB] = 0
    return made


def images_of(density: AnchoredMixture, z: Tensor) -> Scene:
    """Images with noise as strong as the signal."""
    n, generator = len(z), torch.Generator().manual_seed(1)
    poses = Poses(random_rotations(n, generator), 4 * torch.randn(n, 2, generator=generator))
    places = disc(GRID, LIMIT)
    nothing = torch.zeros(n, len(places.places), 2, dtype=torch.float16)
    noise = torch.ones(1, GRID.half)
    store = Store(nothing, places, optics_of(n, generator), torch.zeros(n, dtype=torch.long), noise)
    scene = Scene(store, poses, torch.arange(n), LIMIT, 0.0, weak_prior(1, 1.0))
    images = store.read(torch.arange(n), LIMIT)
    with torch.no_grad():
        clean = project_at_disc(density, z, poses, store, LIMIT)
    clean = clean * images.transfer * ramps(places, LIMIT, poses.shift)
    values = torch.view_as_real(clean)
    values = values + values.std() * torch.randn(values.shape, generator=generator)
    return replace(scene, store=replace(store, values=values.half()))


def halves(count: int) -> tuple[Tensor, Tensor]:
    return torch.arange(0, count, 2), torch.arange(1, count, 2)


def test_a_missing_piece_is_found_in_its_part_and_travels_with_it():
    z = torch.linspace(-1, 1, 400)[:, None]
    truth, mixture = swinging(), without_blob()
    found = part_maps(mixture, z, images_of(truth, z), halves(400))
    missing = parts_at_rest(truth, GRID)[0] - parts_at_rest(mixture, GRID)[0]
    peak = missing[1].flatten().argmax()
    assert float(found.left[1].flatten()[peak]) > 0.5 * float(missing[1].max())
    # of the part at rest it is none: there it is smeared over the swing
    assert float(found.left[0].abs().max()) < 0.4 * float(missing[1].max())
    assert float(found.fsc[1, 2:8].min()) > 0.8
    for place in (-0.9, 0.3):
        at = torch.tensor([place])
        whole, base = truth.volume(at, GRID).voxels, mixture.volume(at, GRID).voxels
        refined = refined_volume(mixture, found.left, at).voxels
        assert float((refined - whole).norm()) < 0.6 * float((base - whole).norm())


def test_nothing_is_left_where_the_mixture_is_right():
    z = torch.linspace(-1, 1, 200)[:, None]
    found = part_maps(swinging(), z, images_of(swinging(), z), halves(200))
    assert float(found.left.abs().max()) < 0.15 * float(found.own.max())
    assert float(found.fsc[:, 2:LIMIT].mean()) < 0.3


def test_own_maps_are_the_parts_at_rest():
    mixture = swinging()
    own, masks = parts_at_rest(mixture, GRID)
    at_rest = mixture.volume(torch.zeros(1), GRID).voxels
    assert torch.allclose(own.sum(0), at_rest, atol=1e-4 * float(at_rest.max()))
    assert float((own * masks).sum() / own.sum()) > 0.8


def test_a_quarter_turn_permutes_voxels():
    voxels = parts_at_rest(swinging(), GRID)[0][1]
    quarter = from_rotation_vector(torch.tensor([0.0, 0, torch.pi / 2]))
    nothing = torch.zeros(3)
    turned = moved(voxels, GRID, quarter, nothing, nothing)
    # x goes to y, y to −x; about index d // 2 the first column has no mate
    expected = voxels.transpose(1, 2).flip(2).roll(1, 2)
    assert float((turned - expected).norm() / voxels.norm()) < 0.02


def test_a_shift_moves_towards_positive_axes():
    voxels = parts_at_rest(swinging(), GRID)[0][1]
    step = torch.tensor([10.0, -5.0, 0.0])  # Å: two voxels along x, one back along y
    there = moved(voxels, GRID, torch.eye(3), torch.zeros(3), step)
    assert float((there - voxels.roll((2, -1), (2, 1))).norm() / voxels.norm()) < 0.02

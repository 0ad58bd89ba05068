"""Maps of a mixture's rigid parts from the images, each in its own frame.

What the mixture leaves of every image is back-projected as each part saw it: turned and moved with the part.
What belongs to a part adds up there, and everything else is blurred away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from morphem.core.fourier import resize_map, to_fourier
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Poses, Volume
from morphem.engine.run import Run
from morphem.inference.latents import Scene, at_disc
from morphem.inference.maps import Tables, empty_sums, solved, summed
from morphem.inference.passes import blocks
from morphem.inference.refine import likeliest_contrast
from morphem.inference.search import ramps
from morphem.inference.templates import plane_of, working_grid
from morphem.metrics.fsc import shell_correlation
from morphem.models.gaussian_density import AnchoredMixture
from morphem.physics.gaussians import project_gaussians_windowed, rasterise
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.slices import solve_insertion

_BLOCK = 128  # images at a time
_REACH = 0.04  # of the box: how far around a part its map goes
_EDGE = 0.05  # of a widened part's peak: its mask is one half there


@dataclass(frozen=True)
class PartMaps:
    """Maps of the parts at rest, on the grid of the images.

    Attributes:
        own: Of the part's Gaussians.
        left: What the images have over and above, within the part's mask, filtered by what halves agree on.
        fsc: Of the halves of ``left`` by shell of the working grid.
    """

    own: Float[Tensor, "a d d d"]
    left: Float[Tensor, "a d d d"]
    fsc: Float[Tensor, "a s"]


@torch.no_grad()
def part_maps(
    density: AnchoredMixture,
    latents: Float[Tensor, "p z"],
    scene: Scene,
    halves: tuple[Int[Tensor, "m1"], Int[Tensor, "m2"]],
    run: Run | None = None,
) -> PartMaps:
    """Back-project what a mixture leaves of the images in the frame of each of its parts.

    Cost: one projection of the mixture and one insertion for each part, per image.

    Args:
        density: A mixture with parts.
        latents: Of the particles.
        scene: Their images.
        halves: Rows of the two half sets.
        run: Told how far the work is.
    """
    grid = scene.store.disc.grid
    tables = [_inserted(density, latents, scene, rows, run) for rows in halves]
    own, masks = parts_at_rest(density, grid)
    left, curves = [], []
    for part, mask in enumerate(masks):
        pair = tables[0][part], tables[1][part]
        fsc = masked_agreement(pair, mask, grid, scene.limit)
        share = (2 * fsc / (1 + fsc.clamp(min=0))).clamp(0, 0.999)
        found = solved(pair[0].plus(pair[1]), grid, scene.limit, share)
        left.append(resize_map(found.voxels, grid.box) * mask)
        curves.append(fsc)
    return PartMaps(own, torch.stack(left), torch.stack(curves))


@torch.no_grad()
def parts_at_rest(
    density: AnchoredMixture, grid: Grid
) -> tuple[Float[Tensor, "a d d d"], Float[Tensor, "a d d d"]]:
    """Map of each part where its Gaussians are at rest, all of them visible, and a soft mask around it."""
    rest = density.resting()
    own, masks = [], []
    reach = _REACH * grid.extent
    for part in range(density.anchors):
        member = density.part == part
        centres, scales, amplitudes = rest.centres[member], rest.scales[member], rest.amplitudes[member]
        own.append(rasterise(GaussianMixture(centres, scales, amplitudes), grid).voxels)
        spread = amplitudes * scales.square() / reach**2
        wide = rasterise(GaussianMixture(centres, torch.full_like(scales, reach), spread), grid).voxels
        masks.append(wide / (wide + (_EDGE * wide.max()).clamp(min=1e-30)))
    return torch.stack(own), torch.stack(masks)


@torch.no_grad()
def refined_volume(density: AnchoredMixture, left: Float[Tensor, "a d d d"], z: Float[Tensor, "z"]) -> Volume:
    """Density of a latent with what the images have over and above it, carried along with the parts.

    Args:
        density: A mixture with parts.
        left: As of :class:`PartMaps`, or of one half set; on the grid that the map will have.
        z: The latent.
    """
    grid = Grid(left.shape[-1], density.extent / left.shape[-1])
    turn, shift = density.frames(z[None])
    shown = density.part_occupancy(z[None])[0]
    voxels = density.volume(z, grid).voxels
    for part, place in enumerate(density.anchor_centres):
        centre, away = place * density.extent, shift[0, part] * density.extent
        voxels = voxels + shown[part] * moved(left[part], grid, turn[0, part], centre, away)
    return Volume(voxels, grid)


def moved(
    voxels: Float[Tensor, "d d d"],
    grid: Grid,
    turn: Float[Tensor, "3 3"],
    centre: Float[Tensor, "3"],
    shift: Float[Tensor, "3"],
) -> Float[Tensor, "d d d"]:
    """A map turned about a centre (Å) and shifted (Å), zero from outside.

    Interpolated between voxels half as wide: of a map that fills the box to Nyquist, that loses a few per
    cent of the finest shell.
    """
    box = 2 * grid.box
    fine = resize_map(voxels, box)
    axis = grid.axis()
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    there = torch.stack([x, y, z], -1)
    home = (there - centre - shift) @ turn + centre  # rows: the transpose turns back
    index = home / (grid.pixel_size / 2) + box // 2
    places = 2 * index / (box - 1) - 1
    return grid_sample(fine[None, None], places[None], align_corners=True)[0, 0]


def _inserted(
    density: AnchoredMixture,
    latents: Float[Tensor, "p z"],
    scene: Scene,
    rows: Int[Tensor, "m"],
    run: Run | None,
) -> list[Tables]:
    """Tables of what is left of some images, one for each part."""
    disc = scene.store.disc
    sums = [empty_sums(disc.grid, scene.limit) for _ in range(density.anchors)]
    for block in blocks(scene.sound_ones(rows), _BLOCK, run, "part maps"):
        _insert(sums, density, latents[scene.particle[block]], scene, block)
    return [summed(each) for each in sums]


def _insert(
    sums: list[InsertedSlices],
    density: AnchoredMixture,
    z: Float[Tensor, "b z"],
    scene: Scene,
    block: Int[Tensor, "b"],
) -> None:
    """Add what the mixture leaves of a few images to the sums of every part."""
    disc, limit, poses = scene.store.disc, scene.limit, scene.poses[block]
    images = scene.store.read(block, limit)
    drawn = project_gaussians_windowed(density.mixture(z), poses.rotation, working_grid(disc.grid, limit))
    model = at_disc(to_fourier(drawn), scene.store, limit) * images.transfer * ramps(disc, limit, poses.shift)
    pair = torch.view_as_real(torch.stack([model, images.values])).flatten(2)
    contrast = likeliest_contrast(pair[0].square().sum(1), (pair[0] * pair[1]).sum(1), scene.contrast_spread)
    left = (images.values - contrast[:, None] * model) * images.transfer
    shown = density.part_occupancy(z) * contrast[:, None]
    plane = plane_of(disc, limit)
    for part, seen in enumerate(as_seen(density, z, poses)):
        factor = shown[:, part, None]
        centred = left * factor * ramps(disc, limit, -seen.shift)
        weight = images.transfer.square() * factor.square()
        sums[part].add(centred[None], weight[None], seen.rotation, plane)


def as_seen(density: AnchoredMixture, z: Float[Tensor, "b z"], poses: Poses) -> list[Poses]:
    """From where each image saw each part, as if the part had stayed at rest."""
    turn, shift = density.frames(z)
    place = density.anchor_centres
    away = (place + shift - torch.einsum("baij,aj->bai", turn, place)) * density.extent
    return [
        Poses(
            poses.rotation @ turn[:, part],
            poses.shift + (poses.rotation @ away[:, part, :, None])[:, :2, 0],
        )
        for part in range(density.anchors)
    ]


def masked_agreement(
    tables: tuple[Tables, Tables], mask: Float[Tensor, "d d d"], grid: Grid, limit: int
) -> Float[Tensor, "s"]:
    """Correlation of two unfiltered halves within a part's mask by shell, 0 beyond the limit."""
    working = working_grid(grid, limit)
    inside = resize_map(mask, working.box)
    one, two = (
        Volume(solve_insertion(table.numerator, table.weight, working).voxels * inside, working)
        for table in tables
    )
    # a part that the data switched off has no mask, and maps of nothing no correlation
    fsc = shell_correlation(one, two).nan_to_num(0)
    fsc[limit + 1 :] = 0
    fsc[0] = fsc[1]
    return fsc

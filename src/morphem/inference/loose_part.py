"""A part that points anywhere: its map and its pose in every image, from nothing but where it is at rest.

What cryoFIRE does for a whole molecule, done for one part, whose images are what a body that stands leaves:
expectation–maximisation over all rotations and shifts, a search of all rotations with the shift held by the
joint, and Levenberg–Marquardt as the map gets finer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.fourier import low_pass, resize_map, to_fourier_3d, to_real_3d
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses, Volume
from morphem.engine import ranks
from morphem.engine.run import Run
from morphem.inference.abinitio import empty_fit
from morphem.inference.expectation import expected
from morphem.inference.hypotheses import distinct, half_spread, search_grid
from morphem.inference.joints import Sightings, find_joint
from morphem.inference.latents import Scene
from morphem.inference.maps import Tables, empty_sums, solved, summed
from morphem.inference.part_maps import masked_agreement
from morphem.inference.passes import blocks, put, shared
from morphem.inference.refine import Fit, best_rows, map_products, refine
from morphem.inference.search import ramps, search
from morphem.inference.store import Coefficients
from morphem.inference.templates import Templates, plane_of, template, working_grid
from morphem.models.seeding import bright_level
from morphem.physics.inserted_slices import InsertedSlices
from morphem.physics.masks import mask_from_map, soft_ball

_ROTATIONS = 4608  # searched at once, 12° apart
_EXPECTED = 2304  # reckoned with while there is no fine map, 15° apart
_BLOCK = 250  # images at a time
_INSERTED = 2048  # slices at a time
_MEMORY = 0.6  # share of the last step's sums that stays
_SHARE = 0.97  # signal's share of a map that the filter of expectations reckons with
_FREE, _REACH = 0.2, 0.05  # shifts searched, of the box: without a joint, and with one
_AROUND, _EDGE = 0.29, 0.05  # ball around a part without a joint, of the box; the width of its edge
_FROM_JOINT = 0.41  # ball around the joint that the part is in, of the box
_ASKED = 500  # images that the joint is found with
_ARM = 0.15  # of the box: first guess of how far the part's middle is from its joint
_SHORTLIST, _RIVALS = 24, 3
_SEARCH_STEPS, _FINE_STEPS = 3, 3
_COARSE = 25.0  # Å to which a map is smoothed for its mask
_INSIDE = 0.15  # of its brightest: there the mask begins


STEPS = ((8, 200, 8), (8, 300, 4), (10, 300, 6), (12, 300, 6), (14, 300, 6))
"""Limit (frequency pixels), images of a step, and steps; in the first ones there is no joint."""


@dataclass(frozen=True)
class Loose:
    """A body that stands and a part held at a joint.

    Attributes:
        still: Map of the body, on the images' grid or a coarser one.
        part: Map of the part, its joint at the origin.
        joint: Where the joint is in the molecule, Å.
    """

    still: Volume
    part: Volume
    joint: Float[Tensor, "3"]


class Remainders:
    """Images without the body that stands."""

    def __init__(self, still: Volume, scene: Scene, contrast: Float[Tensor, "n"]) -> None:
        self.still, self.scene, self.contrast = still, scene, contrast
        self._templates: dict[int, Templates] = {}

    def read(self, rows: Int[Tensor, "b"], limit: int) -> Coefficients:
        """What is left of images ``rows`` within ``limit``; the contrast goes with the transfer."""
        images, body = self.scene.store.read(rows, limit), self.body(rows, limit)
        transfer = images.transfer * self.contrast[rows, None]
        return Coefficients(images.values - body * transfer, transfer)

    def body(self, rows: Int[Tensor, "b"], limit: int) -> Complex[Tensor, "b m"]:
        """Coefficients of the body in images ``rows``, before the transfer."""
        if limit not in self._templates:
            self._templates[limit] = template(self.still, self.scene.store.disc, limit)
        poses = self.scene.poses[rows]
        return self._templates[limit].slices(poses.rotation)[0] * ramps(
            self.scene.store.disc, limit, poses.shift
        )

    def known(self, rows: Int[Tensor, "b"], limit: int) -> Float[Tensor, "b"]:
        """Log-likelihood of images by the body alone, above that of an image without a particle."""
        images, left = self.scene.store.read(rows, limit), self.read(rows, limit)
        before, after = (torch.view_as_real(each.values).square().sum((1, 2)) for each in (images, left))
        return before - after

    def home(self, rows: Int[Tensor, "b"], joint: Float[Tensor, "3"]) -> Float[Tensor, "b 2"]:
        """Where images see a point of the molecule, Å."""
        poses = self.scene.poses[rows]
        return poses.shift + (poses.rotation @ joint)[:, :2]

    def centred(self, rows: Int[Tensor, "b"], limit: int, joint: Float[Tensor, "3"]) -> Coefficients:
        """What is left, the joint in the middle."""
        left = self.read(rows, limit)
        moves = ramps(self.scene.store.disc, limit, -self.home(rows, joint))
        return replace(left, values=left.values * moves)


@torch.no_grad()
def loose_part(
    start: Loose,
    scene: Scene,
    contrast: Float[Tensor, "n"],
    seed: int,
    phases: tuple[tuple[int, int, int], ...] = STEPS,
) -> Loose:
    """The part's map at 14 frequency pixels and its joint, from a smeared map with any origin.

    Cost: some .15 GFLOP for each of 1,600 images while there is no joint, .1 for each of 6,600 with one.

    Args:
        start: The body, and where the part's mass is at rest; ``joint`` is its middle.
        scene: The images.
        contrast: Of each image.
        seed: Of everything random.
        phases: As :data:`STEPS`.
    """
    generator = torch.Generator().manual_seed(seed)
    images, grid = Remainders(start.still, scene, contrast), scene.store.disc.grid
    found, box = start, grid.extent
    some = torch.randperm(len(scene.store), generator=generator)[:_ASKED].sort().values
    for number, (limit, batch, steps) in enumerate(phases):
        limit = min(limit, scene.limit)
        # a joint that is hardly known gives more
        share = _FREE if number == 0 else 2 * _REACH if number == 1 else _REACH
        reach, radius = share * box, _FROM_JOINT if number else _AROUND
        around = soft_ball(working_grid(grid, limit), radius * box, _EDGE * box)
        found = _expected(found, images, (limit, batch, steps, reach), around, generator)
        seen = _sightings(found, images, some, limit, reach)
        arm = _ARM * box if number == 0 else 0.0
        joint, place = find_joint(seen, scene.poses.rotation[some], arm)
        found = replace(found, part=about(found.part, place), joint=found.joint + joint)
    return masked(found)


def masked(loose: Loose) -> Loose:
    """The same with the part within a mask of its own, from its smoothed map."""
    part, grid = loose.part, loose.part.grid
    inside = part_mask(part)
    return replace(loose, part=Volume(part.voxels * inside, grid))


def part_mask(part: Volume) -> Float[Tensor, "d d d"]:
    """Soft mask around a part."""
    grid = part.grid
    smooth = low_pass(part.voxels, grid, max(_COARSE, 3 * grid.pixel_size))
    return mask_from_map(Volume(smooth, grid), _INSIDE * bright_level(smooth), 8.0, _EDGE * grid.extent)


@torch.no_grad()
def searched(
    loose: Loose, images: Remainders, rows: Int[Tensor, "m"], limit: int, run: Run | None = None
) -> Fit:
    """The likeliest poses of the part in images ``rows``, four of each: rotations, and shifts of the joint.

    Cost: 4,608 rotations, and shifts within a twentieth of the box of where the joint is seen; then three
    steps of Levenberg–Marquardt from each of the best.
    """
    found, reach = empty_fit(len(rows) * _RIVALS), _REACH * loose.part.grid.extent
    model = map_products(loose.part, images.scene.store.disc, limit)
    grid = search_grid(images.scene.store, loose.part, limit, _ROTATIONS, reach)
    for places in blocks(torch.arange(len(rows)), _BLOCK, run, "part search"):
        block = rows[places]
        hypotheses = search(images.centred(block, limit, loose.joint), grid.slices, grid.moves, _SHORTLIST)
        tried = distinct(hypotheses, grid.rotation, grid.shift, _RIVALS)
        owner = torch.arange(len(block)).repeat_interleave(_RIVALS)
        start = Poses(tried.rotation, tried.shift + images.home(block, loose.joint)[owner])
        left = images.read(block, limit)
        put(found, rows_of(places, _RIVALS), refine(left[owner], model, start, _SEARCH_STEPS, 0.0))
    return shared(found)


@torch.no_grad()
def sharpened(
    loose: Loose,
    fit: Fit,
    seen: tuple[Remainders, tuple[Int[Tensor, "m1"], Int[Tensor, "m2"]]],
    limit: int,
    run: Run | None = None,
) -> tuple[Loose, Fit]:
    """Poses refined to a finer limit, and maps of body and part from the images at the best of them.

    Each map is made from what the other leaves, and filtered by what halves of the images agree on.

    Args:
        loose: Maps to refine in.
        fit: Poses of all images, as many of each as were kept.
        seen: The images, and their half sets.
        limit: Frequency pixels.
        run: Told how far the work is.
    """
    images, halves = seen
    store, count = images.scene.store, len(fit.score) // len(images.scene.store)
    model, slices = map_products(loose.part, store.disc, limit), template(loose.part, store.disc, limit)
    found, tables = empty_fit(len(fit.score)), []
    for rows in halves:
        sums = [empty_sums(store.disc.grid, limit) for _ in range(2)]
        for block in blocks(rows, _BLOCK, run, f"part poses to {limit}"):
            each, left = rows_of(block, count), images.read(block, limit)
            owner = torch.arange(len(block)).repeat_interleave(count)
            fits = refine(left[owner], model, fit.poses[each], _FINE_STEPS, 0.0)
            put(found, each, fits)
            best = fits.poses[best_rows(fits.score, count)]
            _add(sums[1], left, best, limit, images)
            moves = ramps(store.disc, limit, best.shift)
            part = slices.slices(best.rotation)[0] * moves * left.transfer
            body = images.body(block, limit) * left.transfer
            whole = Coefficients(left.values + body - part, left.transfer)
            _add(sums[0], whole, images.scene.poses[block], limit, images)
        tables.append([summed(each) for each in sums])
    one, two = tables
    grid = store.disc.grid
    still = _filtered((one[0], two[0]), grid, limit, part_mask(loose.still))
    part = _filtered((one[1], two[1]), grid, limit, part_mask(loose.part))
    return replace(loose, still=still, part=part), shared(found)


def _expected(
    loose: Loose,
    images: Remainders,
    how: tuple[int, int, int, float],
    around: Float[Tensor, "d d d"],
    generator: torch.Generator,
) -> Loose:
    """Steps of expectation–maximisation of the part's map, each with images of its own; old ones fade."""
    limit, batch, steps, reach = how
    store, sums = images.scene.store, None
    for _ in range(steps):
        rows = torch.randint(len(store), (batch,), generator=generator)[ranks.rank() :: ranks.world()]
        turn = random_rotations(1, generator)[0]
        grid = search_grid(store, loose.part, limit, _EXPECTED, reach, turn)
        step = expected(images.centred(rows, limit, loose.joint), grid.slices, grid.moves)
        fresh, turned = empty_sums(store.disc.grid, limit), half_spread(_EXPECTED) @ turn
        for part in torch.arange(len(turned)).split(_INSERTED):
            values, weights = step.numerator[None, part], step.weight[None, part]
            fresh.add(values, weights, turned[part], plane_of(store.disc, limit))
        tables = summed(fresh)
        sums = tables if sums is None else sums.plus(tables, _MEMORY)
        volume = solved(sums, store.disc.grid, limit, _SHARE)
        loose = replace(loose, part=Volume(volume.voxels * around, volume.grid))
    return loose


def _sightings(
    loose: Loose, images: Remainders, rows: Int[Tensor, "m"], limit: int, reach: float
) -> Sightings:
    """Many hypotheses of each image, their shifts as :func:`find_joint` wants them."""
    grid = search_grid(images.scene.store, loose.part, limit, _EXPECTED, reach)
    found = search(images.centred(rows, limit, loose.joint), grid.slices, grid.moves, 2 * _SHORTLIST)
    return Sightings(grid.rotation[found.rotation], grid.shift[found.shift], found.score)


def about(volume: Volume, place: Float[Tensor, "3"]) -> Volume:
    """A map with what was at ``place`` (Å) moved to the origin."""
    grid = volume.grid
    along = torch.fft.fftfreq(grid.box, grid.pixel_size)
    turns = along[:, None, None] * place[2] + along[:, None] * place[1] + along[: grid.half].abs() * place[0]
    ramp = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
    return Volume(to_real_3d(to_fourier_3d(volume.voxels) * ramp), grid)


def _add(sums: InsertedSlices, images: Coefficients, poses: Poses, limit: int, of: Remainders) -> None:
    """Insert images at poses."""
    disc = of.scene.store.disc
    values = images.values * images.transfer * ramps(disc, limit, -poses.shift)
    sums.add(values[None], images.transfer.square()[None], poses.rotation, plane_of(disc, limit))


def _filtered(tables: tuple[Tables, Tables], grid: Grid, limit: int, mask: Float[Tensor, "d d d"]) -> Volume:
    """Map within a mask, filtered by what halves agree on there."""
    fsc = masked_agreement(tables, mask, grid, limit)
    share = (2 * fsc / (1 + fsc.clamp(min=0))).clamp(0, 0.999)
    found = solved(tables[0].plus(tables[1]), grid, limit, share)
    return Volume(found.voxels * resize_map(mask, found.grid.box), found.grid)


def rows_of(images: Int[Tensor, "b"], count: int) -> Int[Tensor, "_"]:
    """Rows of the fits of some images, of which there are ``count`` one after another."""
    return (images[:, None] * count + torch.arange(count)).flatten()

"""Parts that no latent could follow: their pose is searched in every image, and latents are made of it.

A descent and a climb from a few prototypes follow a part that swings or goes about an axis. One that points
anywhere has more ways to go than they can try, and images are likelier once its pose is searched for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Poses, Volume
from morphem.data.stack import ParticleStack
from morphem.engine.progress import tell
from morphem.engine.run import Run
from morphem.inference.latents import Prior, Scene, Solved
from morphem.inference.loose_part import (
    Loose,
    Remainders,
    about,
    loose_part,
    rows_of,
    searched,
    sharpened,
)
from morphem.inference.part_maps import moved
from morphem.inference.passes import remembered
from morphem.inference.populations import Placed, Placements, mirrored, peaks_of, placed, population
from morphem.inference.refine import Fit, best_rows
from morphem.methods.cryospire.frames import fit_frames
from morphem.methods.cryospire.redrawing import drawn_from
from morphem.methods.cryospire.settings import Config
from morphem.methods.cryospire.starting import empty_mixture, found_or_given
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.rigidity import standing
from morphem.physics.gaussians import rasterise

_SLACK = 6.0  # Å by which a joint gives, beforehand
_SURE = 5.0  # standard errors by which the search must explain images better
_MISSED = 0.10  # share of what the part's pose tells that latents must miss
_RISE = 1.4  # of the limit from one refinement to the next
_LEAST = 0.05  # of the largest spread of a placement's numbers: less is no latent
_TAUGHT = 8192  # particles that show frames how the part moves


@dataclass(frozen=True)
class Found:
    """What the search for a part's pose came to.

    Attributes:
        loose: The body and the part.
        placed: The part in every particle.
        climbed: What latents came to before.
    """

    loose: Loose
    placed: Placed
    climbed: Solved


@dataclass(frozen=True)
class Glimpsed:
    """What some images told of a part whose pose is not searched for in all of them.

    Attributes:
        loose: The body and the part.
        particle: Of each of these images.
        places: The part in each.
    """

    loose: Loose
    particle: Int[Tensor, "m"]
    places: Placements


@dataclass(frozen=True)
class Climbed:
    """What latents came to in the coarse mixture.

    Attributes:
        latents: Of all particles.
        solved: How they were found.
        prior: What was known of them before.
    """

    latents: Float[Tensor, "p z"]
    solved: Solved
    prior: Prior

    def evidence(self) -> Float[Tensor, "p"]:
        """Log-likelihood of each particle's images with the latent left open (Laplace)."""
        told = torch.logdet(self.solved.covariance) + torch.logdet(self.prior.precision)
        return self.solved.score + told / 2


def searched_part(
    coarse: PartMixture,
    climbed: Climbed,
    seen: tuple[ParticleStack, Scene, Scene],
    config: Config,
    run: Run,
) -> Found | Glimpsed | None:
    """The moving part's pose in every image, where images are likelier by it than by latents.

    All that does not move with the heaviest part is taken for one part. Images that had no say in how its
    pose is distributed tell whether it is worth searching for in all of them: by their likelihood with the
    pose left open, against that with the latent left open. What latents miss of a part that they can follow
    the fine mixture still mends, and some images' poses show how its frames move. ``log.txt`` says what was
    found. (How far Gaussians move as rigid parts
    does not tell: in the coarse mixture, those of a part that goes about an axis flow as well.)

    Args:
        coarse: Mixture whose parts are looked at.
        climbed: What latents came to.
        seen: The particles, their images to the coarse mixture's limit, and to the fine one's.
        config: Of the method.
        run: For stages and progress.
    """
    stack, low, full = seen
    start = _start(coarse, climbed.latents, stack, config)
    if isinstance(start, str):
        tell(run.root, "moving part", f"not searched for: {start}")
        return None
    contrast = climbed.solved.contrast[stack.particle]
    first = remembered(
        run.stage("part-map"), {"limit": low.limit}, lambda: _judged(start, climbed, low, config)
    )
    loose = _loose(first, low.store.disc.grid)
    if not worthwhile(first["gain"], run):
        if "rows" not in first:  # earlier versions kept no places
            return None
        return Glimpsed(loose, low.particle[first["rows"]], Placements(first["rotation"], first["slack"]))
    kept = remembered(
        run.stage("part-poses"),
        {"limit": full.limit},
        lambda: _posed(loose, (low, full), contrast, stack.halves(), run, config.seed),
    )
    places = Placements(kept["rotation"], kept["slack"])
    placed = Placed(places, kept["covariance"], kept["evidence"])
    return Found(_loose(kept, full.store.disc.grid), placed, climbed.solved)


def latents_of(found: Found) -> Solved:
    """Latents that say where the part is: principal directions of rotation and slack, of unit spread."""
    grid = found.loose.part.grid
    lever = torch.cat([torch.full((9,), _lever(found.loose.part)), torch.ones(3)])
    places = found.placed.places
    numbers = torch.cat([places.rotation.flatten(1), places.slack], 1) * lever
    mean = numbers.mean(0)
    _, spread, axes = torch.linalg.svd(numbers - mean, full_matrices=False)
    kept = spread > max(_LEAST * float(spread[0]), 1e-3 * grid.pixel_size * len(numbers) ** 0.5)
    kept[0] = True
    axes = axes[kept] / spread[kept, None] * len(numbers) ** 0.5
    directions = axes * lever
    covariance = directions @ found.placed.covariance @ directions.mT
    covariance = covariance + 1e-6 * torch.eye(len(axes))
    told = {"mean": (numbers - mean) @ axes.mT, "covariance": covariance, "score": found.placed.evidence}
    return replace(found.climbed, **told)


def loose_mixture(
    loose: Loose, places: Placements, latents: Float[Tensor, "n z"], grid: Grid, config: Config
) -> AnchoredMixture:
    """Fine mixture of the body and the part, which moves as it was found to.

    Args:
        loose: The body and the part.
        places: Where the part was found.
        latents: At each place.
        grid: Of the mixture.
        config: Of the method.
    """
    numbers = torch.cat([places.rotation.flatten(1), places.slack / _lever(loose.part)], 1)
    rest = places[(numbers - numbers.mean(0)).square().sum(1).argmin()[None]]
    origin = loose.joint + rest.slack[0]
    still, part = (resize_map(each.voxels, grid.box) for each in (loose.still, loose.part))
    maps = torch.stack([still, moved(part, grid, rest.rotation[0], torch.zeros(3), origin)])
    torch.manual_seed(config.seed + 4)
    like = empty_mixture(2, latents.shape[1], grid, config)
    with torch.no_grad():
        like.anchor_centres.copy_(torch.stack([_middle(Volume(each, grid)) for each in maps]) / grid.extent)
        like.anchor_features.normal_()
    some = torch.arange(0, len(latents), max(1, len(latents) // _TAUGHT))
    turn = torch.eye(3).repeat(len(some), 2, 1, 1)
    turn[:, 1] = places.rotation[some] @ rest.rotation[0].mT
    place = like.anchor_centres[1] * grid.extent
    shift = torch.zeros(len(some), 2, 3)
    shift[:, 1] = turn[:, 1] @ (place - origin) + loose.joint + places.slack[some] - place
    fit_frames(like, latents[some], (turn, shift / grid.extent), config.seed + 5)
    return drawn_from(maps, like, grid, config)


def _start(
    coarse: PartMixture, latents: Float[Tensor, "p z"], stack: ParticleStack, config: Config
) -> Loose | str:
    """What stands with the heaviest part, and all else as one part; or why there is nothing to search for."""
    asked = config.solving.search
    if not asked or len(stack) < asked:
        return f"{asked} images are asked whether it is worth it, and there are {len(stack)}"
    # it would have one pose in all images of a particle, which is not reckoned with
    if stack.n_particles != len(stack):
        return f"{stack.n_particles} particles have {len(stack)} images"
    behaviour, rest = coarse.behaviour(latents), coarse.at_rest(latents)
    part = found_or_given(behaviour, rest.centres, config).part
    told = config.known_bodies is not None or config.anchors.count
    if config.frames == "none" or (told and int(part.max()) > 1):
        return "a body and one part are not the frames that were asked for"
    body = standing(behaviour, part)
    if not int(part.max()) or not behaviour.mass[~body].any():
        return "one part moves as a whole"
    maps = []
    for member in (body, ~body):
        own = GaussianMixture(rest.centres[member], rest.scales[member], rest.amplitudes[member])
        maps.append(rasterise(own, stack.grid))
    middle = _middle(maps[1])
    return Loose(maps[0], about(maps[1], middle), middle)


def _judged(start: Loose, climbed: Climbed, low: Scene, config: Config) -> dict[str, Tensor]:
    """The part's map in the likelier hand, and by how much images are likelier than by latents."""
    contrast = climbed.solved.contrast[low.particle]
    loose = loose_part(start, low, contrast, config.seed)
    images, generator = Remainders(loose.still, low, contrast), torch.Generator().manual_seed(config.seed)
    rows = torch.randperm(len(low.store), generator=generator)[: config.solving.search].sort().values
    fit = searched(loose, images, rows, low.limit)
    told, asked = torch.arange(0, len(rows), 2), torch.arange(1, len(rows), 2)
    hands, views = {1: fit, -1: mirrored(fit)}, low.poses[rows]
    gains = {
        hand: _evidence(each, views, loose.joint, (told, asked), config.seed) for hand, each in hands.items()
    }
    hand = max(gains, key=lambda each: float(gains[each].mean()))
    known = images.known(rows[asked], low.limit)
    if low.contrast_spread:
        known = known - ((contrast[rows[asked]] - 1) / low.contrast_spread).square() / 2
    gain = gains[hand] + known - climbed.evidence()[low.particle[rows[asked]]]
    part = loose.part.voxels if hand > 0 else loose.part.voxels.flip(0).roll(1, 0)
    gained = torch.stack([gain.mean(), gain.std() / len(gain) ** 0.5, gains[hand].mean()])
    places = _placed(hands[hand], views, loose.joint, config.seed).places
    found = {"rows": rows, "rotation": places.rotation, "slack": places.slack, "gain": gained}
    return {"still": loose.still.voxels, "part": part.contiguous(), "joint": loose.joint, **found}


def worthwhile(gain: Float[Tensor, "3"], run: Run) -> bool:
    """Whether latents miss much, and surely, of what the part's pose tells; why is said."""
    missed, error, told = gain.tolist()
    least = max(_SURE * error, _MISSED * told)
    word = "searched in all images" if missed >= least else "not searched for"
    met = f"its pose tells {told:.1f} nats an image, of which latents miss {missed:.1f} ± {error:.1f}"
    tell(run.root, "moving part", f"{word}: {met}; {least:.1f} are asked")
    return missed >= least


def _evidence(
    fit: Fit,
    views: Poses,
    joint: Float[Tensor, "3"],
    split: tuple[Int[Tensor, "t"], Int[Tensor, "m"]],
    seed: int,
) -> Float[Tensor, "m"]:
    """Log-likelihood of the second images by placements that are distributed as the first ones say."""
    count = len(fit.score) // len(views)
    told, asked = (peaks_of(fit[rows_of(rows, count)], views[rows], joint) for rows in split)
    atoms = population(told, _best_places(fit, views)[split[0]], _SLACK, seed)
    return placed(asked, atoms).evidence


def _best_places(fit: Fit, views: Poses) -> Placements:
    best = fit.poses[best_rows(fit.score, len(fit.score) // len(views))]
    return Placements(views.rotation.mT @ best.rotation, torch.zeros(len(views), 3))


def _posed(
    loose: Loose,
    scenes: tuple[Scene, Scene],
    contrast: Float[Tensor, "n"],
    halves: tuple[Int[Tensor, "m1"], Int[Tensor, "m2"]],
    run: Run,
    seed: int,
) -> dict[str, Tensor]:
    """The part's placement in all images, at the finest limit."""
    low, full = scenes
    fit = searched(loose, Remainders(loose.still, low, contrast), torch.arange(len(contrast)), low.limit, run)
    limit = low.limit
    while limit < full.limit:
        limit = min(math.ceil(_RISE * limit), full.limit)
        images = Remainders(loose.still, full, contrast)
        loose, fit = sharpened(loose, fit, (images, halves), limit, run)
    found = _placed(fit, full.poses, loose.joint, seed)
    maps = {"still": loose.still.voxels, "part": loose.part.voxels, "joint": loose.joint}
    places = {"rotation": found.places.rotation, "slack": found.places.slack}
    return {**maps, **places, "covariance": found.covariance, "evidence": found.evidence}


def _placed(fit: Fit, views: Poses, joint: Float[Tensor, "3"], seed: int) -> Placed:
    """The part in every image, by what all of them tell of where it can be."""
    peaks = peaks_of(fit, views, joint)
    return placed(peaks, population(peaks, _best_places(fit, views), _SLACK, seed))


def _loose(tensors: dict[str, Tensor], grid: Grid) -> Loose:
    still, part = (Volume(tensors[name], grid.resized(len(tensors[name]))) for name in ("still", "part"))
    return Loose(still, part, tensors["joint"])


def _middle(volume: Volume) -> Float[Tensor, "3"]:
    """Centre of mass of what is positive, Å."""
    mass, axis = volume.voxels.clamp(min=0), volume.grid.axis()
    along = [mass.sum(dims) @ axis for dims in ((0, 1), (0, 2), (1, 2))]
    return torch.stack(along) / mass.sum()


def _lever(volume: Volume) -> float:
    """Root mean square distance of a map's mass from the origin, Å."""
    mass, squared = volume.voxels.clamp(min=0), volume.grid.axis().square()
    radius = squared[:, None, None] + squared[:, None] + squared
    return float(((mass * radius).sum() / mass.sum()).sqrt())

"""Poses and latents of images that no map was made of: found in the maps as they are, nothing is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import PerParticle, Poses
from morphem.data.stack import ParticleStack
from morphem.engine.insertion import background_noise
from morphem.engine.run import Run
from morphem.inference import seeds
from morphem.inference.abinitio import SeedConfig, empty_fit
from morphem.inference.frozen import FrozenModel
from morphem.inference.hypotheses import likeliest, search_grid, searched
from morphem.inference.joint import empty_joint, place
from morphem.inference.passes import blocks, put, shared
from morphem.inference.refine import Fit, Products, map_products, refine
from morphem.inference.rounds import Residual
from morphem.inference.store import Coefficients, Store, collect
from morphem.inference.subspace import Latents, Setting, infer_latents

FIRST = seeds.FIRST[-1].limit  # frequency pixels of proposals
GUESSES = 4  # of each image, told apart by finer frequencies than they were found with
_TRIED = 6  # of a search
_BLOCK = 64  # images refined at a time
_SIFT_STEPS, _STEPS = 3, 4  # of refinement, of a guess and of a pose at each limit
_JOINT_STEPS = 3  # likewise, of a pose and its latent together
_FINER = 1.6  # factor from one limit to the next
_SAMPLE = 2000  # images from which noise and contrast are measured
_POOLED = 20  # images by which a group's mean contrast is held to that of all


@dataclass(frozen=True)
class Guesses(PerParticle):
    """Rough poses of images, the likeliest first.

    Attributes:
        rotation: As in :class:`morphem.core.types.Poses`.
        shift: Å.
    """

    rotation: Float[Tensor, "n k 3 3"]
    shift: Float[Tensor, "n k 2"]

    def flat(self) -> Poses:
        """All of them, image after image."""
        return Poses(self.rotation.flatten(0, 1), self.shift.flatten(0, 1))


Proposals = Callable[[Store, FrozenModel, Run | None], Guesses]


@dataclass(frozen=True)
class Inferred:
    """What images show.

    Attributes:
        fit: Pose, contrast and likelihood of every image.
        latents: Of every image.
        gain: Mean contrast of each optics group in units of the maps'.
    """

    fit: Fit
    latents: Latents
    gain: Float[Tensor, "o"]


def infer_images(
    stack: ParticleStack, model: FrozenModel, proposals: Proposals, run: Run | None = None
) -> Inferred:
    """Poses and latents of all images of a set; the cost of an image does not depend on their number.

    A few rough poses of each are refined beyond the frequencies that they were found with, the likeliest up
    to the model's limit; the latent has a closed form there, from which both go on together where directions
    are known as finely as the mean. Noise and mean contrast are the new images' own.

    Args:
        stack: Prepared as the images were that the model was made of, and on their grid.
        model: Of a finished search.
        proposals: Rough poses of all images, by :func:`searched_all` or an encoder.
        run: Told how far the work is.
    """
    if stack.grid != model.grid:
        raise ValueError(f"images on {stack.grid}, the model was made on {model.grid}; resample")
    rows = torch.arange(len(stack))
    store = collect(stack, model.limit, background_noise(stack, rows, run), run)
    store, gain = calibrated(store, model, run)
    guesses = proposals(store, model, run)
    fit = placed(store, guesses, model, rows, run)
    where = Setting(store, fit, model.space_limit, *_unused(model))
    latents = infer_latents(where, rows, model.space, run)
    if not len(model.space) or model.space_limit < model.limit:
        return Inferred(fit, latents, gain)
    found = empty_joint(len(store), len(model.space))
    place(where, rows, (model.space, latents), (_JOINT_STEPS, model.spread), found, run)
    found = shared(found)
    return Inferred(found.fit, found.latents, gain)


def searched_all(store: Store, model: FrozenModel, run: Run | None = None) -> Guesses:
    """Guesses about all images from a search."""
    return by_search(store, torch.arange(len(store)), model, run)


def by_search(store: Store, rows: Int[Tensor, "m"], model: FrozenModel, run: Run | None = None) -> Guesses:
    """Guesses about images ``rows`` from a search of all rotations and shifts; those of others are zero.

    Cost: 0.1 GFLOP an image and more, as the square of the reach.
    """
    starts = SeedConfig(reach=model.reach)
    grid = search_grid(store, model.mean, FIRST, starts.rotations, starts.reach * store.disc.grid.extent)
    products, found = map_products(model.mean, store.disc, FIRST), empty_guesses(len(store))
    for block in blocks(rows, _BLOCK, run, "search"):
        images = store.read(block, FIRST)
        put_guesses(found, block, sifted(images, products, searched(images, grid, _TRIED))[0])
    return shared(found)


def sifted(images: Coefficients, products: Products, tried: Poses) -> tuple[Guesses, Float[Tensor, "b"]]:
    """The likeliest of several poses of each image after a few steps, and the best one's log-likelihood."""
    each = len(tried) // len(images)
    fits = refine(images[torch.arange(len(images)).repeat_interleave(each)], products, tried, _SIFT_STEPS)
    score, rank = fits.score.view(-1, each).topk(min(GUESSES, each), dim=1)
    best = rank + each * torch.arange(len(images))[:, None]
    return Guesses(fits.poses.rotation[best], fits.poses.shift[best]), score[:, 0]


def empty_guesses(n: int) -> Guesses:
    """Guesses about ``n`` images, zero."""
    return Guesses(torch.zeros(n, GUESSES, 3, 3), torch.zeros(n, GUESSES, 2))


def put_guesses(guesses: Guesses, rows: Int[Tensor, "b"], part: Guesses) -> None:
    """Write rows into guesses; the best stands in where a part has fewer."""
    for name, value in vars(part).items():
        whole = getattr(guesses, name)
        whole[rows] = value[:, :1]
        whole[rows, : value.shape[1]] = value


def calibrated(store: Store, model: FrozenModel, run: Run | None = None) -> tuple[Store, Float[Tensor, "o"]]:
    """The store with noise as a sample of images differ from the map, and groups of mean contrast 1.

    The second is the mean contrast that each group had; of small groups, nearly that of all.
    """
    limit, rows = limits(model.limit)[0], torch.arange(0, len(store), max(1, len(store) // _SAMPLE))
    guesses = by_search(store, rows, model, run)
    products, found = map_products(model.mean, store.disc, limit), empty_fit(len(store))
    for block in rows.split(_BLOCK):
        images = store.read(block, limit)
        put(found, block, likeliest(images, products, guesses[block].flat(), _STEPS))
    power = Residual(store, limit)
    power.add(model.mean, found, rows)
    gain = _mean_by_group(found.contrast[rows], store.group[rows], len(store.noise)).clamp(min=1e-3)
    optics = replace(store.optics, scale=store.optics.scale * gain[store.group])
    return replace(store, optics=optics, noise=power.spectra()), gain


def placed(
    store: Store, guesses: Guesses, model: FrozenModel, rows: Int[Tensor, "m"], run: Run | None = None
) -> Fit:
    """Poses of images ``rows``: the best guess at the first limit, refined to the last."""
    found, (first, *finer) = empty_fit(len(store)), limits(model.limit)
    products = {limit: map_products(model.mean, store.disc, limit) for limit in (first, *finer)}
    for block in blocks(rows, _BLOCK, run, f"poses to {store.disc.grid.extent / model.limit:.1f} Å"):
        images = store.read(block, first)
        fit = likeliest(images, products[first], guesses[block].flat(), _STEPS, model.spread)
        for limit in finer:
            images = store.read(block, limit)
            fit = refine(images, products[limit], fit.poses, _STEPS, model.spread)
        put(found, block, fit)
    return shared(found)


def limits(last: int) -> list[int]:
    """Frequency pixels of refinement, from a little beyond those of guesses to the last."""
    first = min(last, round(FIRST * _FINER))
    count = math.ceil(math.log(last / first) / math.log(_FINER) - 1e-9)
    return [round(first * (last / first) ** (k / max(count, 1))) for k in range(count)] + [last]


def by_particle(latents: Latents, particle: Int[Tensor, "n"]) -> Latents:
    """Posterior of particles that several images show: precisions add, the prior counts once."""
    count, q = int(particle.max()) + 1, latents.mean.shape[1]
    known = torch.linalg.inv(latents.covariance)
    precision = torch.eye(q).repeat(count, 1, 1).index_add_(0, particle, known - torch.eye(q))
    pull = torch.zeros(count, q).index_add_(0, particle, (known @ latents.mean[..., None])[..., 0])
    covariance = torch.linalg.inv(precision)
    evidence = torch.zeros(count).index_add_(0, particle, latents.evidence)
    return Latents((covariance @ pull[..., None])[..., 0], covariance, evidence)


def _mean_by_group(values: Float[Tensor, "m"], group: Int[Tensor, "m"], groups: int) -> Float[Tensor, "o"]:
    total = torch.zeros(groups).index_add_(0, group, values)
    count = torch.bincount(group, minlength=groups)
    return (total + _POOLED * values.mean()) / (count + _POOLED)


def _unused(model: FrozenModel) -> tuple[Float[Tensor, "d d d"], Float[Tensor, "s"]]:
    """Mask and filter, which making maps needs and reading latents does not."""
    return torch.ones_like(model.space.mean), torch.ones(model.space.grid.half)

"""Defocus corrected late, with a mixture as the reference: Gauss–Newton, contrast free, poses known.

One image says little of its defocus at low resolution. How corrections are spread is therefore learned from
all images: a normal distribution for each optics group. Where single images tell nothing its variance
vanishes, and the mean of the group is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from morphem.core.types import PerParticle
from morphem.engine.run import Run
from morphem.inference.latents import Mixture, Scene, project_at_disc
from morphem.inference.passes import blocks, put, shared
from morphem.inference.refine import chosen, profile
from morphem.inference.search import ramps
from morphem.physics.ctf import transfer_at, transfer_slope_at

_BLOCK = 64  # images at a time
_STEPS = 3  # of Gauss–Newton
_ITERATIONS = 300  # of expectation–maximisation, which look at no image
_WIDEST = 500.0  # Å: corrections are small; of a group's mean the standard deviation, of its images' the most
_NARROWEST = 1.0  # Å, the least
_FARTHEST = 3 * _WIDEST  # Å: what a mixture that fits badly makes of defoci goes no farther


@dataclass(frozen=True)
class Focused(PerParticle):
    """What images say of their defocus.

    Attributes:
        change: Added to both defoci, Å; the likeliest.
        deviation: Its standard deviation, Å.
        gain: Log-likelihood above that of no change.
    """

    change: Float[Tensor, "n"]
    deviation: Float[Tensor, "n"]
    gain: Float[Tensor, "n"]


@dataclass(frozen=True)
class Spread:
    """How corrections are spread over the images of each optics group.

    Attributes:
        mean: Å.
        deviation: Å.
    """

    mean: Float[Tensor, "o"]
    deviation: Float[Tensor, "o"]


@dataclass(frozen=True)
class Told(PerParticle):
    """A likelihood of a change of defocus, and around it.

    Attributes:
        change: Where it was looked at, Å.
        score: Log-likelihood above that of an image without a particle.
        slope: Its slope, 1/Å.
        information: Minus its curvature, 1/Å².
    """

    change: Float[Tensor, "b"]
    score: Float[Tensor, "b"]
    slope: Float[Tensor, "b"]
    information: Float[Tensor, "b"]


@torch.no_grad()
def refine_defocus(
    density: Mixture, latents: Float[Tensor, "p z"], scene: Scene, run: Run | None = None
) -> tuple[Focused, Spread]:
    """Likeliest change of each image's defocus, and how changes are spread over each optics group.

    Astigmatism stays. Cost: four projections an image.

    Args:
        density: The mixture, which stays as it is.
        latents: Of each particle.
        scene: The images, their poses and present optics.
        run: Told how far the work is.
    """
    group = scene.store.group
    none = torch.zeros(int(group.max()) + 1)  # of each group
    spread = Spread(none, none + _WIDEST)
    first = here = look(density, latents, scene, torch.zeros(len(group)), run)
    for _ in range(_STEPS):
        spread = population(here, group, spread)
        wanted = posterior(here, group, spread)[0].clamp(-_FARTHEST, _FARTHEST)
        there = look(density, latents, scene, wanted, run)
        here = chosen(_worth(there, group, spread) > _worth(here, group, spread), there, here)
    deviation = posterior(here, group, spread)[1]
    return Focused(here.change, deviation, here.score - first.score), spread


@torch.no_grad()
def look(
    density: Mixture,
    latents: Float[Tensor, "p z"],
    scene: Scene,
    change: Float[Tensor, "n"],
    run: Run | None = None,
) -> Told:
    """The likelihood of every image at a change of its defocus."""
    found = Told(change, *(torch.zeros_like(change) for _ in range(3)))
    for rows in blocks(torch.arange(len(change)), _BLOCK, run, "defocus"):
        model = project_at_disc(
            density, latents[scene.particle[rows]], scene.poses[rows], scene.store, scene.limit
        )
        model = model * ramps(scene.store.disc, scene.limit, scene.poses[rows].shift)
        put(found, rows, told(model, scene, rows, change[rows]))
    return replace(shared(replace(found, change=torch.zeros_like(change))), change=change)


def told(
    model: Complex[Tensor, "b m"], scene: Scene, rows: Int[Tensor, "b"], change: Float[Tensor, "b"]
) -> Told:
    """The likelihood of some images at a change of their defocus.

    Args:
        model: Coefficients of the projections, shifted, without the contrast transfer.
        scene: The images.
        rows: Which of them.
        change: Å.
    """
    store, frequencies = scene.store, scene.store.disc.frequencies(scene.limit).to(change)
    optics = store.optics[rows]
    optics = optics.with_defoci(optics.defoci + change[:, None])
    seen, whitening = store.whitened(rows, scene.limit)
    filters = torch.stack([transfer_slope_at(optics, frequencies), transfer_at(optics, frequencies)], 1)
    columns = torch.cat([model[:, None] * (filters * whitening[:, None]), seen[:, None]], 1)
    flat = torch.view_as_real(columns).flatten(2)
    found = profile(flat @ flat.mT, scene.contrast_spread)
    # twice: the profile knows half of a slope and of a curvature
    return Told(change, found.score, 2 * found.pull[:, 0], 2 * found.curvature[:, 0, 0])


def posterior(
    here: Told, group: Int[Tensor, "n"], spread: Spread
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Mean and standard deviation of each change, likelihoods taken for normal."""
    known = spread.deviation[group] ** -2
    precision = here.information.clamp(min=0) + known
    pull = here.slope + (spread.mean[group] - here.change) * known
    return here.change + pull / precision, precision**-0.5


def population(here: Told, group: Int[Tensor, "n"], start: Spread) -> Spread:
    """Likeliest mean and deviation of each group's changes, from ``start``.

    The mean follows in closed form, the deviation by expectation–maximisation.
    """
    information, spread = here.information.clamp(min=0), start
    images = torch.bincount(group, minlength=len(start.mean)).clamp(min=1)

    def sum_of(values: Float[Tensor, "n"]) -> Float[Tensor, "o"]:
        return torch.zeros_like(start.mean).index_add_(0, group, values)

    for _ in range(_ITERATIONS):
        weight = 1 / (1 + information * spread.deviation[group].square())
        told_of = sum_of(weight * (information * here.change + here.slope))
        mean = told_of / (sum_of(weight * information) + _WIDEST**-2)
        change, deviation = posterior(here, group, Spread(mean, spread.deviation))
        variance = sum_of((change - mean[group]).square() + deviation.square()) / images
        spread = Spread(mean, variance.sqrt().clamp(_NARROWEST, _WIDEST))
    return spread


def _worth(here: Told, group: Int[Tensor, "n"], spread: Spread) -> Float[Tensor, "n"]:
    """Log-posterior of each change, up to a constant."""
    away = (here.change - spread.mean[group]) / spread.deviation[group]
    return here.score - away.square() / 2

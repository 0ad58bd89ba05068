"""Which Gaussians move as one frame: images are asked, where ways to tell disagree.

By how they move alike, Gaussians make few parts: of many bodies, some are taken for one. By rigidity they
make more: what flows in a coarse mixture where it turns in the molecule is cut up. Where one part moves, and
its pose was found in some images, these show frames that no coarse mixture blurs. The coarse mixture cannot
tell which is right; once frames have followed the images and densities were drawn anew in them, frames that
molecules have make images likelier. Not before: by Gaussians that are still tied to the wrong part, a frame
more for these tells as much as a body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.stack import ParticleStack
from morphem.engine.progress import tell
from morphem.engine.run import Run
from morphem.inference.latents import Scene
from morphem.inference.passes import remembered
from morphem.methods.cryospire.objectives import BandObjective
from morphem.methods.cryospire.redrawing import followed_anew
from morphem.methods.cryospire.searching import Glimpsed, loose_mixture
from morphem.methods.cryospire.settings import Config
from morphem.methods.cryospire.starting import anchored, found_or_given
from morphem.models.anchors import Anchors
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.table import ParticleTable

_ASKED = 3000  # particles
_JUDGE = 3  # one in so many is left out of descents, and tells how likely images are by them
_FEWEST = 60  # particles of which a third can tell
_SURE = 3.0  # standard errors by which images must tell more
_GAUSSIANS = 1024  # of mixtures that are asked: they see no more than the coarse one did


@dataclass(frozen=True)
class _Candidate:
    name: str
    frames: int
    mixture: Callable[[Config], AnchoredMixture]


def likeliest_frames(
    coarse: PartMixture,
    latents: Float[Tensor, "p z"],
    seen: tuple[ParticleStack, Scene],
    config: Config,
    run: Run,
    glimpsed: Glimpsed | None = None,
) -> AnchoredMixture:
    """The fine mixture as it begins: with the frames by which images are likeliest, or those asked for.

    Each candidate goes through the descents in which parts are rigid, and is drawn anew from their maps, at
    the same images and latents; those that were left out of it are asked. Another is taken where they surely
    tell more by it, and enough more if it has more frames. ``log.txt`` says what came of it. Cost: some
    passes over 3,000 particles at most, however many there are.

    Args:
        coarse: Mixture whose parts are looked for.
        latents: Of all particles.
        seen: The particles, and their images to the coarse mixture's limit.
        config: Of the method.
        run: For stages and progress.
        glimpsed: A moving part that was placed in some images, if one was.
    """
    (stack, scene), begun = seen, _candidates(coarse, latents, seen[0].grid, config, glimpsed)
    sound = scene.sound_particles()
    some = sound[:: max(1, -(-len(sound) // _ASKED))]
    if len(begun) == 1 or len(some) < _FEWEST:
        return begun[0].mixture(config)

    def asked() -> dict[str, Tensor]:
        few = replace(config, fine=replace(config.fine, gaussians=_GAUSSIANS))
        judge = torch.arange(len(some)) % _JUDGE == 0
        followed, left_out = scene.of(some[~judge]), scene.of(some[judge])
        pictures = replace(stack.select(scene.rows_of(some[~judge])), particle=followed.particle)
        tables = [ParticleTable(latents[each], 0.0) for each in (some[~judge], some[judge])]
        told = []
        for number, candidate in enumerate(begun, 1):
            trial = candidate.mixture(few)
            trial = followed_anew(trial, tables[0], (pictures, followed), few, (run, f"frames-{number}"))
            told.append(BandObjective(trial, tables[1], left_out, few).told())
        return {"told": torch.stack(told)}

    identity = {"limit": scene.limit, "frames": [each.name for each in begun]}
    told = remembered(run.stage("frames"), identity, asked)["told"]
    best = 0
    for number in range(1, len(begun)):
        more = told[number] - told[best]
        gain = float(more.mean() / told[best].mean().clamp(min=1))
        sure = float(more.mean()) > _SURE * float(more.std()) / len(more) ** 0.5
        names = begun[number].name, begun[best].name
        tell(run.root, "frames", f"images tell {gain:+.1%} by {names[0]} rather than by {names[1]}")
        price = config.solving.gain if begun[number].frames > begun[best].frames else 0.0
        best = number if sure and gain > price else best
    return begun[best].mixture(config)


def _candidates(
    coarse: PartMixture,
    latents: Float[Tensor, "p z"],
    grid: Grid,
    config: Config,
    glimpsed: Glimpsed | None,
) -> list[_Candidate]:
    """By each way to tell parts apart, from few to many; and after the first, of a part that was placed."""
    ways, found, begun = config.ways(), list[Anchors](), list[_Candidate]()
    behaviour, centres = coarse.behaviour(latents), coarse.at_rest(latents).centres
    for way in ways:
        anchors = found_or_given(behaviour, centres, replace(config, anchors=way))
        if not any(torch.equal(anchors.part, each.part) for each in found):
            found.append(anchors)
            count, made = len(anchors.features), partial(anchored, coarse, latents, grid, anchors=anchors)
            begun.append(_Candidate(str(count), count, made))
    if glimpsed is not None and len(ways) > 1:
        at = latents[glimpsed.particle]
        placed = partial(loose_mixture, glimpsed.loose, glimpsed.places, at, grid)
        begun.insert(1, _Candidate("2 as they were placed", 2, placed))
    return begun

"""Which Gaussians move as one frame: images are asked, where ways to tell disagree.

By how they move alike, Gaussians make few parts: of many bodies, some are taken for one. By rigidity they
make more: what flows in a coarse mixture where it turns in the molecule is cut up. The coarse mixture cannot
tell which is right; once frames have followed the images and densities were drawn anew in them, frames that
molecules have make images likelier. Not before: by Gaussians that are still tied to the wrong part, a frame
more for these tells as much as a body.
"""

from __future__ import annotations

from dataclasses import replace

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
from morphem.methods.cryospire.settings import Config
from morphem.methods.cryospire.starting import anchored, found_or_given
from morphem.models.anchors import Anchors
from morphem.models.gaussian_density import PartMixture
from morphem.models.table import ParticleTable

_ASKED = 3000  # particles
_JUDGE = 3  # one in so many is left out of descents, and tells how likely images are by them
_FEWEST = 60  # particles of which a third can tell
_SURE = 3.0  # standard errors by which images must tell more
_GAUSSIANS = 1024  # of mixtures that are asked: they see no more than the coarse one did


def likeliest_parts(
    coarse: PartMixture,
    latents: Float[Tensor, "p z"],
    seen: tuple[ParticleStack, Scene],
    grid: Grid,
    config: Config,
    run: Run,
) -> Anchors:
    """Parts as the settings tell them apart; or by another way, if images tell so much more by its frames.

    Each way's mixture goes through the descents in which parts are rigid, and is drawn anew from their maps,
    at the same images and latents; those that were left out of it are asked. ``log.txt`` says what came of
    it. Cost: some passes over 3,000 particles at most, however many there are.

    Args:
        coarse: Mixture whose parts are looked for.
        latents: Of all particles.
        seen: The particles, and their images to the coarse mixture's limit.
        grid: Of the fine mixture.
        config: Of the method.
        run: For stages and progress.
    """
    (stack, scene), found = seen, list[Anchors]()
    behaviour, centres = coarse.behaviour(latents), coarse.at_rest(latents).centres
    for way in config.ways():
        anchors = found_or_given(behaviour, centres, replace(config, anchors=way))
        if not any(torch.equal(anchors.part, each.part) for each in found):
            found.append(anchors)
    sound = scene.sound_particles()
    some = sound[:: max(1, -(-len(sound) // _ASKED))]
    if len(found) == 1 or len(some) < _FEWEST:
        return found[0]

    def asked() -> dict[str, Tensor]:
        few = replace(config, fine=replace(config.fine, gaussians=_GAUSSIANS))
        judge = torch.arange(len(some)) % _JUDGE == 0
        followed, left_out = scene.of(some[~judge]), scene.of(some[judge])
        pictures = replace(stack.select(scene.rows_of(some[~judge])), particle=followed.particle)
        tables = [ParticleTable(latents[each], 0.0) for each in (some[~judge], some[judge])]
        told = []
        for number, anchors in enumerate(found, 1):
            trial = anchored(coarse, latents, grid, few, anchors)
            trial = followed_anew(trial, tables[0], (pictures, followed), few, (run, f"frames-{number}"))
            told.append(BandObjective(trial, tables[1], left_out, few).told())
        return {"told": torch.stack(told)}

    told = remembered(run.stage("frames"), {"limit": scene.limit}, asked)["told"]
    best = 0
    for number in range(1, len(found)):
        more = told[number] - told[best]
        gain = float(more.mean() / told[best].mean().clamp(min=1))
        sure = float(more.mean()) > _SURE * float(more.std()) / len(more) ** 0.5
        parts = [len(found[each].features) for each in (number, best)]
        tell(run.root, "frames", f"images tell {gain:+.1%} by {parts[0]} rather than by {parts[1]}")
        best = number if sure and gain > config.solving.gain else best
    return found[best]

"""A fine mixture whose parts are rigid at first, and drawn anew from the images once they move rightly."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.run import Run
from morphem.inference.latents import Scene
from morphem.inference.part_maps import part_maps
from morphem.methods.cryospire.objectives import BandObjective
from morphem.methods.cryospire.settings import Config
from morphem.methods.cryospire.starting import empty_mixture, started
from morphem.models.anchors import nearest_part
from morphem.models.gaussian_density import AnchoredMixture
from morphem.models.seeding import bright_level, draw_centres
from morphem.models.table import ParticleTable


def settled(
    fine: AnchoredMixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene, Scene],
    config: Config,
    run: Run,
) -> AnchoredMixture:
    """The fine mixture after its parts have moved as rigid bodies, drawn anew from their maps.

    Args:
        fine: With frames that were taught.
        latents: Which stay as they are.
        seen: The particles, their images to the coarse mixture's limit, and to the fine one's.
        config: Of the method.
        run: For stages and progress.
    """
    stack, low, full = seen
    if not config.solving.rigid_epochs or not fine.anchors:
        return fine
    rigid_descents(fine, latents, (stack, low), config, (run, "rigid"))
    return redrawn(fine, latents, full, stack.halves(), config)


def rigid_descents(
    fine: AnchoredMixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    how: tuple[Run, str],
) -> None:
    """Descents of a mixture whose parts are rigid.

    First their densities follow from the motions that they begin with; then both are made better. Not until
    each part is sharp in its own frame may Gaussians move or fade within it: before, they would flow to where
    density is missing, or shine one after another where a part comes by, and no part would turn. They fade
    before they move, lest a part be turned to hide what is absent of it.

    Args:
        fine: With frames that were taught.
        latents: Which stay as they are.
        seen: The particles, and their images to the coarse mixture's limit.
        config: Of the method.
        how: The run, and what stages are called.
    """
    (run, name), epochs, within = how, config.solving.rigid_epochs, (fine.displacement, fine.feature_offsets)
    steps = (
        ("densities", (fine.motion, *within), epochs),
        ("frames", within, epochs),
        ("fading", (fine.displacement,), max(1, epochs // 2)),
    )
    for step, still, passes in steps:
        _descended_without(still, fine, latents, seen, config, (run.stage(f"{name}-{step}"), passes))


def followed_anew(
    fine: AnchoredMixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    how: tuple[Run, str],
) -> AnchoredMixture:
    """After :func:`rigid_descents`, drawn anew from parts' maps; densities and frames follow once more.

    Gaussians that began with the wrong part, for a coarse mixture showed them flow with it, are where that
    part has density.
    """
    rigid_descents(fine, latents, seen, config, how)
    (stack, scene), (run, name) = seen, how
    drawn = redrawn(fine, latents, scene, stack.halves(), config)
    within, stage = (drawn.displacement, drawn.feature_offsets), run.stage(f"{name}-anew")
    _descended_without(within, drawn, latents, seen, config, (stage, config.solving.rigid_epochs))
    return drawn


def redrawn(
    fine: AnchoredMixture,
    latents: ParticleTable,
    scene: Scene,
    halves: tuple[Int[Tensor, "m1"], Int[Tensor, "m2"]],
    config: Config,
) -> AnchoredMixture:
    """A mixture with the same parts and motions whose Gaussians are drawn from the parts' maps."""
    maps = part_maps(fine, latents.rows, scene, halves)
    grid = scene.store.disc.grid
    drawn = drawn_from(maps.own + maps.left, fine, grid, config)
    rest = (drawn.anchor_centres[drawn.part] + drawn.offsets) * drawn.extent
    with torch.no_grad():
        drawn.feature_offsets.copy_(fine.feature_offsets[_nearest(rest, drawn.part, fine)])
    return drawn


@torch.no_grad()
def drawn_from(
    maps: Float[Tensor, "a d d d"], like: AnchoredMixture, grid: Grid, config: Config
) -> AnchoredMixture:
    """A mixture with the parts, motions and networks of another, drawn from the parts' maps at rest."""
    whole = maps.clamp(min=0)
    level = max(float(bright_level(each)) for each in whole)
    kept = torch.where(whole > config.threshold * level, whole, 0)
    counts = _dealt(kept.sum((1, 2, 3)), config.fine.gaussians)
    generator = torch.Generator().manual_seed(config.seed + 6)
    points = torch.cat(
        [
            draw_centres(Volume(each, grid), count, 0.0, generator)
            for each, count in zip(kept, counts, strict=True)
            if count
        ]
    )
    part = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    torch.manual_seed(config.seed + 7)
    drawn = empty_mixture(like.anchors, like.arguments["latent"], grid, config)
    drawn.load_state_dict({**drawn.state_dict(), **_shared(like)})
    drawn.part.copy_(part)
    drawn.offsets.copy_(points / like.extent - drawn.anchor_centres[part])
    return started(drawn, Volume(kept.sum(0), grid), points, config.fine)


def _shared(fine: AnchoredMixture) -> dict[str, Tensor]:
    """What two mixtures of the same parts have in common, whatever their Gaussians."""
    kept = ("anchor_", "motion.", "occupancy.", "displacement.")
    return {name: value for name, value in fine.state_dict().items() if name.startswith(kept)}


def _nearest(points: Tensor, part: Tensor, fine: AnchoredMixture) -> Int[Tensor, "n"]:
    """The old Gaussian of its own part that is nearest to each point (Å) at rest."""
    rest = fine.resting()
    found = torch.zeros_like(part)
    for each in part.unique():
        member = torch.nonzero(fine.part == each)[:, 0]
        here = part == each
        found[here] = nearest_part(points[here], rest.centres[member], member)
    return found


def _dealt(mass: Tensor, total: int) -> list[int]:
    """A total dealt out by mass; what rounding leaves goes to the heaviest."""
    counts = (mass / mass.sum() * total).round().long()
    counts[mass.argmax()] += total - counts.sum()
    return counts.tolist()


def _descended_without(
    still: tuple[nn.Module | nn.Parameter, ...],
    fine: AnchoredMixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    how: tuple[Run, int],
) -> None:
    """A descent of so many epochs in which some of a mixture does not learn."""
    (stack, low), (stage, epochs) = seen, how
    _let_learn(still, False)
    descent = DescentConfig(epochs=epochs, batch_size=config.fine_descent.batch_size, seed=config.seed)
    descend(BandObjective(fine, latents, low, config).brightened(), stack, descent, stage)
    _let_learn(still, True)


def _let_learn(some: tuple[nn.Module | nn.Parameter, ...], learn: bool) -> None:
    for each in some:
        each.requires_grad_(learn)

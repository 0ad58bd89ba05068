"""Descents of a mixture and its networks, and latents solved for in between, in turn."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.progress import tell
from morphem.engine.run import Run
from morphem.inference.latents import Mixture, Prior, Scene, Solved, solve_latents
from morphem.inference.passes import remembered
from morphem.methods.cryospire.objectives import BandObjective
from morphem.methods.cryospire.settings import Config
from morphem.models.table import ParticleTable

_ASKED = 1000  # particles that tell whether all are worth solving for once more


def alternated(
    density: Mixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    how: tuple[DescentConfig, Run, str],
    told: Solved | None = None,
) -> Solved | None:
    """A descent, then latents and a descent in turn, for as long as images become much likelier by it.

    The last is a descent: at latents that stay, a mixture comes to show the mean of what their images show.
    Solved for in it once more, they would stand further out than that mean.

    Latents that are known, or that a search told, stay as they are through two descents.

    Args:
        density: The mixture.
        latents: Where what is found goes.
        seen: The particles and their images.
        config: Of the method.
        how: To descend, the run, and what stages are called.
        told: What a search told of the latents.
    """
    (stack, scene), (descent, run, name) = seen, how
    _descended(density, latents, seen, config, (descent, run.stage(f"{name}-1")))
    rounds = 1 if told is not None or config.known_latents is not None else config.solving.rounds
    solved, prior = None, scene.prior
    for number in range(1, rounds + 1):
        if solved is not None:
            stage = run.stage(f"{name}-{number}-gain")
            gain = _gain(density, latents, scene, (solved, prior), config, stage)
            tell(run.root, name, f"images tell {gain:.1%} more than when latents were solved for")
            if gain < config.solving.gain:
                break
        again, prior = replace(descent, seed=descent.seed + number), scene.prior
        stages = run.stage(f"{name}-{number}-latents"), run.stage(f"{name}-{number + 1}")
        solved = resumed(density, latents, (stack, scene), config, (again, *stages), told)
        scene = known_from(scene, solved, told)
    return solved


def resumed(
    density: Mixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    how: tuple[DescentConfig, Run, Run],
    told: Solved | None = None,
) -> Solved | None:
    """Latents, unless they are known or were told, and a descent at them; as :func:`alternated`.

    From the second time on, what is known of a latent beforehand is how the first ones were spread.

    Args:
        density: The mixture.
        latents: Where what is found goes.
        seen: The particles and their images.
        config: Of the method.
        how: To descend, and the stages of latents and descent.
        told: What a search told of the latents.
    """
    (stack, scene), (descent, asked, stage) = seen, how
    solved = None
    if config.known_latents is None:
        solved = solved_once(density, latents, scene, config, asked, told)
    scene = known_from(scene, solved, told)
    if scene.sound is not None and not scene.sound.all():
        empty = int((~scene.sound).sum())
        text = f"{empty:,} likelier hold nothing than the molecule: mixtures are made without them"
        tell(asked.root, "images", text)
    _descended(density, latents, (stack, scene), config, (descent, stage))
    return solved


def known_from(scene: Scene, solved: Solved | None, told: Solved | None = None) -> Scene:
    """The images with what their latents tell of them, unless these were known or a search told them."""
    return scene if solved is None or told is not None else scene.known_from(solved)


def solved_once(
    density: Mixture,
    latents: ParticleTable,
    scene: Scene,
    config: Config,
    run: Run,
    told: Solved | None = None,
) -> Solved:
    """Latents in a mixture that stays as it is, once a run; or those that were told. The table takes them."""
    how = config.solving.latents

    def found() -> dict[str, Tensor]:
        return dict(vars(told or solve_latents(density, latents.rows, scene, how, run)))

    solved = Solved(**remembered(run, {"limit": scene.limit}, found))
    latents.rows.copy_(solved.mean)
    return solved


def last_solved(run: Run, name: str) -> Run:
    """The stage that held the last latents of a mixture whose stages are called ``name``."""
    number = 1
    while run.stage(f"{name}-{number + 1}-latents").finished:
        number += 1
    return run.stage(f"{name}-{number}-latents")


def _gain(
    density: Mixture,
    latents: ParticleTable,
    scene: Scene,
    before: tuple[Solved, Prior],
    config: Config,
    run: Run,
) -> float:
    """By what share some sound particles' images tell more than when all latents were solved for."""
    solved, prior = before
    sound = torch.nonzero(solved.sound())[:, 0]
    some = sound[:: -(-len(sound) // _ASKED)]
    fit = _fit(solved[some], prior)

    def found() -> dict[str, Tensor]:
        start = latents.rows[some]
        now = solve_latents(density, start, scene.of(some), config.solving.latents, run, start)
        return {"gain": (_fit(now, scene.prior) - fit).mean() / fit.mean().clamp(min=1)}

    return float(remembered(run, {"limit": scene.limit}, found)["gain"])


def _fit(solved: Solved, prior: Prior) -> Float[Tensor, "p"]:
    """Log-likelihood of each particle's images at its latent, without what was known before."""
    return solved.score - prior.log(solved.mean)


def _descended(
    density: Mixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    how: tuple[DescentConfig, Run],
) -> None:
    goal = BandObjective(density, latents, seen[1], config).brightened()
    descend(goal, seen[0], *how)

"""CryoSPIRE with exact latents: short descents of mixture and networks, all latents solved for in between."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.data.stack import ParticleStack
from morphem.engine.descend import descend
from morphem.engine.half_maps import HalfMaps
from morphem.engine.insertion import background_noise
from morphem.engine.parts import write_parts
from morphem.engine.reconstruction import Reconstruction, write_spread
from morphem.engine.run import Run
from morphem.inference.latents import Prior, Scene, Solved, solve_latents, weak_prior
from morphem.inference.passes import remembered
from morphem.inference.store import collect
from morphem.inference.templates import working_grid
from morphem.methods.cryospire.alternating import alternated, known_from, last_solved, resumed, solved_once
from morphem.methods.cryospire.choosing import likeliest_frames
from morphem.methods.cryospire.embedding import spread_anew, told_by_maps
from morphem.methods.cryospire.holding import body_still
from morphem.methods.cryospire.objectives import BandObjective
from morphem.methods.cryospire.published import consensus, posed_in, sight
from morphem.methods.cryospire.redrawing import settled
from morphem.methods.cryospire.refocusing import refocused_in
from morphem.methods.cryospire.searching import Climbed, Found, latents_of, loose_mixture, searched_part
from morphem.methods.cryospire.settings import Config
from morphem.methods.cryospire.starting import (
    initial_latents,
    initial_parts,
    seen_bodies,
    sized,
    start_map,
)
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.table import ParticleTable

_PROTOTYPES = 256  # that new images are compared with


def reconstruct_by_solving(stack: ParticleStack, config: Config, run: Run) -> Reconstruction:
    """Parts from a coarse mixture at low resolution, then a fine one; latents exact after each round.

    Poses that were found from the images followed what moves. The first mixture, however poor, tells them
    from its parts; at what they are then, all begins anew.
    """
    config = config.seen_by(stack)
    before = replace(config, defocus_rounds=0)
    for number in range(1, config.beginnings_of(stack)):
        stack = solved_whole(stack, before, run.stage(f"before-{number}"))[0]
    stack, fine, held, solved = solved_whole(stack, config, run)
    if solved is not None:
        write_spread(run.root, solved.covariance)
    fine.body.copy_(seen_bodies(fine, held.rows, config))
    write_parts(fine, held.rows, stack.grid, run.root)
    defocus = stack.optics.defoci if config.defocus_rounds else None
    record = run.history(), run.provenance()
    return Reconstruction(stack.poses, held.rows, fine, stack.grid, *record, defocus)


def solved_whole(
    stack: ParticleStack, config: Config, run: Run
) -> tuple[ParticleStack, AnchoredMixture, ParticleTable, Solved | None]:
    """The particles with what was corrected of them, the fine mixture, and latents as they were found."""
    maps = consensus(stack, config, run)
    latents, start = initial_latents(stack.n_particles, config), start_map(maps, config)
    config = sized(config, start)
    scene = scene_of(stack, maps, latents.rows.shape[1], config, run)
    coarse = initial_parts(start, replace(config, latent=latents.rows.shape[1]))
    low = replace(scene, limit=min(config.solving.parts_limit, scene.limit))
    # drawn from posteriors that are still as wide as all latents, latents would stay there
    exact = replace(config, solving=replace(config.solving, fine_latents="likeliest"))
    found = alternated(coarse, latents, (stack, low), exact, (config.parts_descent, run, "parts"))
    scene = replace(known_from(scene, found), posterior=None)  # latents are told anew
    held = ParticleTable(latents.rows, 0.0)
    climbed = None if found is None else Climbed(held.rows, found, scene.prior)
    if config.solving.rigid_epochs and climbed is not None:
        seen = stack, replace(scene, limit=low.limit)
        coarse, prior = told_anew(coarse, (held, climbed), maps, seen, config, run)
        scene = replace(scene, prior=prior)
    low = replace(scene, limit=low.limit)
    # all that they may still lose is noise: they stay while the fine mixture descends, and no start but
    # their own is worth its price
    near = replace(config.solving, latents=replace(config.solving.latents, restarts=0))
    fine, told = begun(coarse, (held.rows, climbed), (stack, low, scene), config, run)
    held = held if told is None else ParticleTable(told.mean, 0.0)
    fine = settled(fine, held, (stack, low, scene), config, run)
    config = replace(config, solving=near)
    solved = alternated(fine, held, (stack, scene), config, (config.fine_descent, run, "fine"), told)
    stack, solved = corrected(fine, held, (stack, scene), (maps, solved, told), config, run)
    return stack, fine, held, solved


def corrected(
    fine: AnchoredMixture,
    latents: ParticleTable,
    seen: tuple[ParticleStack, Scene],
    before: tuple[HalfMaps, Solved | None, Solved | None],
    config: Config,
    run: Run,
) -> tuple[ParticleStack, Solved | None]:
    """Poses, then defoci, made better in the fine mixture at each latent, and all else by them, in turn.

    Poses that were found from the images are first seen from the heaviest part. In the end latents are those
    in the mixture as it came to be, unless it descended at the likeliest: then they would stand further out
    than what it shows.
    """
    (stack, scene), (maps, solved, told) = seen, before
    if stack.poses_found:
        stack = body_still(fine, latents.rows, stack)
        scene = replace(scene, poses=stack.poses)
    rounds = [("posed", number) for number in range(1, config.rounds_of(stack) + 1)]
    rounds += [("focused", number) for number in range(1, config.defocus_rounds + 1)]
    for name, number in rounds:
        if name == "posed":
            fitted = BandObjective(fine, latents, scene, config)
            stack = posed_in(fitted, stack, sight(maps, config), run, number)
            scene = replace(scene, poses=stack.poses)
        else:
            stack, scene = refocused_in(fine, latents.rows, (stack, scene), run, number)
        stages = run.stage(f"{name}-{number}-latents"), run.stage(f"{name}-{number}")
        known = stack, known_from(scene, solved, told)
        solved = resumed(fine, latents, known, config, (config.pose_descent, *stages), told)
    if config.solving.fine_latents == "drawn" and solved is not None and told is None:
        solved = solved_once(fine, latents, known_from(scene, solved), config, run.stage("latents"))
    return stack, solved


def begun(
    coarse: PartMixture,
    known: tuple[Float[Tensor, "p z"], Climbed | None],
    seen: tuple[ParticleStack, Scene, Scene],
    config: Config,
    run: Run,
) -> tuple[AnchoredMixture, Solved | None]:
    """The fine mixture as it begins, and latents if not those it was given but a search told them.

    Args:
        coarse: Mixture that found the parts.
        known: Latents of all particles, and how they were climbed to, unless they were given.
        seen: The particles, their images to the coarse mixture's limit, and to the fine one's.
        config: Of the method.
        run: For stages and progress.
    """
    (stack, low, _), (rows, climbed), found = seen, known, None
    if config.solving.rigid_epochs and climbed is not None:
        found = searched_part(coarse, climbed, seen, config, run)
    if isinstance(found, Found):
        told = latents_of(found)
        return loose_mixture(found.loose, found.placed.places, told.mean, stack.grid, config), told
    return likeliest_frames(coarse, rows, (stack, low), config, run, found), None


def told_anew(
    coarse: PartMixture,
    known: tuple[ParticleTable, Climbed],
    maps: HalfMaps,
    seen: tuple[ParticleStack, Scene],
    config: Config,
    run: Run,
) -> tuple[PartMixture, Prior]:
    """A coarse mixture that begins when latents are known, and how these are spread.

    They go into the table by what particles look like in the mixture before. While latents were still being
    found, its Gaussians went wherever density was missing: each map is right, but no Gaussian stays with its
    part. From rest, with latents at hand, they move together.
    """
    (latents, climbed), (stack, scene) = known, seen
    sound, stage = torch.nonzero(climbed.solved.sound())[:, 0], run.stage("parts-told")
    grid = working_grid(stack.grid, min(config.solving.latents.limit, scene.limit))

    def told() -> dict[str, Tensor]:
        return {"rows": told_by_maps(coarse, latents.rows, sound, grid, stage)}

    latents.rows.copy_(remembered(stage, {"limit": scene.limit}, told)["rows"])
    coarse = initial_parts(start_map(maps, config), replace(config, latent=latents.rows.shape[1]))
    goal = BandObjective(coarse, latents, scene, config).brightened()
    descend(goal, stack, config.parts_descent, run.stage("parts-anew"))
    return coarse, spread_anew(latents.rows[sound], climbed.solved[sound])


def scene_of(stack: ParticleStack, maps: HalfMaps, width: int, config: Config, run: Run) -> Scene:
    """The images, to where the halves of their consensus agree."""
    by = sight(maps, config)
    store = collect(stack, by.limit, by.noise, run)
    # a penalty of squares summed over pixels, of which each has variance 1, is twice a log-probability
    prior = weak_prior(width, config.latent_penalty)
    return Scene(store, stack.poses, stack.particle, by.limit, config.solving.contrast_spread, prior)


def infer(stack: ParticleStack, source: Run, known: Reconstruction, config: Config, run: Run) -> Solved:
    """Latents of particles, at the poses given, in the mixture of a finished run, which stays as it is.

    They start from the mean of the run's latents and from the best of its prototypes, of which there are
    more than a run needs: no latent is there to go on from, and a search may have told those of the run.
    """
    density = known.density
    assert isinstance(density, AnchoredMixture)
    tensors, record = last_solved(source, "fine").load_result()
    limit, usual = record["identity"]["limit"], config.solving.contrast_spread
    tensors.setdefault("excess", torch.full_like(tensors["score"], usual**2))  # earlier versions assumed it
    white = torch.ones(stack.n_groups, stack.grid.half)
    noise = white if config.noise == "white" else background_noise(stack, torch.arange(len(stack)), run)
    store = collect(stack, limit, noise, run)
    prior, spread = Solved(**tensors).population(usual)
    scene = Scene(store, stack.poses, stack.particle, limit, spread, prior)
    start = known.latents.mean(0).expand(stack.n_particles, -1).contiguous()
    latents = config.solving.latents
    how = replace(latents, prototypes=max(_PROTOTYPES, latents.prototypes), restarts=max(1, latents.restarts))
    return solve_latents(density, start, scene, how, run, known.latents)

"""Descents and latents in turn: when they end, and with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig
from morphem.engine.run import Run, open_run
from morphem.inference.latents import LatentConfig, Scene, Solved, solve_latents, weak_prior
from morphem.inference.store import collect
from morphem.methods.cryospire.alternating import alternated, last_solved
from morphem.methods.cryospire.settings import Config, MixtureConfig, SolvingConfig
from morphem.methods.cryospire.starting import initial_parts
from morphem.models.gaussian_density import PartMixture
from morphem.models.table import ParticleTable
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

GRID, LIMIT = Grid(24, 10.0), 8
ONCE = DescentConfig(epochs=1, batch_size=25)
SMALL = Config(
    latent=2,
    features=4,
    parts=MixtureConfig(gaussians=48, scale=0.04, hidden=8, layers=3),
    solving=SolvingConfig(rounds=4, latents=LatentConfig(prototypes=4, first_steps=2, steps=1, limit=LIMIT)),
)


@pytest.fixture(scope="module")
def stack() -> ParticleStack:
    return simulate(hinge(), 100, GRID, 0, Conditions(snr=0.5))[0]


@pytest.fixture(scope="module")
def scene(stack: ParticleStack) -> Scene:
    store = collect(stack, LIMIT, torch.ones(1, GRID.half))
    return Scene(store, stack.poses, stack.particle, LIMIT, 0.0, weak_prior(2, 0.2))


def coarse() -> PartMixture:
    return initial_parts(hinge().map(torch.tensor([0.5, 1.0]), GRID), SMALL)


def rows() -> torch.Tensor:
    return 0.1 * torch.randn(100, 2, generator=torch.Generator().manual_seed(2))


def alternate(
    seen: tuple[ParticleStack, Scene], config: Config, folder: Path, told: Solved | None = None
) -> tuple[ParticleTable, Solved | None, Run]:
    run, latents = open_run(folder, config, seen[0]), ParticleTable(rows(), 0.0)
    found = alternated(coarse(), latents, seen, config, (ONCE, run, "parts"), told)
    return latents, found, run


def stages(run: Run) -> set[str]:
    return {path.name for path in (run.root / "stages").iterdir()}


@pytest.mark.parametrize(
    ("gain", "rounds", "solved", "asked"),
    [(1e3, 4, 1, 1), (0.0, 1, 1, 0), (0.0, 2, 2, 1)],
    ids=["too little gained", "no more rounds", "worth it once more"],
)
def test_a_descent_is_the_last_however_often_latents_are_solved_for(
    stack: ParticleStack, scene: Scene, tmp_path: Path, gain: float, rounds: int, solved: int, asked: int
):
    config = replace(SMALL, solving=replace(SMALL.solving, gain=gain, rounds=rounds))
    latents, found, run = alternate((stack, scene), config, tmp_path)
    expected = {f"parts-{number}-latents" for number in range(1, solved + 1)}
    expected |= {f"parts-{number}" for number in range(1, solved + 2)}
    assert stages(run) == expected | {f"parts-{number}-gain" for number in range(2, 2 + asked)}
    assert last_solved(run, "parts").name == f"parts-{solved}-latents"
    kept, _ = last_solved(run, "parts").load_result()
    assert found is not None
    assert torch.equal(latents.rows, found.mean)
    assert torch.equal(latents.rows, kept["mean"])


def test_latents_that_a_search_told_stay_through_two_descents(
    stack: ParticleStack, scene: Scene, tmp_path: Path
):
    told = solve_latents(coarse(), rows(), scene, SMALL.solving.latents, None)
    narrower = replace(scene, prior=weak_prior(1, 0.2))  # a search tells as many numbers as it takes
    latents, found, run = alternate((stack, narrower), SMALL, tmp_path, told)
    assert stages(run) == {"parts-1", "parts-1-latents", "parts-2"}
    assert found is not None
    assert torch.equal(latents.rows, told.mean)


def test_it_says_how_much_more_images_tell_and_no_other_than_the_mixture_gained_it(
    stack: ParticleStack, scene: Scene, tmp_path: Path
):
    config = replace(SMALL, solving=replace(SMALL.solving, rounds=2, gain=0.0))
    _, _, run = alternate((stack, scene), config, tmp_path)
    gain = float(run.stage("parts-2-gain").load_result()[0]["gain"])
    first, second = (Solved(**run.stage(f"parts-{number}-latents").load_result()[0]) for number in (1, 2))
    fit = [
        each.score - prior.log(each.mean)
        for each, prior in ((first, scene.prior), (second, scene.known_from(first).prior))
    ]
    # fewer than a thousand are asked all, and go on from where they are
    assert gain == pytest.approx(float((fit[1] - fit[0]).mean() / fit[0].mean()), abs=0.02)
    assert gain > 0
    assert f"images tell {gain:.1%} more" in (tmp_path / "log.txt").read_text()


def test_some_particles_of_a_scene_have_the_latents_that_they_have_among_all(
    stack: ParticleStack, scene: Scene
):
    how, start, some = replace(SMALL.solving.latents, restarts=0), rows(), torch.tensor([7, 3, 98])
    whole = solve_latents(coarse(), start, scene, how, None)
    part = solve_latents(coarse(), start[some], scene.of(some), how, None, start)
    torch.testing.assert_close(part.mean, whole.mean[some], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(part.score, whole.score[some], rtol=1e-4, atol=1e-3)

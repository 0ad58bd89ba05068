"""Latents of particles in a mixture that is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Linear

from accelerator import on_accelerator, on_device
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses
from morphem.inference.latents import (
    LatentConfig,
    Scene,
    Solved,
    population_prior,
    project_at_disc,
    prototypes,
    solve_latents,
    weak_prior,
)
from morphem.inference.search import ramps
from morphem.inference.store import Coefficients, Store, disc
from morphem.models.gaussian_density import PartMixture
from morphem.physics import gaussian_slopes
from static_molecule import optics_of

GRID, LIMIT, GAUSSIANS = Grid(24, 5.0), 9, 20
CLIMB = LatentConfig(restarts=0, first_steps=10)


def at_rest(latent: int, features: int) -> PartMixture:
    """Gaussians of some 10 Å here and there, every one with random features."""
    torch.manual_seed(0)
    made = PartMixture(GAUSSIANS, features, latent, (12, features, "products"), GRID.extent)
    with torch.no_grad():
        made.centres.normal_(std=0.11)
        made.features.normal_()
        made.log_scales.fill_(-2.6)
        made.amplitudes.uniform_(0.5, 1.5)
    return made


def curved(latent: int = 2) -> PartMixture:
    """All Gaussians move and fade by networks of random weights."""
    made = at_rest(latent, 4)
    with torch.no_grad():
        last_of(made.displacement).weight.normal_(std=0.12)
        last_of(made.occupancy).weight.normal_(std=2.0)
    return made


def last_of(network: torch.nn.Module) -> Linear:
    """What a network of products spreads over the Gaussians."""
    layer = network.get_submodule("trunk.4")
    assert isinstance(layer, Linear)
    return layer


def linear(reach: float) -> PartMixture:
    """Each Gaussian moves along x by its feature times the latent times ``reach`` (Å)."""
    made = at_rest(1, 1)
    with torch.no_grad():
        for parameter in made.displacement.parameters():
            parameter.zero_()
        # silu(x) − silu(−x) = x
        both = torch.tensor([1.0, -1.0])
        for name in ("branch.0", "trunk.0"):
            made.displacement.get_parameter(f"{name}.weight")[:2, 0] = both
        made.displacement.get_parameter("trunk.2.weight")[:2, :2] = torch.outer(both, both)
        made.displacement.get_parameter("branch.2.weight")[0, :2] = both
        made.displacement.get_parameter("trunk.4.weight")[0, :2] = both * reach / GRID.extent
    return made


def scene_of(
    density: PartMixture, z: Tensor, brightness: float, particle: Tensor | None = None, contrast: float = 1.0
) -> Scene:
    """Images of particles with those latents, their noise of a power that falls with frequency."""
    particle = torch.arange(len(z)) if particle is None else particle
    n, generator = len(particle), torch.Generator().manual_seed(1)
    with torch.no_grad():
        density.unit.fill_(brightness)
    poses = Poses(random_rotations(n, generator), 4 * torch.randn(n, 2, generator=generator))
    places, noise = disc(GRID, LIMIT), torch.linspace(2, 0.5, GRID.half)[None]
    nothing = torch.zeros(n, len(places.places), 2, dtype=torch.float16)
    store = Store(nothing, places, optics_of(n, generator), torch.zeros(n, dtype=torch.long), noise)
    scene = Scene(store, poses, particle, LIMIT, 0.0, weak_prior(z.shape[1], 1.0))
    rows = store.read(torch.arange(n), LIMIT)
    clean = contrast * expected(density, z[particle], scene, torch.arange(n), rows)
    grain = torch.randn(*clean.shape, 2, generator=generator) * 0.5**0.5
    seen = torch.view_as_real(clean.detach()) + grain
    deviation = noise[0].sqrt()[places.shells(LIMIT)]
    return replace(scene, store=replace(store, values=(seen * deviation[:, None]).half()))


def expected(density: PartMixture, z: Tensor, scene: Scene, rows: Tensor, images: Coefficients) -> Tensor:
    """Whitened coefficients of images of the latents."""
    poses = scene.poses[rows]
    model = project_at_disc(density, z, poses, scene.store, scene.limit)
    return model * images.transfer * ramps(scene.store.disc, scene.limit, poses.shift)


def solved_densely(there: bool) -> dict[str, np.ndarray]:
    """Latents from several starts, two images a particle, on the accelerator or here."""
    density, z = curved(), torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    scene = scene_of(density, z, 3.0, torch.arange(20).repeat(2))
    how = LatentConfig(prototypes=6, restarts=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian_slopes, "draws_windows", lambda device: False)
        found = solve_latents(density, z, scene, on_device(how) if there else how, None)
    assert density.centres.device == torch.device("cpu")
    return {name: value.numpy() for name, value in vars(found).items()}


def test_on_an_accelerator_latents_are_those_of_the_cpu():
    there, here = on_accelerator(solved_densely, True), solved_densely(False)
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, rtol=1e-3, atol=1e-4)


def log_posterior(density: PartMixture, z: Tensor, scene: Scene) -> Tensor:
    """Of each particle, whose images all have contrast 1; above that of images of nothing."""
    rows = torch.arange(len(scene.particle))
    images = scene.store.read(rows, scene.limit)
    residual = images.values - expected(density, z[scene.particle], scene, rows, images)
    gained = images.values.abs().square().sum(1) - residual.abs().square().sum(1)
    total = torch.zeros(len(z)).index_add(0, scene.particle, gained)
    return total + scene.prior.log(z)


def latents(count: int, width: int = 2) -> Tensor:
    """As the prior has them."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(2))


def near(z: Tensor, spread: float = 0.3) -> Tensor:
    return z + spread * torch.randn(z.shape, generator=torch.Generator().manual_seed(3))


def standardised(found: Solved, z: Tensor) -> Tensor:
    """Errors in units of what the posterior says."""
    root = torch.linalg.cholesky(found.covariance)
    return torch.linalg.solve_triangular(root, (found.mean - z)[..., None], upper=False)[..., 0]


def test_errors_are_as_large_as_the_posterior_says():
    density, z = curved(), latents(100)
    scene = scene_of(density, z, 10.0)
    found = solve_latents(density, near(z), scene, CLIMB, None)
    errors = standardised(found, z)
    assert float(found.covariance.diagonal(dim1=1, dim2=2).sqrt().median()) < 0.3
    # 200 numbers of unit spread: 1 ± 0.05, and more where the mixture is not quite linear
    assert 0.8 < float(errors.std()) < 1.3
    assert float(errors.abs().max()) < 6
    assert float((found.mean - z).norm()) < 0.7 * float((near(z) - z).norm())


def test_no_latent_is_likelier_nearby():
    density, z = curved(), latents(60)
    scene = scene_of(density, z, 10.0)
    found = solve_latents(density, near(z), scene, CLIMB, None)
    deviation = found.covariance.diagonal(dim1=1, dim2=2).sqrt()
    with torch.no_grad():
        torch.testing.assert_close(
            found.score, log_posterior(density, found.mean, scene), rtol=1e-4, atol=0.05
        )
        for way in (0.5, -0.5):
            for k in range(2):
                moved = found.mean.clone()
                moved[:, k] += way * deviation[:, k]
                assert bool((log_posterior(density, moved, scene) < found.score + 0.05).all())


def test_a_particle_in_the_wrong_cluster_is_only_found_from_another_start():
    density = linear(15.0)
    z = torch.cat([torch.full((30, 1), -2.0), torch.full((30, 1), 2.0)]) + 0.2 * latents(60, 1)
    scene = replace(scene_of(density, z, 3.0), prior=weak_prior(z.shape[1], 0.1))
    start = z.clone()
    start[[3, 40]] *= -1
    stuck = solve_latents(density, start, scene, CLIMB, None)
    config = LatentConfig(prototypes=4, restarts=2, first_steps=4, steps=4, limit=LIMIT)
    found = solve_latents(density, start, scene, config, None)
    assert float((stuck.mean - z)[[3, 40]].abs().min()) > 1
    assert float((found.mean - z).abs().max()) < 0.5
    assert bool((found.score >= stuck.score - 0.1).all())


def test_images_of_one_particle_are_judged_together():
    density, z = curved(), latents(40)
    shared = scene_of(density, z, 6.0, torch.arange(120) % 40)
    found = solve_latents(density, near(z), shared, CLIMB, None)
    alone = replace(
        shared,
        store=replace(
            shared.store,
            values=shared.store.values[:40],
            optics=shared.store.optics[:40],
            group=shared.store.group[:40],
        ),
        poses=shared.poses[:40],
        particle=shared.particle[:40],
    )
    single = solve_latents(density, near(z), alone, CLIMB, None)
    assert float((torch.linalg.det(found.covariance) / torch.linalg.det(single.covariance)).median()) < 0.5
    assert float((found.mean - z).norm()) < float((single.mean - z).norm())
    mean = found.mean.clone().requires_grad_()
    total = log_posterior(density, mean, shared)
    torch.testing.assert_close(found.score, total.detach(), rtol=1e-4, atol=0.05)
    (slope,) = torch.autograd.grad(total.sum(), mean)
    # at the top of the sum, no Newton step is worth taking, by the standard deviation
    step = (found.covariance @ slope[..., None])[..., 0]
    deviation = found.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert float((step / deviation).abs().median()) < 0.02
    assert 0.7 < float(standardised(found, z).std()) < 1.4


def test_the_contrast_is_found_where_it_may_differ():
    density, z = curved(), latents(60)
    scene = scene_of(density, z, 10.0, contrast=1.3)
    free = solve_latents(density, near(z), replace(scene, contrast_spread=0.3), CLIMB, None)
    assert float(free.contrast.mean()) == pytest.approx(1.3, abs=0.03)
    assert float(free.contrast.std()) < 0.15
    held = solve_latents(density, near(z), scene, CLIMB, None)
    assert bool((held.contrast == 1).all())
    assert float((free.mean - z).norm()) < float((held.mean - z).norm())


def test_images_of_nothing_are_told_and_left_out_where_others_tell_enough():
    generator = torch.Generator().manual_seed(5)
    density, z = linear(4.0), torch.randn(60, 1, generator=generator)
    for brightness, told in ((60.0, True), (1.0, False)):
        scene = scene_of(density, z, brightness)
        empty, values = torch.arange(60) % 5 == 0, scene.store.values.clone()
        deviation = scene.store.noise[0].sqrt()[scene.store.disc.shells(LIMIT)]
        noise = torch.randn(12, *values.shape[1:], generator=generator) * 0.5**0.5
        values[empty] = (noise * deviation[:, None]).half()
        scene = replace(scene, store=replace(scene.store, values=values), contrast_spread=0.2)
        solved = solve_latents(density, torch.zeros(60, 1), scene, LatentConfig(restarts=0), None)
        known = scene.known_from(solved)
        assert known.sound is not None
        assert torch.equal(known.sound, ~empty if told else torch.ones(60, dtype=torch.bool))
        assert torch.equal(known.sound_ones(torch.arange(7)), torch.arange(7)[known.sound[:7]])
        expected = population_prior(solved[known.sound])
        torch.testing.assert_close(known.prior.precision, expected.precision)


def test_what_a_posterior_leaves_open_is_known_of_each_particle():
    density, z = curved(), latents(20)
    scene = scene_of(density, z, 10.0)
    assert scene.posterior is None
    solved = solve_latents(density, near(z), scene, CLIMB, None)
    some = torch.tensor([11, 2, 7])
    for known, kept in ((scene.known_from(solved), slice(None)), (scene.known_from(solved).of(some), some)):
        assert known.posterior is not None
        torch.testing.assert_close(known.posterior @ known.posterior.mT, solved.covariance[kept])


@pytest.mark.parametrize(("true", "told"), [(0.0, 0.02), (0.1, 0.1), (0.3, 0.3)])
def test_how_much_contrasts_differ_is_learned(true: float, told: float):
    density, z = linear(4.0), torch.zeros(400, 1)
    factor = 1 + true * torch.randn(400, 1, 1, generator=torch.Generator().manual_seed(6))
    nothing, plain = (scene_of(density, z, brightness) for brightness in (0.0, 60.0))
    grain = nothing.store.values.float()
    values = (plain.store.values.float() - grain) * factor + grain
    scene = replace(plain, store=replace(plain.store, values=values.half()), contrast_spread=0.2)
    solved = solve_latents(density, z, scene, LatentConfig(restarts=0), None)
    found = scene.known_from(solved).contrast_spread
    assert found == pytest.approx(told, abs=0.02)
    assert replace(scene, contrast_spread=0.0).known_from(solved).contrast_spread == 0


def test_each_particle_is_solved_for_itself():
    density, z = curved(), latents(70)
    scene, start = scene_of(density, z, 10.0), near(z)
    found = solve_latents(density, start, scene, CLIMB, None)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(4))
    mixed = solve_latents(density, start[order], replace(scene, particle=order.argsort()), CLIMB, None)
    deviation = found.covariance.diagonal(dim1=1, dim2=2).sqrt()
    # the step of the differences is a share of the spread of all latents, which depends on their order in
    # its last bit
    assert float(((mixed.mean - found.mean[order]) / deviation[order]).abs().max()) < 1e-2
    rows = torch.arange(10)
    store = scene.store
    few = replace(store, values=store.values[:10], optics=store.optics[:10], group=store.group[:10])
    subset = replace(scene, store=few, poses=scene.poses[:10], particle=rows)
    part = solve_latents(density, start[:10], subset, CLIMB, None)
    assert float(((part.mean - found.mean[:10]) / deviation[:10]).abs().max()) < 0.05
    torch.testing.assert_close(part.score, found.score[:10], rtol=1e-4, atol=1e-2)


def test_a_scene_coarser_than_prototypes_are_compared_at_limits_them():
    density, z = curved(), latents(50)
    scene = replace(scene_of(density, z, 10.0), limit=6)
    found = solve_latents(density, near(z), scene, LatentConfig(prototypes=4, limit=8), None)
    assert bool(found.mean.isfinite().all())


def test_prototypes_are_no_more_than_there_are_latents():
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert len(prototypes(rows, 5)) == 2
    found = prototypes(torch.cat([rows - 10, rows + 10]), 2)
    torch.testing.assert_close(found.sort(0).values, torch.tensor([[-28 / 3, -10], [32 / 3, 10]]))


@pytest.mark.parametrize(
    "wrong", [{"restarts": 33}, {"restarts": -1}, {"first_steps": 0}, {"steps": -1}, {"prototypes": 0}]
)
def test_numbers_of_starts_and_steps_that_make_no_sense_are_refused(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="restarts are some of the prototypes"):
        LatentConfig(**wrong)


def test_the_prior_of_a_population_is_its_own_spread():
    generator = torch.Generator().manual_seed(0)
    mean, noise = torch.tensor([1.0, -2.0]), torch.tensor([0.3, 0.9])
    true = mean + torch.randn(20_000, 2, generator=generator) * torch.tensor([2.0, 0.5])
    seen = true + noise * torch.randn(20_000, 2, generator=generator)
    # posterior means and covariances of normal latents seen with normal noise
    gain = torch.tensor([4.0, 0.25]) / (torch.tensor([4.0, 0.25]) + noise.square())
    covariance = torch.diag(gain * noise.square()).expand(20_000, 2, 2)
    nothing = torch.zeros(20_000)
    solved = Solved(mean + gain * (seen - mean), covariance, nothing, nothing + 1, nothing)
    prior = population_prior(solved)
    torch.testing.assert_close(prior.mean, mean, atol=0.05, rtol=0)
    torch.testing.assert_close(prior.precision, torch.diag(torch.tensor([0.25, 4.0])), atol=0.1, rtol=0.05)
    assert float(prior.log(mean[None])) == pytest.approx(0, abs=1e-2)

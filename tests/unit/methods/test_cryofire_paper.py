"""CryoFIRE as published."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.fourier import half_plane_weights, to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector, random_rotations
from morphem.core.types import GaussianMixture, Optics, Particles
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run, open_run
from morphem.methods.cryofire import paper
from morphem.methods.cryofire.paper import (
    AmortisedObjective,
    Autoencoder,
    Guesses,
    PaperConfig,
    infer,
    mean_latents,
    planar_symmetry,
    reconstruct_paper,
    report_symmetry,
    trained,
)
from morphem.physics.gaussians import gaussian_slices, project_gaussians, rasterise
from morphem.physics.hartley import half_turn, half_turn_rotation
from morphem.physics.imaging import form_image

GRID = Grid(32, 6.0)
IMAGES = 48
SMALL = PaperConfig(
    latent=2,
    pose_epochs=1,
    joint_epochs=2,
    batch_size=20,
    learning_rate=1e-3,
    hidden=16,
    layers=1,
    device="cpu",
)


def _blobs(count: int = 5, seed: int = 0) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    centres = 25 * torch.randn(count, 3, generator=generator)  # Å
    return GaussianMixture(centres, torch.full((count,), 10.0), 0.5 + torch.rand(count, generator=generator))


def _optics(n: int) -> Optics:
    one, defocus = torch.ones(n), torch.linspace(8_000, 16_000, n)  # Å
    return Optics(defocus, defocus, 0 * one, 300 * one, 2.7 * one, 0.1 * one, 0 * one, 0 * one, one)


@pytest.fixture(scope="module")
def stack() -> ParticleStack:
    generator = torch.Generator().manual_seed(0)
    rotation, shift = random_rotations(IMAGES, generator), 3 * torch.randn(IMAGES, 2, generator=generator)
    clean = project_gaussians(_blobs(), rotation, GRID)
    clean = to_real(form_image(to_fourier(clean), _optics(IMAGES), shift, GRID))
    images = clean / clean.std() + torch.randn(clean.shape, generator=generator)
    return stack_in_memory(images, GRID, _optics(IMAGES))


@pytest.fixture(scope="module")
def batch(stack: ParticleStack) -> Particles:
    return stack.read(torch.arange(8))


@pytest.fixture
def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(GRID, SMALL)


def _run(stack: ParticleStack, folder: Path, config: PaperConfig = SMALL) -> tuple[Reconstruction, Run]:
    run = open_run(folder, config, stack)
    return reconstruct_paper(stack, config, run), run


@pytest.fixture(scope="module")
def finished(stack: ParticleStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reconstruction, Run]:
    return _run(stack, tmp_path_factory.mktemp("paper"))


def _turned(batch: Particles) -> Particles:
    return replace(batch, images=half_turn(batch.images))


def test_the_symmetric_loss_is_the_same_for_images_rotated_by_half_a_turn(
    autoencoder: Autoencoder, batch: Particles
):
    objective = AmortisedObjective(autoencoder, SMALL)
    here, there = (objective.terms(images, 0)["image"] for images in (batch, _turned(batch)))
    torch.testing.assert_close(here, there)
    lopsided = Autoencoder(GRID, replace(SMALL, symmetric=False))
    objective = AmortisedObjective(lopsided, lopsided.config)
    here, there = (objective.terms(images, 0)["image"] for images in (batch, _turned(batch)))
    assert abs(here - there) > 1e-6


def test_an_image_rotated_by_half_a_turn_has_the_turned_pose(autoencoder: Autoencoder, batch: Particles):
    autoencoder.eval()
    with torch.no_grad():
        here, there = (autoencoder.best(images, 16) for images in (batch, _turned(batch)))
    torch.testing.assert_close(there.rotation, half_turn_rotation(here.rotation), rtol=0, atol=1e-4)
    torch.testing.assert_close(there.shift, -here.shift, rtol=0, atol=1e-3)
    torch.testing.assert_close(there.latent, here.latent, rtol=0, atol=1e-4)


def test_the_loss_and_its_gradient_are_the_smaller_of_the_published_two(
    autoencoder: Autoencoder, batch: Particles
):
    """Written as published: the rotated image beside the rotated reconstruction."""
    objective, n = AmortisedObjective(autoencoder, SMALL), len(batch)
    parameters = [p for p in autoencoder.parameters() if p.requires_grad]
    found = torch.autograd.grad(objective.terms(batch, 0)["image"], parameters, allow_unused=True)
    both = autoencoder.guesses(batch.images)
    upright = autoencoder.errors(both[:n], batch, 16)
    own = replace(both[n:], rotation=half_turn_rotation(both.rotation[n:]), shift=-both.shift[n:])
    turned = autoencoder.errors(own, _turned(batch), 16)
    published = torch.autograd.grad(torch.minimum(upright, turned).mean(), parameters, allow_unused=True)
    for mine, theirs in zip(found, published, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    assert 0 < (turned < upright).sum() < n  # both occur


def test_the_true_model_leaves_one_in_units_of_the_noise(autoencoder: Autoencoder):
    generator = torch.Generator().manual_seed(1)
    rotation, shift, optics = (
        random_rotations(64, generator),
        torch.randn(64, 2, generator=generator),
        _optics(64),
    )
    bright = replace(_blobs(), amplitudes=5 * _blobs().amplitudes)
    clean = form_image(gaussian_slices(bright, rotation, GRID), optics, shift, GRID)
    images = to_real(clean) + torch.randn(64, 32, 32, generator=generator)
    batch = stack_in_memory(images, GRID, optics).read(torch.arange(64))

    class Exact(torch.nn.Module):
        def slices(self, z: object, rotation: torch.Tensor, grid: Grid, radius: float) -> torch.Tensor:
            return gaussian_slices(bright, rotation, grid)

    autoencoder.density = Exact()
    truth = Guesses(rotation, shift, torch.zeros(64, 2), torch.zeros(64))
    for radius in (6, 16):
        # its spread over 64 images of more than a hundred coefficients
        assert autoencoder.errors(truth, batch, radius).mean() == pytest.approx(1, abs=0.05)
    moved = replace(truth, shift=shift + GRID.pixel_size)
    assert autoencoder.errors(moved, batch, 6).mean() > 1.1


def test_shells_beyond_the_radius_do_not_count(autoencoder: Autoencoder, batch: Particles):
    guesses = autoencoder.eval().guesses(batch.images)[: len(batch)]
    noisy = to_fourier(batch.images) + 100 * (GRID.shells() >= 6) * half_plane_weights(32)
    other = replace(batch, images=to_real(noisy))
    here, there = (autoencoder.errors(guesses, images, 6) for images in (batch, other))
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_the_radius_grows_to_all_shells_over_the_first_stage(autoencoder: Autoencoder):
    config = replace(SMALL, first_radius=4)
    drawn = AmortisedObjective(autoencoder, config, drawn=1000)
    assert [drawn.radius(seen) for seen in (0, 500, 999, 2000)] == [4, 10, 16, 16]
    assert AmortisedObjective(autoencoder, config).radius(0) == 16
    assert AmortisedObjective(autoencoder, SMALL, drawn=1000).radius(0) == 16


def test_the_latents_network_rests_while_latents_are_drawn(autoencoder: Autoencoder, batch: Particles):
    objective = AmortisedObjective(autoencoder, SMALL, drawn=100)
    held = {id(p) for group in objective.parameter_groups() for p in group["params"]}  # type: ignore[union-attr]
    network = list(autoencoder.conformation.parameters())
    assert not any(id(p) in held for p in network)
    objective.terms(batch, 0)["image"].backward()
    assert all(p.grad is None for p in network)
    joint = AmortisedObjective(autoencoder, SMALL)
    held = {id(p) for group in joint.parameter_groups() for p in group["params"]}  # type: ignore[union-attr]
    assert held == {id(p) for p in autoencoder.parameters()}


def test_mixed_precision_trains_every_network_in_about_the_same_direction(
    autoencoder: Autoencoder, batch: Particles, monkeypatch: pytest.MonkeyPatch
):
    objective, parameters = AmortisedObjective(autoencoder, SMALL), list(autoencoder.parameters())

    def direction() -> torch.Tensor:
        gradients = torch.autograd.grad(objective.terms(batch, 0)["image"], parameters, allow_unused=True)
        present = [g.flatten() for g in gradients if g is not None]
        assert len(present) == len(gradients)
        return torch.cat(present)

    exact = direction()
    monkeypatch.setattr(paper, "MIXED_PRECISION", ("cpu",))
    assert torch.cosine_similarity(direction(), exact, dim=0) > 0.9  # near ties may go the other way


def test_a_distribution_of_latents_pays_for_its_divergence(batch: Particles):
    config = replace(SMALL, variational=True)
    autoencoder = Autoencoder(GRID, config)
    head = autoencoder.conformation.network[-1]
    assert isinstance(head, torch.nn.Linear)
    torch.nn.init.zeros_(head.weight)
    mean, log_variance = torch.tensor([1.0, -0.5]), torch.tensor([0.3, -1.0])
    head.bias.data = torch.cat([mean, log_variance])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)
    ).sum()
    terms = AmortisedObjective(autoencoder, config).terms(batch, 0)
    torch.testing.assert_close(terms["kl"], 2 * expected / (torch.pi * 16**2))
    draws = autoencoder.guesses(batch.images.repeat(20, 1, 1)).latent
    torch.testing.assert_close(draws.std(0), (log_variance / 2).exp(), rtol=0.15, atol=0)
    latent = autoencoder.eval().guesses(batch.images).latent
    torch.testing.assert_close(latent, mean.expand_as(latent))


def test_the_last_batch_may_hold_one_image(stack: ParticleStack):
    for symmetric in (True, False):
        config = replace(SMALL, symmetric=symmetric)
        term = AmortisedObjective(Autoencoder(GRID, config), config).terms(stack.read(torch.tensor([3])), 0)
        assert term["image"].isfinite()


def test_a_run_gives_poses_latents_and_a_map(finished: tuple[Reconstruction, Run], stack: ParticleStack):
    found, run = finished
    assert found.poses.rotation.shape == (IMAGES, 3, 3)
    assert found.poses.shift.abs().max() <= GRID.extent / 10
    assert found.latents.shape == (IMAGES, 2)
    assert found.latents.std(0).min() > 0
    assert found.mean().voxels.isfinite().all()
    assert set(run.history()) == {"poses", "joint"}
    assert 0 <= found.provenance["planar_symmetry"] <= 1


def test_training_lowers_the_loss(finished: tuple[Reconstruction, Run]):
    history = finished[1].history()
    assert history["joint"][-1]["image"] < history["poses"][0]["image"]


def test_the_trained_encoder_can_be_asked_again(finished: tuple[Reconstruction, Run], stack: ParticleStack):
    found, run = finished
    objective = trained(GRID, SMALL, run)
    rows = torch.tensor([40, 3, 17])
    poses, latents = infer(objective, stack.select(rows), "cpu")
    torch.testing.assert_close(poses.rotation, found.poses.rotation[rows], rtol=0, atol=1e-4)
    torch.testing.assert_close(latents, found.latents[rows], rtol=0, atol=1e-4)
    assert objective.training
    with pytest.raises(ValueError, match="resample"):
        infer(objective, replace(stack, grid=Grid(32, 5.0)), "cpu")


def test_what_was_found_comes_back_from_its_folder(
    finished: tuple[Reconstruction, Run], stack: ParticleStack, tmp_path: Path
):
    found, _ = finished
    found.save(tmp_path, stack)
    loaded = Reconstruction.load(tmp_path)
    torch.testing.assert_close(loaded.mean().voxels, found.mean().voxels)
    assert loaded.provenance["planar_symmetry"] == found.provenance["planar_symmetry"]


@pytest.mark.parametrize("reads", [2, 7])  # of 3 in the first stage and 6 in the second
def test_an_interrupted_run_goes_on_bit_for_bit(
    finished: tuple[Reconstruction, Run],
    stack: ParticleStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reads: int,
):
    steps, terms = [0], AmortisedObjective.terms

    def counted(self: AmortisedObjective, batch: Particles, seen: int) -> dict[str, torch.Tensor]:
        steps[0] += 1
        if steps[0] > reads:
            raise KeyboardInterrupt
        return terms(self, batch, seen)

    with monkeypatch.context() as patch:
        patch.setattr(AmortisedObjective, "terms", counted)
        with pytest.raises(KeyboardInterrupt):
            _run(stack, tmp_path)
    again, _ = _run(stack, tmp_path)
    assert torch.equal(again.poses.rotation, finished[0].poses.rotation)
    assert torch.equal(again.latents, finished[0].latents)
    assert torch.equal(again.mean().voxels, finished[0].mean().voxels)


def test_a_large_set_is_trained_on_a_share_of_its_images(stack: ParticleStack, tmp_path: Path):
    config = replace(SMALL, pose_epochs=0, joint_epochs=0, pose_images=30, joint_images=2 * IMAGES - 5)
    found, run = _run(stack, tmp_path, config)
    identity = run.stage("poses").load_result()[1]["identity"]
    assert identity["data"]["images"] == 30
    assert identity["descent"]["epochs"] == 1
    assert run.stage("joint").load_result()[1]["identity"]["descent"]["epochs"] == 2
    assert len(found.poses) == IMAGES


def test_the_images_of_a_particle_share_the_mean_of_their_latents():
    latents = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    means = mean_latents(latents, torch.tensor([1, 1, 0]))
    assert torch.equal(means, torch.tensor([[5.0, 5.0], [2.0, 1.0]]))


def _mirrored(mixture: GaussianMixture, share: float) -> GaussianMixture:
    """The mixture and a share of its reflection in a slanting plane off the origin."""
    normal = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, -0.8]), dim=0)
    reflected = mixture.centres - 2 * (mixture.centres @ normal)[:, None] * normal
    return GaussianMixture(
        torch.cat([mixture.centres, reflected]) + torch.tensor([7.0, -9.0, 4.0]),
        mixture.scales.repeat(2),
        torch.cat([mixture.amplitudes, share * mixture.amplitudes]),
    )


def test_a_map_that_is_its_own_mirror_image_is_told_from_one_that_is_not(caplog: pytest.LogCaptureFixture):
    lopsided, symmetric = _blobs(12), _mirrored(_blobs(12), 1.0)
    with caplog.at_level(logging.WARNING, logger="morphem"):
        assert report_symmetry(rasterise(lopsided, GRID)) < 0.75
        assert report_symmetry(rasterise(_mirrored(_blobs(12), 0.3), GRID)) < 0.85
        assert not caplog.records
        assert report_symmetry(rasterise(symmetric, GRID)) > 0.99
        assert "planar symmetry" in caplog.text


def test_the_likeness_does_not_depend_on_the_orientation():
    lopsided, rotation = _blobs(12), from_rotation_vector(torch.tensor([0.4, -0.9, 0.5]))
    turned = replace(lopsided, centres=lopsided.centres @ rotation.mT)
    here, there = (planar_symmetry(rasterise(mixture, GRID)) for mixture in (lopsided, turned))
    assert here == pytest.approx(there, abs=0.03)


@pytest.mark.parametrize(
    "wrong", [{"latent": 0}, {"pose_images": 0}, {"joint_epochs": -1}, {"largest_shift": -1.0}], ids=str
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SMALL, **wrong)

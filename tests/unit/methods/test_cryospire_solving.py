"""CryoSPIRE with latents that are solved for between short descents."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Particles, Poses
from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig
from morphem.engine.files import read_json, read_tensors, write_tensors
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run, open_run
from morphem.inference.latents import LatentConfig, Scene, weak_prior
from morphem.inference.store import collect
from morphem.methods import cryospire
from morphem.methods.cryospire.objectives import BandObjective, best_contrast, image_error
from morphem.methods.cryospire.settings import Config, MixtureConfig, SolvingConfig
from morphem.methods.cryospire.starting import seen_bodies
from morphem.models.anchors import AnchorConfig
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.table import ParticleTable
from morphem.report.api import run_method
from morphem.report.infer import infer
from morphem.report.options import Preparation
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions
from morphem.simulate.particles import simulate

GRID, LIMIT = Grid(24, 10.0), 8
ONCE = DescentConfig(epochs=1, batch_size=25)
SMALL = Config(
    latent=2,
    features=4,
    parts=MixtureConfig(gaussians=48, scale=0.04, hidden=8, layers=3),
    fine=MixtureConfig(gaussians=64, scale=0.03, hidden=8, layers=3),
    anchors=replace(Config().anchors, count=2),
    parts_descent=ONCE,
    fine_descent=ONCE,
    solving=SolvingConfig(
        rounds=1,
        latents=LatentConfig(prototypes=4, first_steps=1, steps=1, limit=LIMIT),
        parts_limit=LIMIT,
        contrast_spread=0.0,
    ),
)


@pytest.fixture(scope="module")
def stack() -> ParticleStack:
    return simulate(hinge(), 100, GRID, 0, Conditions(snr=0.5))[0]


@pytest.fixture(scope="module")
def scene(stack: ParticleStack) -> Scene:
    """The images to less than their store holds, their noise of a power that falls."""
    noise = torch.linspace(2, 0.5, GRID.half)[None]
    return Scene(
        collect(stack, LIMIT + 2, noise), stack.poses, stack.particle, LIMIT, 0.0, weak_prior(2, 0.2)
    )


def mixture(kind: str) -> PartMixture | AnchoredMixture:
    """Wide Gaussians, of which nothing is at rest."""
    torch.manual_seed(0)
    networks, extent = (8, 3, "products"), GRID.extent
    made = (
        PartMixture(20, 4, 2, networks, extent)
        if kind == "parts"
        else AnchoredMixture(20, 3, 4, 2, networks, extent)
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.1)
        made.log_scales.fill_(math.log(0.05))
        made.amplitudes.uniform_(8, 16)
        if isinstance(made, AnchoredMixture):
            made.part.copy_(torch.arange(20) % 3)
            made.anchor_features.normal_()
            made.motion.last.weight.mul_(0.2)  # what leaves the box is drawn differently on a coarser grid
    return made


def objective(kind: str, scene: Scene) -> BandObjective:
    rows = torch.randn(100, 2, generator=torch.Generator().manual_seed(1))
    return BandObjective(mixture(kind), ParticleTable(rows, 0.1), scene, SMALL)


def precision(scene: Scene) -> Tensor:
    """One over the noise power at the frequencies of a half plane that are within the limit."""
    radius = torch.fft.fftfreq(GRID.box, 1 / GRID.box)[:, None].square() + torch.arange(GRID.half).square()
    shell = radius.sqrt().round().long().clamp(max=GRID.half - 1)
    return ((radius <= LIMIT**2) / scene.store.noise[0, shell])[None]


def directly(made: BandObjective, batch: Particles, scene: Scene) -> Tensor:
    """The same misfit from whole images and projections on their own grid."""
    model = made.density.project(made.latents.rows[batch.particle], batch.poses.rotation, GRID)
    return image_error(model, batch, precision(scene))


@pytest.mark.parametrize("kind", ["parts", "anchors"])
def test_the_misfit_is_the_squared_residual_within_the_band(stack: ParticleStack, scene: Scene, kind: str):
    made, batch = objective(kind, scene), stack.read(torch.tensor([3, 1, 70, 71, 99]))
    with torch.no_grad():
        found = made.misfit(made.latents.rows[batch.particle], batch)
        expected = directly(made, batch, scene)
        unseen = torch.zeros(5, GRID.box, GRID.half, dtype=torch.complex64)
        nothing = image_error(unseen, batch, precision(scene))
    assert abs(float(expected - nothing)) > 0.1 * float(nothing)  # the model is seen
    # stored in half precision, drawn to four standard deviations on a coarser grid
    assert float(found) == pytest.approx(float(expected), rel=1e-3)
    # each pair of mates counts twice in a misfit, once in what it tells
    rows = batch.particle
    few = BandObjective(made.density, ParticleTable(made.latents.rows[rows], 0.0), scene.of(rows), SMALL)
    assert float(few.told().mean()) == pytest.approx(float(nothing - found) / 2, rel=1e-2)


def test_images_that_are_not_sound_have_no_say(stack: ParticleStack, scene: Scene):
    batch = stack.read(torch.tensor([3, 1, 70, 71, 99]))
    sound = torch.ones(100, dtype=torch.bool)
    sound[[1, 71, 5]] = False
    whole, kept = (objective("anchors", replace(scene, sound=which)) for which in (None, sound))
    with torch.no_grad():
        found = kept.misfit(kept.latents.rows[batch.particle], batch)
        each = [whole.misfit(whole.latents.rows[[n]], stack.read(torch.tensor([n]))) for n in (3, 70, 99)]
    torch.testing.assert_close(found, sum(each) / 5)


@pytest.mark.parametrize("drawn", [True, False])
def test_latents_are_drawn_from_their_posteriors_if_asked(stack: ParticleStack, scene: Scene, drawn: bool):
    rows, wide = torch.tensor([3, 1, 70, 71, 99]), torch.tensor([[0.3, 0.0], [0.4, 0.1]])
    factor = wide * torch.linspace(0, 1, 100)[:, None, None]
    config = replace(SMALL, solving=replace(SMALL.solving, fine_latents="drawn" if drawn else "likeliest"))
    plain = objective("anchors", scene)
    asked = BandObjective(plain.density, plain.latents, replace(scene, posterior=factor), config)
    batch, z = stack.read(rows), plain.latents.rows[rows]
    with torch.no_grad():
        torch.manual_seed(4)
        off = (factor[rows] @ torch.randn(5, 2, 1))[..., 0]
        expected = plain.misfit(z + drawn * off, batch)
        torch.manual_seed(4)
        assert torch.equal(asked.misfit(z, batch), expected)
        # what is said of images, and how bright a mixture is, is so at the likeliest latents
        assert torch.equal(asked.told(), plain.told())


@pytest.mark.parametrize("kind", ["parts", "anchors"])
def test_its_gradient_reaches_every_parameter_and_the_latents(stack: ParticleStack, scene: Scene, kind: str):
    made, batch = objective(kind, scene), stack.read(torch.arange(8))
    torch.stack(list(made.terms(batch, 0).values())).sum().backward()
    still = [
        name
        for name, p in made.density.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert still == []
    rows, gradient = made.latents.gradients()
    assert rows.tolist() == list(range(8))
    assert bool((gradient != 0).all())


@pytest.mark.parametrize("kind", ["parts", "anchors"])
def test_its_gradient_is_that_of_the_direct_evaluation(stack: ParticleStack, scene: Scene, kind: str):
    made, batch = objective(kind, scene), stack.read(torch.arange(8))
    leaves = [p for p in made.density.parameters() if p.requires_grad]
    near = torch.autograd.grad(made.misfit(made.latents.rows[:8], batch), leaves)
    far = torch.autograd.grad(directly(made, batch, scene), leaves)
    for a, b in zip(near, far, strict=True):
        # windows end at four standard deviations, where slopes miss a few per cent
        assert float((a - b).norm()) < 0.05 * float(b.norm())


@pytest.mark.parametrize("kind", ["parts", "anchors"])
def test_a_gaussian_that_went_out_may_shine_again(stack: ParticleStack, scene: Scene, kind: str):
    made, batch = objective(kind, scene), stack.read(torch.arange(8))
    with torch.no_grad():
        made.density.amplitudes[:3] = torch.tensor([-0.3, -7.0, 0.0])
    misfit = made.misfit(made.latents.rows[:8], batch)
    (slope,) = torch.autograd.grad(misfit, made.density.amplitudes)
    with torch.no_grad():
        for one in range(3):
            made.density.amplitudes[one] = 0.05
            ahead = made.misfit(made.latents.rows[:8], batch)
            made.density.amplitudes[one] = 0.0
            assert float(slope[one]) == pytest.approx(float(ahead - misfit) / 0.05, rel=0.05)


def test_the_contrast_is_the_likeliest_and_none_is_negative():
    generator = torch.Generator().manual_seed(2)
    model = torch.randn(4, 30, generator=generator)
    seen = torch.tensor([1.4, 0.6, 1.0, -2.0])[:, None] * model + torch.randn(4, 30, generator=generator)
    tried = torch.linspace(0, 3, 30_001)[:, None]
    for spread in (0.2, 1.0):
        power, match = model.square().sum(1), (model * seen).sum(1)
        fall = tried.square() * power - 2 * tried * match + (tried - 1).square() / (2 * spread**2)
        best = tried[fall.argmin(0), 0]
        torch.testing.assert_close(best_contrast(model, seen, spread), best, rtol=0, atol=1e-3)
    assert torch.equal(best_contrast(model, seen, 0.0), torch.ones(4))


def run(stack: ParticleStack, config: Config, folder: Path) -> Reconstruction:
    found = cryospire.reconstruct(stack, config, open_run(folder, config, stack))
    found.save(folder, stack)
    return found


@pytest.fixture(scope="module")
def folder(stack: ParticleStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    out = tmp_path_factory.mktemp("run")
    run(stack, SMALL, out)
    return out


def test_a_run_ends_with_latents_their_deviations_and_parts(folder: Path):
    latents, deviations = np.load(folder / "latents.npy"), np.load(folder / "latents_std.npy")
    assert latents.shape == deviations.shape == (100, 2)
    assert np.isfinite(latents).all()
    assert np.isfinite(deviations).all()
    assert (deviations > 0).all()
    assert read_json(folder / "parts.json")["parts"]


def test_latents_are_those_in_the_mixture_as_it_came_to_be(folder: Path):
    (last, _), (before, _) = (Run(folder).stage(name).load_result() for name in ("latents", "fine-1-latents"))
    assert np.array_equal(np.load(folder / "latents.npy"), last["mean"].numpy())
    assert not torch.equal(last["mean"], before["mean"])
    spread = last["covariance"].diagonal(dim1=1, dim2=2).sqrt().numpy()
    np.testing.assert_allclose(np.load(folder / "latents_std.npy"), spread, rtol=1e-5)


def test_parts_appear_as_a_whole_until_they_are_sharp_in_their_frames(folder: Path):
    stages = [Run(folder).stage(f"rigid-{name}") for name in ("densities", "frames", "fading")]
    found = [stage.load_result()[0] for stage in stages]
    assert [bool(each["density.feature_offsets"].any()) for each in found] == [False, False, True]
    assert not any(bool(each["density.displacement.trunk.4.weight"].any()) for each in found)
    moves = [each["density.motion.last.weight"] for each in found]
    assert not torch.equal(moves[0], moves[1])


def test_a_mixture_is_made_as_bright_as_the_images(scene: Scene):
    made, rows, store = objective("anchors", scene), torch.arange(100), scene.store
    with torch.no_grad():
        drawn, _ = made._beside(made.latents.rows, rows, scene.poses)  # pyright: ignore[reportPrivateUsage]
    values, held = torch.zeros_like(store.values), store.disc.count(LIMIT)
    deviation = store.noise[0].sqrt()[store.disc.shells(LIMIT), None]
    values[:, :held] = (0.5 * drawn.unflatten(1, (held, 2)) * deviation).half()
    seen = replace(scene, store=replace(store, values=values))
    bright = BandObjective(made.density, made.latents, seen, SMALL).brightened()
    assert float(bright.density.unit) == pytest.approx(0.5, rel=1e-3)


def test_the_same_seed_finds_the_same_latents(stack: ParticleStack, folder: Path, tmp_path: Path):
    again = run(stack, SMALL, tmp_path)
    assert torch.equal(again.latents, torch.from_numpy(np.load(folder / "latents.npy")))


def test_images_of_nothing_are_left_out_and_the_log_says_how_many(tmp_path: Path):
    stack, truth = simulate(hinge(), 100, GRID, 0, Conditions(snr=2.0, junk=0.2))
    run(stack, SMALL, tmp_path)
    assert len(np.load(tmp_path / "latents.npy")) == 100
    told = f"images: {int((~truth.intact).sum())} likelier hold nothing"
    assert told in (tmp_path / "log.txt").read_text()


def test_known_latents_stay_as_they_are(stack: ParticleStack, tmp_path: Path):
    known = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    np.save(tmp_path / "known.npy", known)
    run(stack, replace(SMALL, known_latents=tmp_path / "known.npy"), tmp_path / "run")
    np.testing.assert_array_equal(np.load(tmp_path / "run" / "latents.npy"), known)
    assert not (tmp_path / "run" / "latents_std.npy").exists()


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"parts_limit": 0}, {"contrast_spread": -0.1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="a round is made at least"):
        SolvingConfig(**wrong)  # pyright: ignore[reportArgumentType]


def test_a_finished_run_finds_the_latents_of_particles_as_if_it_never_saw_them(
    stack: ParticleStack, tmp_path: Path
):
    solving = replace(SMALL.solving, latents=LatentConfig(prototypes=8, first_steps=6, steps=6, limit=LIMIT))
    config = replace(SMALL, solving=solving)
    opened, bright = open_run(tmp_path / "run", config, stack), Preparation(sign=1.0)
    known = run_method("cryospire", stack, config, opened, bright).latents
    some = stack.select(torch.arange(40, 100))
    placed = infer(tmp_path / "run", some, tmp_path / "placed", "search", bright)
    assert placed.latents.shape == (60, 2)
    away = (placed.latents - known[40:]).norm(dim=1)
    # after one pass the posterior is wide and of several peaks; by chance half are farther than 1.2
    assert float(away.median()) < 0.4 * float(known.std(0).norm())
    assert np.isfinite(np.load(tmp_path / "placed" / "latents_std.npy")).all()
    # earlier versions did not keep how contrasts differ
    kept = tmp_path / "run" / "stages" / "fine-1-latents" / "result.safetensors"
    tensors, record = read_tensors(kept)
    write_tensors(kept, {name: each for name, each in tensors.items() if name != "excess"}, record)
    again = infer(tmp_path / "run", some, tmp_path / "again", "search", bright)
    assert torch.equal(again.latents, placed.latents)


def test_poses_are_refined_in_the_fine_mixture_where_that_is_asked(stack: ParticleStack, tmp_path: Path):
    config = replace(SMALL, pose_rounds=1, pose_descent=ONCE)
    found = cryospire.reconstruct(stack, config, open_run(tmp_path, config, stack))
    moved = (found.poses.shift - stack.poses.shift).norm(dim=1)
    assert 0 < float(moved.median()) < 2 * GRID.pixel_size
    assert found.latents.isfinite().all()
    assert (tmp_path / "stages" / "posed-1-latents" / "result.safetensors").exists()
    assert np.isfinite(np.load(tmp_path / "latents_std.npy")).all()


def test_all_begins_anew_at_the_poses_that_the_first_mixture_told(stack: ParticleStack, tmp_path: Path):
    found = replace(stack, poses_found=True)
    config = replace(SMALL, pose_rounds=1, pose_descent=ONCE)
    last = cryospire.reconstruct(found, config, open_run(tmp_path / "twice", config, found))
    stages = tmp_path / "twice" / "stages"
    first, _ = read_tensors(stages / "before-1" / "fine-1-poses" / "result.safetensors")
    first_parts, _ = read_tensors(stages / "before-1" / "parts-1" / "result.safetensors")
    parts, _ = read_tensors(stages / "parts-1" / "result.safetensors")
    assert not torch.equal(first["rotation"], found.poses.rotation)
    assert not torch.equal(first["rotation"], last.poses.rotation)
    assert not torch.equal(first_parts["density.centres"], parts["density.centres"])
    # the second beginning is a run of its own from those poses
    once = replace(config, beginnings=1)
    there = replace(found, poses=Poses(first["rotation"], first["shift"]))
    alone = cryospire.reconstruct(there, once, open_run(tmp_path / "once", once, there))
    assert torch.equal(alone.poses.rotation, last.poses.rotation)
    assert torch.equal(alone.latents, last.latents)


def test_defoci_are_corrected_in_the_fine_mixture_where_that_is_asked(stack: ParticleStack, tmp_path: Path):
    config = replace(SMALL, defocus_rounds=2, pose_descent=ONCE)
    found = run(stack, config, tmp_path)
    assert found.defocus is not None
    change = found.defocus - stack.optics.defoci
    torch.testing.assert_close(change[:, 0], change[:, 1], rtol=0, atol=0.01)  # astigmatism stays
    assert 0 < float(change.abs().max()) <= 2 * 1500 + 1  # Å: each round is held to small ones
    rounds = read_json(tmp_path / "defocus.json")["rounds"]
    assert len(rounds) == 2
    assert [group["images"] for group in rounds[0]["groups"]] == [100]
    assert (tmp_path / "stages" / "focused-2-latents" / "result.safetensors").exists()


@pytest.mark.parametrize("wrong", [{"defocus_rounds": -1}, {"defocus_rounds": 1, "by": "descent"}])
def test_defoci_are_corrected_only_where_latents_are_solved_for(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="0 or more can be made where they are found by solving"):
        replace(SMALL, **wrong)


def test_bodies_that_share_a_frame_come_apart_in_the_end(monkeypatch: pytest.MonkeyPatch):
    # one frame carries all; two blobs are absent, each by a number of its own
    made, latents = AnchoredMixture(150, 1, 4, 2, (8, 3, "products"), GRID.extent), torch.randn(200, 2)
    body = torch.repeat_interleave(torch.arange(3), torch.tensor([70, 45, 35]))
    spots = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0, 0.2, 0]])[body]

    def placed(z: Tensor) -> tuple[Tensor, Tensor]:
        there = torch.stack([torch.ones(len(z)), *(z > 0).float().mT], 1)[:, body]
        return spots.expand(len(z), -1, -1), there

    generator = torch.Generator().manual_seed(5)
    spots = spots + 0.03 * torch.randn(150, 3, generator=generator)
    with torch.no_grad():
        made.amplitudes.fill_(1)
    monkeypatch.setattr(made, "placed", placed)
    config = Config(anchors=AnchorConfig(by="responses", neighbours=9))
    assert torch.equal(made.bodies(), torch.zeros(150, dtype=torch.int64))
    made.body.copy_(seen_bodies(made, latents, config))
    assert torch.equal(made.bodies(), body)  # the heaviest first
    told = replace(config, anchors=AnchorConfig(count=1))
    assert torch.equal(seen_bodies(made, latents, told), made.part)


def test_a_run_tells_of_the_bodies_of_its_mixture(folder: Path):
    found = Reconstruction.load(folder)
    assert isinstance(found.density, AnchoredMixture)
    told = read_json(folder / "parts.json")["parts"]
    assert [row["gaussians"] for row in told] == found.density.bodies().bincount().tolist()

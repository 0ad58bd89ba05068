"""Every program is asked for the maps of the same kind of particles."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.grid import Grid
from morphem.data.atoms import Atoms
from morphem.report.evaluate_latents import latent_scores
from morphem.report.evaluate_plan import plan_maps, write_plan
from morphem.simulate.bounds import CramerRao
from morphem.simulate.ensembles import Coordinate, embedded
from morphem.simulate.hinge import hinge
from morphem.simulate.molecules import composition
from morphem.simulate.particles import Conditions, Truth, known_truth
from morphem.simulate.true_maps import LANDMARKS

IMAGES = 600


@pytest.fixture(scope="module")
def truth() -> Truth:
    conditions = Conditions(junk=0.1)
    return known_truth(hinge(), torch.arange(IMAGES), Grid(16, 16.0), 0, conditions, unit=1.0)


@pytest.fixture(scope="module")
def latents(truth: Truth) -> torch.Tensor:
    spread = 0.1 * torch.randn(IMAGES, 2, generator=torch.Generator().manual_seed(0))
    return truth.state + spread


def test_a_state_is_stood_for_by_the_particle_in_the_middle_of_its_own(truth: Truth, latents: torch.Tensor):
    plan = plan_maps(truth, latents)
    states, _ = truth.ensemble.landmarks(LANDMARKS)
    for particle, k in zip(plan.by_state.tolist(), plan.landmark.tolist(), strict=True):
        members = [
            row
            for row in range(IMAGES)
            if truth.intact[row] and int((truth.state[row] - states).square().sum(1).argmin()) == k
        ]
        distances = (latents[members] - latents[members].mean(0)).norm(dim=1)
        assert particle == members[int(distances.argmin())]


def test_junk_is_never_asked_for(truth: Truth, latents: torch.Tensor):
    assert truth.intact[plan_maps(truth, latents).particles].all()


def test_the_sample_of_single_particles_is_the_same_for_every_program(truth: Truth, latents: torch.Tensor):
    assert torch.equal(plan_maps(truth, latents).by_image, plan_maps(truth, latents.flip(0)).by_image)


@pytest.mark.parametrize("width", [None, 0])
def test_without_latents_the_particle_nearest_to_the_state_stands_for_it(truth: Truth, width: int | None):
    plan = plan_maps(truth, None if width is None else torch.zeros(IMAGES, width))
    states, _ = truth.ensemble.landmarks(LANDMARKS)
    away = (truth.state[plan.by_state] - states[plan.landmark])[:, 0].abs()
    assert float(away.max()) < 0.02  # 400 sound particles over 60°, in 26 states


def test_the_table_names_every_map_once_with_its_latent_beside_it(
    truth: Truth, latents: torch.Tensor, tmp_path: Path
):
    plan = write_plan(truth, latents, tmp_path / "maps.csv")
    rows = list(csv.DictReader((tmp_path / "maps.csv").read_text().splitlines()))
    particles = [int(row["particle"]) for row in rows]
    assert particles == plan.particles.tolist()
    assert len({row["file"] for row in rows}) == len(rows) == len(set(particles))
    assert [row["serves"] for row in rows].count("image") <= 100
    for path in (tmp_path / "maps.npy", tmp_path / "maps.txt"):
        stored = np.load(path) if path.suffix == ".npy" else np.loadtxt(path)
        np.testing.assert_allclose(stored, latents[particles].numpy(), rtol=1e-6)


def test_latents_of_another_set_are_refused(truth: Truth, tmp_path: Path):
    with pytest.raises(ValueError, match=f"10 latents were given, the set has {IMAGES}"):
        write_plan(truth, torch.zeros(10, 2), tmp_path / "maps.csv")


def test_the_ends_of_a_circle_are_near_to_each_other():
    circle = (Coordinate("angle (rad)", "circular"),)
    a, b, c = embedded(circle, torch.tensor([[0.01], [2 * torch.pi - 0.01], [1.0]]))
    assert float((a - b).norm()) < 0.03 < float((a - c).norm())


def test_labels_that_differ_are_far_apart_whatever_their_numbers():
    """Latents that tell three labels apart are told to, although 0 is nearer to 1 than to 2 as a number."""
    atoms = Atoms(
        path=Path("three.pdb"),
        positions=np.random.default_rng(0).normal(0, 20, (30, 3)),
        element=np.full(30, 6),
        occupancy=np.ones(30),
        chain=np.array(["A"] * 10 + ["B"] * 10 + ["C"] * 10),
        residue=np.arange(30),
        name=np.full(30, "CA"),
    )
    molecule = composition(atoms, {"b": "B", "c": "C"}, [[], ["b"], ["c"]])
    truth = known_truth(molecule, torch.arange(300), Grid(16, 8.0), 0, Conditions(), unit=1.0)
    place = torch.nn.functional.one_hot(truth.state[:, 0].long(), 3).float()
    noise = 0.01 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    scores = latent_scores(place + noise, truth, CramerRao(torch.zeros(1, 0), torch.zeros(1, 0), ()))
    assert scores["information_imbalance"]["state"].value < 0.05
    assert scores["neighbourhood_overlap"].value > 0.95

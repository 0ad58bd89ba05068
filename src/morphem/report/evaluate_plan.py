"""Which particles' maps are compared with the truth; the same rule for every program."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.data.atomic import atomic_path
from morphem.report.evaluate_checks import note_dataset
from morphem.simulate.ensembles import embedded
from morphem.simulate.oracle import nearest_landmark
from morphem.simulate.particles import Truth
from morphem.simulate.true_maps import LANDMARKS

SAMPLE = 100  # particles whose own maps are compared one by one


@dataclass(frozen=True)
class Plan:
    """Particles to decode, by their row in the set.

    Attributes:
        by_state: One for each landmark of the population that any particle is nearest to: the particle
            whose latent is nearest to the mean latent of those particles.
        landmark: Which landmark each stands for.
        by_image: A random sample of sound particles, the same for every program.
    """

    by_state: Int[Tensor, "k"]
    landmark: Int[Tensor, "k"]
    by_image: Int[Tensor, "i"]

    @property
    def particles(self) -> Int[Tensor, "m"]:
        """All of them, each once, in ascending order."""
        return torch.cat([self.by_state, self.by_image]).unique()


def plan_maps(truth: Truth, latents: Float[Tensor, "p z"] | None) -> Plan:
    """Which particles stand for the states of a set, and which for themselves.

    Without latents a state is stood for by the particle whose own state is nearest to it.
    """
    intact = truth.intact.nonzero().flatten()
    states, _ = truth.ensemble.landmarks(LANDMARKS)
    kept = truth.state[intact]
    nearest = nearest_landmark(truth.ensemble, kept, states)
    told = latents is not None and latents.shape[1] > 0
    place = latents[intact] if latents is not None and told else embedded(truth.ensemble.coordinates, kept)
    goals = None if told else embedded(truth.ensemble.coordinates, states)
    chosen, seen = [], nearest.unique()
    for k in seen.tolist():
        members = (nearest == k).nonzero().flatten()
        goal = place[members].mean(0) if goals is None else goals[k]
        chosen.append(members[(place[members] - goal).square().sum(1).argmin()])
    return Plan(intact[torch.stack(chosen)], seen, sound_sample(truth, SAMPLE))


def sound_sample(truth: Truth, count: int) -> Int[Tensor, "i"]:
    """Sound particles at random, always the same; all of them if they are fewer."""
    intact = truth.intact.nonzero().flatten()
    order = torch.randperm(len(intact), generator=torch.Generator().manual_seed(0))
    return intact[order[:count]]


def write_plan(truth: Truth, latents: Float[Tensor, "p z"], path: Path) -> Plan:
    """Write a table of the maps that a program should make, and the latents to make them at.

    Beside ``NAME.csv``, which can serve as ``maps.csv``, lie ``NAME.npy`` and ``NAME.txt``: the latents in
    the order of the table; and ``NAME.json``, which tells of which set it is. Maps are called as cryoDRGN's
    ``eval_vol --zfile NAME.txt`` calls them.
    """
    if len(latents) != len(truth):
        met = f"{len(latents)} latents were given, the set has {len(truth)} particles"
        raise ValueError(f"{met}; give latents of all, in the order of the particle file")
    plan = plan_maps(truth, latents)
    particles = plan.particles
    serves = {"state": set(plan.by_state.tolist()), "image": set(plan.by_image.tolist())}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "particle", "serves"))
        for k, particle in enumerate(particles.tolist()):
            ends = " ".join(end for end, members in serves.items() if particle in members)
            table.writerow((f"vol_{k:03d}.mrc", particle, ends))
    note_dataset(path, truth)
    chosen = latents[particles].numpy()
    np.save(path.with_suffix(".npy"), chosen, allow_pickle=False)
    np.savetxt(path.with_suffix(".txt"), chosen)
    return plan

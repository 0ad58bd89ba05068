"""An evaluation separates those who know the states from those who do not, score by score."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.engine.reconstruction import Reconstruction
from morphem.models.density import AbstractDensity
from morphem.models.gaussian_density import AnchoredMixture
from morphem.report.evaluate import evaluate
from morphem.simulate.hinge import hinge
from morphem.simulate.particles import Conditions, Truth, known_truth

GRID = Grid(24, 256 / 24)
HALF_MAP_FSC = torch.tensor([1.0] * 9 + [0.6, 0.4, 0.1, 0.0])  # falls to 0.5 at shell 9.5


class KnownDensity(AbstractDensity):
    """Latents are states; the angle is ``late`` degrees too far."""

    truth: Truth

    def __init__(self, late: float = 0.0) -> None:
        super().__init__()
        self.late = math.radians(late)

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        raise NotImplementedError

    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        return self.truth.volume(z + torch.tensor([self.late, 0.0]))


class StillDensity(AbstractDensity):
    """One map for every latent."""

    map: Volume

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        raise NotImplementedError

    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        return self.map


@pytest.fixture(scope="module")
def truth() -> Truth:
    return known_truth(hinge(), torch.arange(400), GRID, 0, Conditions(junk=0.05))


@pytest.fixture(scope="module")
def consensus(truth: Truth) -> Volume:
    states, shares = truth.ensemble.landmarks(5)
    maps = [share * truth.volume(state).voxels for state, share in zip(states, shares, strict=True)]
    return Volume(torch.stack(maps).sum(0), GRID)


def _scores(density: AbstractDensity, latents: Tensor, truth: Truth, consensus: Volume, out: Path) -> dict:
    found = Reconstruction(truth.poses, latents, density, GRID)
    return evaluate(found, truth, consensus, HALF_MAP_FSC, out)


def _oracle(truth: Truth, consensus: Volume, out: Path, late: float = 0.0) -> dict:
    density = KnownDensity(late)
    density.truth = truth
    return _scores(density, truth.state, truth, consensus, out)


@pytest.fixture(scope="module")
def known(truth: Truth, consensus: Volume, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("known")
    return _oracle(truth, consensus, out), out


@pytest.fixture(scope="module")
def still(truth: Truth, consensus: Volume, tmp_path_factory: pytest.TempPathFactory) -> dict:
    density = StillDensity()
    density.map = consensus
    latents = torch.randn(400, 2, generator=torch.Generator().manual_seed(1))
    return _scores(density, latents, truth, consensus, tmp_path_factory.mktemp("still"))


def test_one_who_knows_every_state_scores_near_one_throughout(known: tuple[dict, Path]):
    scores = known[0]
    assert scores["deviation_fsc"] > 0.99  # less 1 by the spread of angles about a landmark
    assert scores["deviation_fsc_per_image"] > 0.9999
    assert scores["auc"] == pytest.approx(11 / 24, abs=0.005)  # the most a box of 24 gives
    assert scores["latent_rank_correlation"] > 0.999
    assert scores["occupancy_auroc"] == 1
    assert scores["occupancy_auroc_decoded"] == 1


def test_one_who_knows_only_the_consensus_scores_nothing(still: dict):
    assert still["deviation_fsc"] == 0
    assert still["deviation_fsc_per_image"] == 0
    assert abs(still["latent_rank_correlation"]) < 0.2  # 3.5/√380
    assert still["occupancy_auroc"] == pytest.approx(0.5, abs=0.12)
    assert still["occupancy_auroc_decoded"] == 0.5


@pytest.mark.parametrize(
    ("score", "floor"),
    [
        ("auc", "auc_consensus"),
        ("auc_unmasked", "auc_consensus_unmasked"),
        ("moving_region_fsc", "moving_region_fsc_consensus"),
    ],
)
def test_the_consensus_scores_its_own_floor_and_knowledge_more(
    still: dict, known: tuple[dict, Path], score: str, floor: str
):
    assert still[score] == pytest.approx(still[floor])
    assert known[0][score] > known[0][floor] + 0.01


def test_angles_seven_degrees_late_score_between(
    truth: Truth, consensus: Volume, known: tuple[dict, Path], tmp_path: Path
):
    late = _oracle(truth, consensus, tmp_path, late=7.0)
    assert 0.5 < late["deviation_fsc"] < known[0]["deviation_fsc"] - 0.02
    assert late["latent_rank_correlation"] == known[0]["latent_rank_correlation"]


def test_shells_are_counted_to_where_the_half_maps_fall_to_a_half(known: tuple[dict, Path]):
    assert known[0]["deviation_fsc_to_shell"] == pytest.approx(9.5)


def test_scores_and_a_page_of_pictures_are_left_in_the_folder(known: tuple[dict, Path]):
    scores, out = known
    assert json.loads((out / "evaluation.json").read_text()) == scores
    assert (out / "evaluation.png").read_bytes()[:4] == b"\x89PNG"


def test_a_density_without_parts_has_no_score_for_them(known: tuple[dict, Path]):
    assert known[0]["parts_ari"] is None


def _mixture(truth: Truth, part: Tensor) -> AnchoredMixture:
    """The hinge at mid-swing, cut into parts; further Gaussians of no amplitude lie where they mislead."""
    rest = truth.ensemble.matter.mixture(*truth.ensemble.points(torch.tensor([[math.pi / 6, 1.0]])))
    centres = rest.centres[0] / GRID.extent
    density = AnchoredMixture(2 * len(part), 3, 2, 2, (4, 1), GRID.extent)
    with torch.no_grad():
        density.offsets.copy_(torch.cat([centres, centres]))
        density.log_scales.fill_(math.log(3 / GRID.extent))
        density.amplitudes.copy_(torch.cat([torch.ones(len(part)), torch.zeros(len(part))]))
        density.part.copy_(torch.cat([part, torch.zeros_like(part)]))
    return density


def test_the_true_bodies_as_parts_have_a_rand_index_of_one_and_a_wrong_cut_less(
    truth: Truth, consensus: Volume, tmp_path: Path
):
    bodies = truth.ensemble.labels
    halves = (truth.ensemble.points(torch.tensor([[0.5, 1.0]]))[0][0, :, 0] > 0).long()
    latents = torch.zeros(400, 2)
    scores = [
        _scores(_mixture(truth, part), latents, truth, consensus, tmp_path) for part in (bodies, halves)
    ]
    assert scores[0]["parts_ari"] > 0.98
    assert scores[1]["parts_ari"] < 0.5


def test_latents_of_another_set_are_refused(truth: Truth, consensus: Volume, tmp_path: Path):
    with pytest.raises(ValueError, match="whole simulated set"):
        _scores(StillDensity(), torch.zeros(10, 2), truth, consensus, tmp_path)

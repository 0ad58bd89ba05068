"""CryoSPIRE with poses that are refined in its own mixture."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import from_rotation_vector
from morphem.core.types import Poses, Volume
from morphem.data.stack import ParticleStack
from morphem.engine.descend import DescentConfig
from morphem.engine.half_maps import HalfMaps
from morphem.engine.run import open_run
from morphem.methods import cryospire
from morphem.methods.cryospire import published
from morphem.methods.cryospire.published import sight
from morphem.methods.cryospire.settings import PRESETS, Config, MixtureConfig
from morphem.metrics.poses import align_poses, pose_errors
from static_molecule import photograph, three_arms

GRID = Grid(32, 6.0)
ONCE = DescentConfig(epochs=2, batch_size=32)
SMALL = replace(
    PRESETS["paper"],
    latent=1,
    parts=MixtureConfig(gaussians=128, scale=0.03, hidden=8, layers=1),
    fine=MixtureConfig(gaussians=256, scale=0.02, hidden=8, layers=1),
    anchors=replace(PRESETS["paper"].anchors, count=2),
    parts_descent=ONCE,
    fine_descent=DescentConfig(epochs=4, batch_size=32),
    pose_rounds=2,
    pose_descent=ONCE,
)


@pytest.fixture(scope="module")
def true() -> ParticleStack:
    return photograph(three_arms(GRID.extent), GRID, 300, noise=1.0)


@pytest.fixture(scope="module")
def rough(true: ParticleStack) -> ParticleStack:
    """The particles with poses that are 4° and 3 Å off."""
    generator = torch.Generator().manual_seed(3)
    turns = from_rotation_vector(math.radians(4) * torch.randn(len(true), 3, generator=generator))
    shift = true.poses.shift + 3 * torch.randn(len(true), 2, generator=generator)
    return replace(true, poses=Poses(turns @ true.poses.rotation, shift))


def reconstructed(stack: ParticleStack, folder: Path) -> Poses:
    return cryospire.reconstruct(stack, SMALL, open_run(folder, SMALL, stack)).poses


def errors(found: Poses, true: Poses) -> tuple[float, float]:
    each = pose_errors(found, true, align_poses(found, true))
    return float(each.rotation.median()), float(each.shift.median())


def test_poses_come_nearer_the_truth_and_are_found_once(
    true: ParticleStack, rough: ParticleStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = reconstructed(rough, tmp_path)
    (turned, moved), (turned_before, moved_before) = (
        errors(found, true.poses),
        errors(rough.poses, true.poses),
    )
    assert turned < 0.7 * turned_before
    assert moved < 0.7 * moved_before

    def again(*_: object) -> Poses:
        raise AssertionError("poses were refined anew")

    monkeypatch.setattr(published, "refine_in_density", again)
    assert torch.equal(reconstructed(rough, tmp_path).rotation, found.rotation)


@pytest.mark.parametrize(("agree_to", "limit"), [(3, 8), (11, 11), (17, 15)])
def test_poses_are_refined_as_finely_as_the_consensus_is_known(agree_to: int, limit: int):
    maps = half_maps(agree_to)
    assert sight(maps, SMALL).limit in (limit, limit - 1)
    assert torch.equal(sight(maps, SMALL).noise, torch.ones(1, GRID.half))
    coloured = sight(maps, replace(SMALL, noise="coloured"))
    assert torch.equal(coloured.noise, maps.noise)


def half_maps(agree_to: int) -> HalfMaps:
    """Half maps that agree below a shell."""
    volume = Volume(three_arms(GRID.extent).map(GRID), GRID)
    fsc = (torch.arange(GRID.half) < agree_to).float()
    noise = torch.linspace(2, 1, GRID.half)[None]
    return HalfMaps(volume, volume, volume, torch.ones_like(volume.voxels), fsc, fsc, fsc, 8.0, noise, fsc)


def test_a_negative_number_of_rounds_is_refused():
    with pytest.raises(ValueError, match="pose_rounds is -2"):
        Config(pose_rounds=-2)

"""Every known corruption of a particle set is named before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Optics, Poses
from morphem.data.images import MemoryImages
from morphem.data.mrc import read_map, write_map
from morphem.data.stack import ParticleStack
from morphem.report.check import CheckReport, check_particles
from morphem.report.options import CheckConfig
from morphem.simulate.hinge import hinge
from morphem.simulate.particles import Conditions, Truth, simulate

GRID = Grid(32, 6.0)
MIRROR = torch.diag(torch.tensor([1.0, 1.0, -1.0]))


@cache
def simulated(pixels: float) -> tuple[ParticleStack, Truth]:
    """Particles of a moving molecule, displaced by so many pixels."""
    conditions = Conditions(snr=0.05, shift=pixels * GRID.pixel_size, astigmatism=3000)
    return simulate(hinge(), 300, GRID, 1, conditions)


@pytest.fixture(scope="module")
def consensus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("consensus") / "map.mrc"
    _, truth = simulated(2.0)
    write_map(path, truth.volume(torch.tensor([0.5, 1.0])))
    return path


def posed(change: Callable[[Poses], Poses]) -> Callable[[ParticleStack], ParticleStack]:
    return lambda stack: replace(stack, poses=change(stack.poses))


def focused(change: Callable[[Optics], Optics]) -> Callable[[ParticleStack], ParticleStack]:
    return lambda stack: replace(stack, optics=change(stack.optics))


def shuffled(stack: ParticleStack) -> ParticleStack:
    order = torch.randperm(len(stack), generator=torch.Generator().manual_seed(9))
    return replace(stack, poses=stack.poses[order], optics=stack.optics[order])


def inverted(stack: ParticleStack) -> ParticleStack:
    images = stack.read(torch.arange(len(stack))).images
    return replace(stack, images=MemoryImages(-images))


SHIFTS = {
    "×2": (posed(lambda p: Poses(p.rotation, 2 * p.shift)), "2.0× too large"),
    "×½": (posed(lambda p: Poses(p.rotation, p.shift / 2)), "2.0× too small"),
    "negated": (posed(lambda p: Poses(p.rotation, -p.shift)), "opposite sign"),
    "swapped": (posed(lambda p: Poses(p.rotation, p.shift.flip(-1))), "swapped"),
    "in pixels": (posed(lambda p: Poses(p.rotation, p.shift / GRID.pixel_size)), "pixels in a column of Å"),
    "x negated": (posed(lambda p: Poses(p.rotation, p.shift * torch.tensor([-1.0, 1.0]))), "x shifts"),
}
OTHERS = {
    "transposed": (posed(lambda p: Poses(p.rotation.mT.contiguous(), p.shift)), "BP-001", "transposed"),
    "mirrored": (posed(lambda p: Poses(MIRROR @ p.rotation @ MIRROR, p.shift)), "HAND-001", "mirror"),
    "shuffled": (shuffled, "BP-002", "no better than shuffled"),
    "off by one": (
        posed(lambda p: Poses(p.rotation.roll(1, 0), p.shift.roll(1, 0))),
        "ORDER-002",
        "one row",
    ),
    "inverted": (inverted, "SIGN-001", "contrast inverted"),
    "shifts lost": (posed(lambda p: Poses(p.rotation, 0 * p.shift)), "POSE-004", "no shifts"),
    "angle negated": (
        focused(lambda o: replace(o, astigmatism=-o.astigmatism)),
        "CTF-004",
        "angle negated",
    ),
    "defocus scaled": (
        focused(lambda o: replace(o, defocus_u=o.defocus_u / 1.1, defocus_v=o.defocus_v / 1.1)),
        "CTF-005",
        "defocus ×1.1",
    ),
}


def named(report: CheckReport) -> dict[str, str]:
    """Messages of all that is more than information, by code; that shifts are large is true of some sets."""
    told = [each for each in report.findings if each.level != "info" and each.code != "POSE-009"]
    return {each.code: each.message for each in told}


@pytest.mark.parametrize("pixels", [2.0, 0.6])
@pytest.mark.parametrize("known", [True, False], ids=["consensus", "halves"])
def test_a_set_as_it_was_made_passes(pixels: float, known: bool, consensus: Path):
    report = check_particles(simulated(pixels)[0], CheckConfig(consensus if known else None))
    assert report.ok
    assert named(report) == {}
    assert report.shift_matrix is not None
    # 0.1: two standard errors of 300 images at SNR 0.05 and 0.6 px, held against half maps
    torch.testing.assert_close(torch.tensor(report.shift_matrix), torch.eye(2), atol=0.1, rtol=0)


@pytest.mark.parametrize("pixels", [2.0, 0.6])
@pytest.mark.parametrize("name", SHIFTS)
def test_an_error_of_shifts_is_named(name: str, pixels: float, consensus: Path):
    corrupt, words = SHIFTS[name]
    report = check_particles(corrupt(simulated(pixels)[0]), CheckConfig(consensus))
    assert not report.ok
    assert list(named(report)) == ["POSE-003"]
    assert words in named(report)["POSE-003"]


@pytest.mark.parametrize("name", ["×2", "×½", "negated", "swapped"])
def test_an_error_of_shifts_is_named_without_a_consensus(name: str):
    corrupt, words = SHIFTS[name]
    report = check_particles(corrupt(simulated(2.0)[0]))
    assert not report.ok
    assert list(named(report)) == ["POSE-003"]
    assert words in named(report)["POSE-003"]


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_error_is_named(name: str, consensus: Path):
    corrupt, code, words = OTHERS[name]
    report = check_particles(corrupt(simulated(2.0)[0]), CheckConfig(consensus))
    assert list(named(report)) == [code]
    assert words in named(report)[code]
    # a run inverts dark protein by itself where grey values show it
    assert report.ok == (code == "SIGN-001" and report.findings[0].level == "warning")


@pytest.mark.parametrize("name", ["transposed", "shuffled", "off by one"])
def test_an_error_of_rotations_is_named_without_a_consensus(name: str):
    corrupt, code, _ = OTHERS[name]
    assert list(named(check_particles(corrupt(simulated(2.0)[0])))) == [code]


def test_images_without_numbers_or_contrast_are_counted_and_left_out(consensus: Path):
    stack, _ = simulated(2.0)
    images = stack.read(torch.arange(len(stack))).images.clone()
    images[3, 0, 0], images[5] = torch.nan, 1.0
    images[8] *= 50
    report = check_particles(replace(stack, images=MemoryImages(images)), CheckConfig(consensus))
    assert {"NAN-001", "IMG-001", "IMG-002"} == set(named(report))
    assert report.shift_matrix is not None


def test_a_saved_report_is_read_back(tmp_path: Path):
    report = check_particles(simulated(2.0)[0].select(torch.arange(100)))
    report.save(tmp_path)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["ok"] is report.ok
    assert record["variants"][0]["name"] == "as declared"
    assert read_map(tmp_path / "backproject.mrc").grid.box == GRID.box
    assert (tmp_path / "check.png").stat().st_size > 10_000

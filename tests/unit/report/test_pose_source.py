"""Poses that a run takes from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import morphem
from morphem.cli.commands import _pose_source
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses
from morphem.data.errors import DataError
from morphem.data.options import MetadataOptions
from morphem.data.record import write_metadata
from morphem.data.stack import ParticleStack, open_stack
from morphem.engine.files import read_tensors
from morphem.engine.identity import ResumeError
from morphem.report import posing
from morphem.report.options import Preparation
from morphem.report.posing import pose_source
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge
from morphem.simulate.options import Conditions

IMAGES = 40
BRIGHT = Preparation(sign=1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, plan(hinge(), IMAGES, Grid(16, 16.0), 0, Conditions(snr=2.0)))
    return folder


@pytest.fixture(scope="module")
def stack(data: Path) -> ParticleStack:
    return open_stack(data / "particles.star")


def other_poses(n: int) -> Poses:
    generator = torch.Generator().manual_seed(5)
    return Poses(random_rotations(n, generator), torch.randn(n, 2, generator=generator))


@pytest.fixture
def refined(stack: ParticleStack, tmp_path: Path) -> Path:
    """Another program's particle file: other poses, another folder, the images in reverse."""
    assert stack.metadata is not None
    path = tmp_path / "refined.star"
    rows = torch.arange(IMAGES - 1, -1, -1)
    write_metadata(stack.metadata, path, rows.numpy(), poses=other_poses(IMAGES)[rows])
    path.write_text(path.read_text().replace("@particles.mrcs", "@Extract/job7/particles.mrcs"))
    return path


def test_poses_of_a_particle_file_go_to_their_images(stack: ParticleStack, refined: Path):
    taken, wanted = pose_source(str(refined), stack).taken, other_poses(IMAGES)
    assert taken is not None
    torch.testing.assert_close(taken.rotation, wanted.rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(taken.shift, wanted.shift, atol=1e-5, rtol=0)


def test_a_run_goes_on_from_the_poses_of_another(stack: ParticleStack, refined: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    morphem.reconstruct("backprojection", stack, first, preparation=BRIGHT, poses=refined)
    found = morphem.reconstruct("backprojection", stack, second, preparation=BRIGHT, poses=first)
    torch.testing.assert_close(found.poses.rotation, other_poses(IMAGES).rotation, atol=1e-5, rtol=0)
    written = open_stack(second / "particles.star", MetadataOptions(datadir=_folder(stack)))
    torch.testing.assert_close(written.poses.rotation, found.poses.rotation, atol=1e-5, rtol=0)


def _folder(stack: ParticleStack) -> Path:
    assert stack.metadata is not None
    return stack.metadata.source.path.parent


def test_particles_without_poses_can_have_them_from_elsewhere(
    stack: ParticleStack, refined: Path, tmp_path: Path
):
    metadata = stack.metadata
    assert metadata is not None
    lost = replace(stack, metadata=replace(metadata, rotation=None, shift=None), has_poses=False)
    with pytest.raises(DataError, match="POSE-002"):
        morphem.reconstruct("backprojection", lost, tmp_path / "lost", preparation=BRIGHT)
    found = morphem.reconstruct("backprojection", lost, tmp_path / "found", preparation=BRIGHT, poses=refined)
    assert float((found.poses.rotation - other_poses(IMAGES).rotation).abs().max()) < 1e-4


def test_a_run_is_refused_other_poses_than_it_began_with(stack: ParticleStack, refined: Path, tmp_path: Path):
    run = tmp_path / "run"
    morphem.reconstruct("backprojection", stack, run, preparation=BRIGHT)
    with pytest.raises(ResumeError, match="poses was given, is now taken"):
        morphem.reconstruct("backprojection", stack, run, preparation=BRIGHT, poses=refined)
    morphem.reconstruct("backprojection", stack, run, preparation=BRIGHT, poses="given")


def test_poses_are_searched_once_a_run(stack: ParticleStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    poses, calls = other_poses(IMAGES), []

    def found(stack: ParticleStack, how: str, *_: object) -> posing.Posed:
        calls.append(how)
        return _Found(poses)  # pyright: ignore[reportReturnType]

    monkeypatch.setattr(posing, "_searched", found)
    monkeypatch.setattr(posing, "_facts", lambda *_: {})
    for _ in range(2):
        again = morphem.reconstruct("backprojection", stack, tmp_path, preparation=BRIGHT, poses="abinit")
        assert torch.equal(again.poses.rotation, poses.rotation)
    assert calls == ["abinit"]
    assert torch.equal(read_tensors(tmp_path / "poses.safetensors")[0]["shift"], poses.shift)


class _Found:
    """What a search ends with, as far as it is looked at here."""

    def __init__(self, poses: Poses) -> None:
        self.poses = poses


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("abinito", "POSE-010 .* did you mean abinit"),
        ("nowhere/run", "POSE-010 .* or a path that exists"),
        ("empty", "POSE-010 .*not a run's folder"),
        ("begun", "RUN-001 .*not finished"),
        ("fewer.star", "COUNT-001 .*30 images, there are 40"),
        ("strange.star", "POSE-012 .*has no pose of 1@particles.mrcs .40 of 40"),
    ],
)
def test_poses_of_something_else_are_refused(
    stack: ParticleStack, refined: Path, tmp_path: Path, source: str, said: str
):
    assert stack.metadata is not None
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    write_metadata(stack.metadata, tmp_path / "fewer.star", torch.arange(30).numpy())
    text = refined.read_text()
    (tmp_path / "strange.star").write_text(text.replace("particles.mrcs", "others.mrcs"))
    path = source if source == "abinito" else str(tmp_path / source)
    with pytest.raises(DataError, match=said):
        pose_source(path, stack)


def test_images_of_one_name_are_not_told_apart(stack: ParticleStack, refined: Path):
    text, half = refined.read_text(), IMAGES // 2
    for row in range(1, half + 1):
        text = text.replace(f"{row + half:06d}@Extract/job7", f"{row:06d}@Extract/job8")
    refined.write_text(text)
    twice = stack.select(torch.arange(half).repeat(2))
    with pytest.raises(DataError, match=r"POSE-012 .*names images twice"):
        pose_source(str(refined), twice)


def test_a_method_that_finds_poses_itself_is_given_none(stack: ParticleStack, tmp_path: Path):
    with pytest.raises(ValueError, match="cryofire finds poses itself"):
        morphem.reconstruct("cryofire", stack, tmp_path / "run", poses="refine")
    assert not (tmp_path / "run").exists()


def test_a_pickle_of_poses_is_read_with_the_particles():
    pickled = MetadataOptions(poses=Path("poses.pkl"))
    assert _pose_source("poses.pkl", pickled) == ("given", pickled)
    assert _pose_source("./abinit", MetadataOptions(poses=Path("abinit"))) == ("./abinit", MetadataOptions())
    assert _pose_source("", MetadataOptions()) == ("given", MetadataOptions())

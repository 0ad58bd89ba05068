"""The road from particles to results, as Python sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

import morphem
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Optics, Poses
from morphem.data.stack import ParticleStack, stack_in_memory
from morphem.report.api import preset_of, with_settings
from morphem.report.options import Preparation


@dataclass(frozen=True)
class Inner:
    epochs: int = 3


@dataclass(frozen=True)
class Outer:
    stage: Inner = field(default_factory=Inner)
    latent: int = 4


def _stack() -> ParticleStack:
    generator, n = torch.Generator().manual_seed(0), 40
    column = torch.ones(n)
    optics = Optics(
        10_000 * column, 10_000 * column, 0 * column, 300 * column, 2.7 * column,
        0.1 * column, 0 * column, 0 * column, column,
    )  # fmt: skip
    poses = Poses(random_rotations(n, generator), torch.zeros(n, 2))
    images = torch.randn(n, 16, 16, generator=generator)
    images[:, 6:10, 6:10] += 5
    return stack_in_memory(images, Grid(16, 5.0), optics, poses)


def test_a_setting_of_a_stage_is_changed_and_nothing_else():
    assert with_settings(Outer(), {"stage__epochs": 7}) == Outer(Inner(7), 4)
    assert with_settings(Outer(), {"latent": 2, "stage__epochs": 7}) == Outer(Inner(7), 2)


def test_a_setting_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="Inner has no field epoch "):
        with_settings(Outer(), {"stage__epoch": 7})


def test_a_preset_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="backprojection has no preset quick"):
        preset_of("backprojection", "quick")


def test_what_was_found_can_be_loaded_from_the_folder(tmp_path: Path):
    stack = _stack()
    found = morphem.reconstruct("backprojection", stack, tmp_path, preparation=Preparation(sign=1.0))
    loaded = morphem.load(tmp_path)
    torch.testing.assert_close(loaded.mean().voxels, found.mean().voxels)
    assert loaded.latents.shape == (stack.n_particles, 0)


def test_the_same_call_again_ends_with_the_same(tmp_path: Path):
    calls = [
        morphem.reconstruct("backprojection", _stack(), tmp_path, preparation=Preparation(sign=1.0))
        for _ in range(2)
    ]
    assert torch.equal(calls[0].mean().voxels, calls[1].mean().voxels)


def test_a_failure_leaves_its_traceback_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(self: ParticleStack, rows: torch.Tensor) -> None:
        raise ValueError("the disk went away")

    stack = _stack()
    monkeypatch.setattr(ParticleStack, "read", fail)
    monkeypatch.setattr(ParticleStack, "read_unchecked", fail)
    with pytest.raises(ValueError, match="the disk went away"):
        morphem.reconstruct("backprojection", stack, tmp_path, preparation=Preparation(sign=1.0))
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        morphem.train  # noqa: B018

"""What a method found, on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import toy_stack

from morphem.core.grid import Grid
from morphem.core.types import Poses, Volume
from morphem.data.images import MemoryImages
from morphem.data.metadata import read_metadata
from morphem.data.mrc import read_map
from morphem.data.stack import ParticleStack
from morphem.engine.reconstruction import Reconstruction
from morphem.models.density import VoxelDensity

STAR = """data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
1 300 2.7 0.1 2.0 8

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnOpticsGroup #10
_myColumn #11
"""


def _stack(folder: Path, images: int = 6) -> ParticleStack:
    """Images in memory whose metadata came from a star file."""
    rows = [f"{k + 1}@s.mrcs {20 * k} 30.50 -7 1.250 0 10000 9900 10 1 keep{k}" for k in range(images)]
    (folder / "given.star").write_text(STAR + "\n".join(rows) + "\n")
    metadata = read_metadata(folder / "given.star")
    images_, optics = toy_stack(images).images, toy_stack(images).optics
    assert isinstance(images_, MemoryImages)
    return replace(toy_stack(images), images=images_, optics=optics, poses=metadata.poses, metadata=metadata)


def _found(stack: ParticleStack, latents: torch.Tensor) -> Reconstruction:
    generator = torch.Generator().manual_seed(0)
    density = VoxelDensity.of(Volume(torch.randn(8, 8, 8, generator=generator), Grid(8, 2.0)))
    history = {"parts": [{"epoch": 1, "image": 0.1 + 0.2}]}
    return Reconstruction(stack.poses, latents, density, stack.grid, history, {"version": "x"})


def test_what_was_saved_is_loaded(tmp_path: Path):
    stack = toy_stack(6, tilts=2)
    found = _found(stack, torch.randn(3, 2))
    found.save(tmp_path, stack)
    loaded = Reconstruction.load(tmp_path)
    assert torch.equal(loaded.latents, found.latents)
    assert torch.equal(loaded.poses.rotation, found.poses.rotation)
    assert torch.equal(loaded.volume(loaded.latents[0]).voxels, found.volume(found.latents[0]).voxels)
    assert (loaded.grid, loaded.history, loaded.provenance) == (found.grid, found.history, found.provenance)


def test_its_files_are_what_other_programs_read(tmp_path: Path):
    stack = _stack(tmp_path)
    latents = torch.randn(6, 2)
    _found(stack, latents).save(tmp_path / "run", stack)
    assert np.array_equal(np.load(tmp_path / "run" / "latents.npy"), latents.numpy())
    assert read_map(tmp_path / "run" / "mean.mrc").grid == Grid(8, 2.0)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["particles"] == 6


def test_the_particle_file_is_extended_and_otherwise_untouched(tmp_path: Path):
    stack = _stack(tmp_path)
    latents = torch.arange(12.0).view(6, 2) / 7
    _found(stack, latents).save(tmp_path / "run", stack)
    text = (tmp_path / "run" / "particles.star").read_text()
    assert "_morphemLatent1" in text
    assert "_morphemLatent2" in text
    rows = [line.split() for line in text.splitlines() if "@s.mrcs" in line]
    given = [line.split() for line in (tmp_path / "given.star").read_text().splitlines() if "@s.mrcs" in line]
    assert [row[:11] for row in rows] == given
    written = torch.tensor([[float(value) for value in row[11:]] for row in rows])
    assert torch.equal(written, latents)


def test_every_image_of_a_particle_gets_its_latent(tmp_path: Path):
    stack = replace(_stack(tmp_path), particle=torch.tensor([0, 0, 1, 1, 2, 2]))
    _found(stack, torch.tensor([[1.0], [2.0], [3.0]])).save(tmp_path / "run", stack)
    rows = [line.split() for line in (tmp_path / "run" / "particles.star").read_text().splitlines()]
    assert [float(row[-1]) for row in rows if row and "@" in row[0]] == [1, 1, 2, 2, 3, 3]


def test_poses_are_written_where_the_method_changed_them(tmp_path: Path):
    stack = _stack(tmp_path)
    moved = Poses(stack.poses.rotation, stack.poses.shift + 2.5)
    found = replace(_found(stack, torch.zeros(6, 1)), poses=moved)
    found.save(tmp_path / "run", stack)
    again = read_metadata(tmp_path / "run" / "particles.star")
    torch.testing.assert_close(again.poses.shift, moved.shift)
    torch.testing.assert_close(again.poses.rotation, moved.rotation)


def test_defoci_are_written_where_the_method_corrected_them(tmp_path: Path):
    stack = _stack(tmp_path)
    defoci = torch.tensor([10000.0, 9900.0]) + 100 * torch.arange(6.0)[:, None]
    replace(_found(stack, torch.zeros(6, 1)), defocus=defoci).save(tmp_path / "run", stack)
    again = read_metadata(tmp_path / "run" / "particles.star").optics
    torch.testing.assert_close(again.defoci.float(), defoci)
    assert torch.equal(again.astigmatism, stack.metadata.optics.astigmatism)
    loaded = Reconstruction.load(tmp_path / "run").defocus
    assert loaded is not None
    assert torch.equal(loaded, defoci)


def test_a_method_without_latents_writes_none(tmp_path: Path):
    stack = _stack(tmp_path)
    found = _found(stack, torch.zeros(6, 0))
    found.save(tmp_path / "run", stack)
    assert "morphem" not in (tmp_path / "run" / "particles.star").read_text()
    assert Reconstruction.load(tmp_path / "run").latents.shape == (6, 0)


def test_a_save_cut_short_has_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stack = toy_stack(6)
    monkeypatch.setattr("morphem.engine.reconstruction.write_map", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _found(stack, torch.zeros(6, 1)).save(tmp_path, stack)
    assert not (tmp_path / "summary.json").exists()

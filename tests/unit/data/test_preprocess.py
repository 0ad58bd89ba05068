from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.data import DataError, MetadataWarning
from morphem.data.images import DiskImages, MemoryImages, ShuffledImages, Whereabouts
from morphem.data.mrc import read_header, write_stack
from morphem.data.preprocess import prepare
from morphem.data.stack import ParticleStack, open_stack, stack_in_memory
from morphem.physics.ctf import contrast_transfer

GRID = Grid(32, 4.0)


@pytest.fixture
def noisy(make_optics) -> ParticleStack:
    """Bright blobs in noise of two groups: standard deviations 3 and 20 about offsets of hundreds."""
    random = torch.Generator().manual_seed(0)
    axis = torch.arange(32) - 16.0
    blob = torch.exp(-(axis**2 + axis[:, None] ** 2) / (2 * 3.0**2))
    group = torch.arange(400) % 2
    spread = torch.tensor([3.0, 20.0])[group][:, None, None]
    images = spread * (torch.randn(400, 32, 32, generator=random) + 0.8 * blob) + 300
    return replace(stack_in_memory(images, GRID, make_optics(400)), group=group)


def everything(stack: ParticleStack) -> torch.Tensor:
    return stack.read(torch.arange(len(stack))).images


def rim(box: int) -> torch.Tensor:
    axis = (torch.arange(box) - box // 2) / box
    return torch.hypot(axis[:, None], axis) > 0.42


def test_background_is_zero_and_its_variance_one_in_each_group(noisy):
    images = everything(prepare(noisy))[:, rim(32)]
    assert images.mean(-1).abs().max() < 1e-2  # float16 at 1
    for group in range(2):
        assert images[noisy.group == group].var() == pytest.approx(1, abs=0.01)


def test_noise_is_one_on_the_grid_that_images_are_cropped_to(noisy):
    prepared = prepare(noisy, box=16)
    assert prepared.grid == Grid(16, 8.0)
    assert everything(prepared)[:, rim(16)].var() == pytest.approx(1, abs=0.01)


def test_dark_protein_is_made_bright_and_said_so(noisy):
    dark = replace(noisy, images=MemoryImages(-everything(noisy)))
    with pytest.warns(MetadataWarning, match="protein is dark .*SIGN-001"):
        prepared = prepare(dark)
    assert everything(prepared).equal(everything(prepare(noisy)))


def test_a_given_sign_is_not_questioned(noisy):
    assert everything(prepare(noisy, sign=-1.0)).equal(-everything(prepare(noisy)))


def test_an_unclear_sign_is_said_and_left(make_optics):
    noise = torch.randn(50, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.warns(MetadataWarning, match="unclear .*SIGN-001"):
        prepare(stack_in_memory(noise, GRID, make_optics(50)))


def test_premultiplied_images_are_divided_by_their_transfer(make_optics):
    optics = make_optics(20)
    images = torch.randn(20, 32, 32, generator=torch.Generator().manual_seed(0))
    transfer = contrast_transfer(optics, GRID)
    # what a model of the plain images would have in a premultiplied set
    premultiplied = to_real(to_fourier(images) * transfer)
    stack = stack_in_memory(premultiplied, GRID, optics)
    prepared = prepare(replace(stack, premultiplied=torch.ones(20, dtype=torch.bool)), sign=1.0)
    assert not prepared.premultiplied.any()
    found, true = to_fourier(everything(prepared)), to_fourier(images)
    strong = transfer.abs() > 0.3
    ratio = (found / true)[strong]
    # y C² / (C² + 0.05²) is within 3 % of y; float16 and the background's mean cost the rest
    assert ratio.abs().std() / ratio.abs().mean() < 0.02
    assert (ratio.real > 0).all()


def test_only_premultiplied_rows_are_divided(noisy):
    half = replace(noisy, premultiplied=noisy.group == 1)
    plain, mixed = everything(prepare(noisy, sign=1.0)), everything(prepare(half, sign=1.0))
    assert mixed[::2].equal(plain[::2])
    assert not mixed[1::2].equal(plain[1::2])


def test_the_cache_holds_what_memory_would(noisy, tmp_path):
    assert everything(prepare(noisy, cache=tmp_path)).equal(everything(prepare(noisy)))


def test_the_cache_lies_in_a_seeded_random_order_and_epochs_run_along_it(noisy, tmp_path):
    prepared = prepare(noisy, cache=tmp_path, seed=4)
    images = prepared.images
    assert isinstance(images, ShuffledImages)
    sequence = images.sequence()
    assert sequence.sort().values.equal(torch.arange(400))
    assert not sequence.equal(torch.arange(400))
    assert sequence.equal(prepare(noisy, cache=tmp_path, seed=4).images.sequence())
    epoch = prepared.order(seed=0, epoch=0)
    assert epoch.sort().values.equal(torch.arange(400))
    assert not epoch.equal(prepared.order(seed=0, epoch=1))


def test_a_selection_of_the_cache_reads_its_rows(noisy, tmp_path):
    prepared = prepare(noisy, cache=tmp_path)
    rows = torch.tensor([5, 300, 17])
    assert everything(prepared.select(rows)).equal(everything(prepared)[rows])
    assert prepared.select(rows).order(0, 0).sort().values.tolist() == [0, 1, 2]


def test_the_cache_is_written_once_per_set_of_inputs(noisy, tmp_path):
    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    prepare(noisy, cache=tmp_path)
    first = files()
    prepare(noisy, cache=tmp_path)
    assert files() == first
    prepare(noisy, cache=tmp_path, box=16)
    prepare(noisy, cache=tmp_path, radius=40.0)
    prepare(replace(noisy, premultiplied=noisy.group == 1), cache=tmp_path)
    prepare(noisy.select(torch.arange(399)), cache=tmp_path)
    assert len(files()) == 10


def on_disk(stack: ParticleStack, path: Path) -> ParticleStack:
    write_stack(path, [everything(stack)], stack.grid)
    n, one = len(stack), np.ones(len(stack))
    where = Whereabouts(np.zeros(n, np.int64), np.arange(n), stack.grid.pixel_size * one, one)
    return replace(stack, images=DiskImages([read_header(path)], where, stack.grid))


def test_a_changed_stack_makes_a_new_cache(noisy, tmp_path):
    stack = on_disk(noisy, tmp_path / "a.mrcs")
    first = everything(prepare(stack, cache=tmp_path / "cache"))
    twice = replace(noisy, images=MemoryImages(everything(noisy) ** 2))
    changed = on_disk(twice, tmp_path / "a.mrcs")
    os.utime(tmp_path / "a.mrcs", ns=(0, 0))  # clocks of files may be coarse
    second = everything(prepare(changed, cache=tmp_path / "cache"))
    assert not second.equal(first)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_a_cache_cut_short_is_written_anew(noisy, tmp_path):
    expected = everything(prepare(noisy, cache=tmp_path))
    file = next(tmp_path.glob("*.npy"))
    os.truncate(file, 5000)
    assert everything(prepare(noisy, cache=tmp_path)).equal(expected)


def test_a_cache_without_its_note_is_written_anew(noisy, tmp_path):
    prepare(noisy, cache=tmp_path)
    note = next(tmp_path.glob("*.json"))
    facts = json.loads(note.read_text())
    assert facts["recipe"]["sign"] == 1
    note.unlink()
    prepare(noisy, cache=tmp_path)
    assert json.loads(note.read_text()) == facts


def test_all_images_that_are_not_numbers_are_named_and_nothing_is_left(noisy, tmp_path):
    images = everything(noisy)
    images[[3, 399]] = torch.nan
    broken = replace(noisy, images=MemoryImages(images))
    with pytest.raises(DataError, match=r"E-NAN-001 2 of 400 .*row 4,.*row 400"):
        prepare(broken, cache=tmp_path, sign=1.0)
    assert list(tmp_path.iterdir()) == []


def test_blank_images_are_refused(make_optics):
    blank = stack_in_memory(torch.full((5, 32, 32), 7.0), GRID, make_optics(5))
    with pytest.raises(DataError, match="E-IMG-001"):
        prepare(blank, sign=1.0)


def test_projections_without_noise_do_not_overflow(make_optics):
    axis = torch.arange(32) - 16.0
    blob = (100 * torch.exp(-(axis**2 + axis[:, None] ** 2) / 18)).expand(5, 32, 32)
    images = everything(prepare(stack_in_memory(blob.contiguous(), GRID, make_optics(5)), sign=1.0))
    assert images.isfinite().all()
    assert images.var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("box", [34, 15])
def test_a_box_that_cannot_be_is_refused(noisy, box):
    with pytest.raises(DataError, match="E-BOX-001"):
        prepare(noisy, box=box)


def test_a_mask_without_outside_is_refused(noisy):
    with pytest.raises(DataError, match="E-MASK-001"):
        prepare(noisy, radius=200.0)


def test_a_file_where_the_cache_should_be_is_a_coded_error(noisy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="E-DISK-002"):
        prepare(noisy, cache=tmp_path / "file")


FULL = """
import resource, sys, torch
from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.data.preprocess import prepare
from morphem.data.stack import stack_in_memory
one = torch.ones(100)
stack = stack_in_memory(torch.randn(100, 32, 32), Grid(32, 2.0), Optics(*[one] * 9))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
prepare(stack, cache=sys.argv[1], sign=1.0)
"""


def test_a_disk_that_fills_up_is_a_coded_error_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "E-DISK-001" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match=r"E-DISK-001 .*are needed"):
        prepare(noisy, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_set_beyond_the_free_memory_is_sent_to_a_cache(noisy, tmp_path, monkeypatch):
    monkeypatch.setattr("morphem.data.preprocess.free_memory", lambda: 10**6)
    with pytest.raises(DataError, match=r"E-MEM-001 .*cache"):
        prepare(noisy)
    assert len(prepare(noisy, cache=tmp_path)) == 400


def test_empiar_10076_is_prepared_alike_from_star_and_cs(shared_data):
    folder: Path = shared_data / "real" / "cryodrgn"
    with pytest.warns(MetadataWarning, match="protein is dark"):
        star = prepare(open_stack(folder / "empiar_10076_7.star"), box=64)
    cs = prepare(open_stack(folder / "empiar_10076_7.cs"), box=64)
    torch.testing.assert_close(everything(star), everything(cs), atol=1e-3, rtol=1e-3)

"""The folder of a run."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from toy import toy_stack

from morphem.engine.descend import DescentConfig
from morphem.engine.files import read_tensors, write_tensors
from morphem.engine.identity import ResumeError, fingerprint
from morphem.engine.run import open_run
from morphem.engine.signals import REQUEUE, Interrupted, stop_at_once, stop_requests

STACK = toy_stack(9)


@dataclass(frozen=True)
class Config:
    descent: DescentConfig = field(default_factory=lambda: DescentConfig(epochs=3, batch_size=8))
    start: Path | None = None
    widths: tuple[int, ...] = (3, 4)


def test_a_stage_is_absent_half_done_or_finished(tmp_path: Path):
    stage = open_run(tmp_path, Config(), STACK).stage("parts")
    assert not stage.folder.exists()
    stage.save_checkpoint(3, {"x": torch.ones(2)}, {"epoch": 1})
    assert not stage.finished
    stage.save_result({"x": torch.zeros(2)}, {"history": []})
    assert stage.finished
    assert stage.load_checkpoint() is None
    assert stage.load_result()[0]["x"].tolist() == [0, 0]


def test_the_same_settings_open_the_same_run(tmp_path: Path):
    open_run(tmp_path, Config(), STACK)
    begun = json.loads((tmp_path / "run.json").read_text())
    assert open_run(tmp_path, Config(), toy_stack(9)).provenance() == begun
    assert begun["identity"]["config"]["widths"] == [3, 4]


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (Config(DescentConfig(epochs=4, batch_size=8)), r"config\.descent\.epochs was 3, is now 4"),
        (Config(start=Path("map.mrc")), r"config\.start was None, is now map\.mrc"),
        (Config(widths=(3, 5)), r"config\.widths was \[3, 4\], is now \[3, 5\]"),
    ],
)
def test_a_changed_setting_is_named_with_what_to_do(tmp_path: Path, config: Config, change: str):
    open_run(tmp_path, Config(), STACK)
    with pytest.raises(
        ResumeError, match=rf"^E-RESUME-001 .*{change}; .*another folder \(-o\), or --overwrite"
    ):
        open_run(tmp_path, config, STACK)


def test_what_does_not_change_the_result_may_change(tmp_path: Path):
    open_run(tmp_path, Config(), STACK)
    descent = DescentConfig(epochs=3, batch_size=8, checkpoint_minutes=1.0, device="cpu")
    open_run(tmp_path, Config(descent), STACK)


def test_other_particles_are_refused(tmp_path: Path):
    open_run(tmp_path, Config(), STACK)
    with pytest.raises(ResumeError, match=r"data\.images was 9, is now 8"):
        open_run(tmp_path, Config(), toy_stack(8))


def test_overwriting_forgets_the_other_run(tmp_path: Path):
    run = open_run(tmp_path, Config(), STACK)
    run.stage("parts").save_result({}, {"history": []})
    (tmp_path / "notes.txt").write_text("mine")
    run = open_run(tmp_path, Config(), toy_stack(8), overwrite=True)
    assert not run.stage("parts").finished
    assert (tmp_path / "notes.txt").exists()


def test_a_folder_with_somebodys_particles_is_not_taken(tmp_path: Path):
    (tmp_path / "particles.star").write_text("data_")
    with pytest.raises(ResumeError, match=r"holds particles\.star but no run"):
        open_run(tmp_path, Config(), STACK)


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("poses", replace(STACK.poses, shift=STACK.poses.shift + 1)),
        ("optics", replace(STACK.optics, b_factor=STACK.optics.b_factor + 1)),
        ("particle", STACK.particle.flip(0)),
    ],
)
def test_a_fingerprint_changes_with_a_column_and_nowhere_else(column: str, changed: object):
    old, new = fingerprint(STACK), fingerprint(replace(STACK, **{column: changed}))
    assert [name for name in old if old[name] != new[name]] == [column]


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path):
    whole = torch.arange(6.0).view(2, 3)
    write_tensors(tmp_path / "x.safetensors", {"whole": whole, "part": whole[:, 1]}, {"a": 0.1})
    tensors, record = read_tensors(tmp_path / "x.safetensors")
    assert tensors["part"].tolist() == [1, 4]
    assert record == {"a": 0.1}


def test_a_file_that_could_not_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"x": torch.ones(3)}, {})

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ValueError, match="E-DISK-001"):
        write_tensors(path, {"x": torch.zeros(3)}, {})
    assert [each.name for each in tmp_path.iterdir()] == ["x.safetensors"]
    assert read_tensors(path)[0]["x"].tolist() == [1, 1, 1]


def test_a_signal_between_stages_exits_for_another_turn():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as end, stop_at_once():
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == REQUEUE
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_after_the_last_look_is_not_lost():
    with pytest.raises(Interrupted) as end, stop_at_once(), stop_requests():
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == REQUEUE


def test_one_of_several_processes_keeps_a_signal_until_all_can_agree(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = signal.getsignal(signal.SIGTERM)
    with stop_at_once():
        with stop_requests() as stop:
            assert stop.code == 0
            signal.raise_signal(signal.SIGTERM)
        with stop_requests() as stop:
            assert stop.code == REQUEUE
    assert signal.getsignal(signal.SIGTERM) is before

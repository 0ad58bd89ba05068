"""A descent that was stopped ends as if it never had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import ToyObjective, toy_stack

from morphem.core.types import Particles
from morphem.data.stack import ParticleStack
from morphem.engine import progress
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.files import read_tensors
from morphem.engine.identity import ResumeError
from morphem.engine.run import Run, open_run
from morphem.engine.signals import BY_HAND, REQUEUE, Interrupted

CONFIG = DescentConfig(epochs=3, batch_size=8, warm_up=20)
STACK = toy_stack(61, tilts=2)


def _train(
    folder: Path, config: DescentConfig = CONFIG, objective: ToyObjective | None = None
) -> ToyObjective:
    return descend(objective or ToyObjective(31), STACK, config, Run(folder))


def _same(a: ToyObjective, b: ToyObjective) -> bool:
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ToyObjective, Path]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return _train(folder), folder


def _stop_after(steps: int, monkeypatch: pytest.MonkeyPatch, act: object) -> None:
    """Do something within a step, as from outside."""
    terms, made = ToyObjective.terms, [0]

    def counted(self: ToyObjective, batch: Particles, seen: int) -> dict[str, Tensor]:
        made[0] += 1
        if made[0] == steps:
            act()  # type: ignore[operator]
        return terms(self, batch, seen)

    monkeypatch.setattr(ToyObjective, "terms", counted)


def _raise() -> None:
    raise ConnectionAbortedError


@pytest.mark.parametrize("steps", [1, 5, 8, 9, 20])
@pytest.mark.parametrize("minutes", [0.0, 5.0], ids=["saved each step", "saved each epoch"])
def test_a_run_that_broke_goes_on_bit_for_bit(
    uninterrupted: tuple[ToyObjective, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    minutes: float,
):
    config = replace(CONFIG, checkpoint_minutes=minutes)
    _stop_after(steps, monkeypatch, _raise)
    with pytest.raises(ConnectionAbortedError):
        _train(tmp_path, config)
    monkeypatch.undo()
    torch.manual_seed(77)  # what the process did before does not matter
    assert _same(_train(tmp_path, config), uninterrupted[0])
    assert (
        read_tensors(tmp_path / "result.safetensors")[1]
        == read_tensors(uninterrupted[1] / "result.safetensors")[1]
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, REQUEUE), (signal.SIGUSR1, REQUEUE), (signal.SIGINT, BY_HAND)]
)
def test_a_signal_ends_the_step_saves_and_tells_how_to_go_on(
    uninterrupted: tuple[ToyObjective, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
):
    before = signal.getsignal(number)
    _stop_after(11, monkeypatch, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted) as stopped:
        _train(tmp_path)
    assert stopped.value.code == code
    assert "the same command goes on from here" in capsys.readouterr().err
    assert read_tensors(tmp_path / "checkpoint-000000011.safetensors")[1]["batch"] == 3
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    assert _same(_train(tmp_path), uninterrupted[0])


def test_a_stop_between_the_last_step_of_an_epoch_and_its_end_changes_no_bit(
    uninterrupted: tuple[ToyObjective, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _stop_after(8, monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        _train(tmp_path)
    monkeypatch.undo()
    assert _same(_train(tmp_path), uninterrupted[0])


def test_a_second_interrupt_by_hand_acts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    _stop_after(3, monkeypatch, twice)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path)


def test_two_checkpoints_are_kept_and_none_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[ToyObjective, Path]
):
    (tmp_path / ".checkpoint-000000003.0a1b2c3d.safetensors").write_text("cut short by a kill")
    _stop_after(20, monkeypatch, _raise)
    with pytest.raises(ConnectionAbortedError):
        _train(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*checkpoint*")) == [
        "checkpoint-000000008.safetensors",
        "checkpoint-000000016.safetensors",
    ]
    assert list(uninterrupted[1].glob("checkpoint*")) == []


def test_a_spoilt_checkpoint_is_passed_over(
    uninterrupted: tuple[ToyObjective, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    _stop_after(20, monkeypatch, _raise)
    with pytest.raises(ConnectionAbortedError):
        _train(tmp_path)
    monkeypatch.undo()
    last = tmp_path / "checkpoint-000000016.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    assert _same(_train(tmp_path), uninterrupted[0])
    assert "going back to the one before it" in caplog.text


def test_a_finished_stage_is_reloaded_and_nothing_is_read(
    uninterrupted: tuple[ToyObjective, Path], monkeypatch: pytest.MonkeyPatch
):
    done, folder = uninterrupted
    assert Run(folder).finished
    monkeypatch.setattr(ParticleStack, "read", lambda *_: pytest.fail("read"))
    assert _same(_train(folder), done)


@pytest.mark.parametrize("finished", [True, False])
def test_a_stage_of_other_settings_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
):
    if not finished:
        _stop_after(9, monkeypatch, _raise)
    try:
        _train(tmp_path)
    except ConnectionAbortedError:
        monkeypatch.undo()
    with pytest.raises(ResumeError, match=r"E-RESUME-001 .* descent\.epochs was 3, is now 4"):
        _train(tmp_path, replace(CONFIG, epochs=4))
    other = replace(STACK, images=STACK.images.select(torch.arange(61).flip(0)))
    with pytest.raises(ResumeError, match=r"data\.grey_values was"):
        descend(ToyObjective(31), other, CONFIG, Run(tmp_path))
    _train(tmp_path, replace(CONFIG, checkpoint_minutes=1.0))


def test_descending_leaves_the_random_numbers_of_others_alone(tmp_path: Path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    _train(tmp_path)
    assert torch.equal(torch.rand(4), expected)


# The parent warms up once and forks: a fresh interpreter would take seconds to start after each kill.
_SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from toy import ToyObjective, toy_stack
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.run import Run

def train(name, pause, **settings):
    config = DescentConfig(batch_size=8, checkpoint_minutes=0.0, **settings)
    descend(ToyObjective(31, pause=pause), toy_stack(61, tilts=2), config, Run(Path({folder!r}) / name))

train("warm", 0.0, epochs=1)
folder, chance, goal = Path({folder!r}) / "run", random.Random(0), 0
for kill in range({kills}):
    child = os.fork()
    if not child:
        train("run", 0.005, epochs=8)
        os._exit(0)
    goal += chance.randint(1, 6)  # steps
    while not any(int(path.stem[-9:]) >= goal for path in folder.glob("checkpoint*")):
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_kills_at_any_moment_change_no_bit(tmp_path: Path):
    script = _SCRIPT.format(here=str(Path(__file__).parent), folder=str(tmp_path), kills=10)
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL, timeout=120)
    assert any((tmp_path / "run").glob("checkpoint*"))
    config = DescentConfig(epochs=8, batch_size=8)
    alone, resumed = (
        descend(ToyObjective(31), STACK, config, Run(tmp_path / name)) for name in ("alone", "run")
    )
    assert _same(alone, resumed)


def test_a_full_disk_leaves_the_last_checkpoint(
    uninterrupted: tuple[ToyObjective, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    _stop_after(12, monkeypatch, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(ValueError, match="E-DISK-001"):
        _train(tmp_path)
    monkeypatch.undo()
    assert _same(_train(tmp_path), uninterrupted[0])


def test_the_heartbeat_tells_where_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    run = open_run(tmp_path, CONFIG, STACK)
    descend(ToyObjective(31), STACK, CONFIG, run.stage("parts"))
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["stage"], status["step"], status["total"]) == ("parts", 183, 183)
    assert {"eta_s", "images_per_second", "rss_mib", "last_checkpoint", "terms"} <= set(status)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "epoch" in line] == [61, 122, 183]
    assert all(set(line["terms"]) == {"image", "latent"} for line in lines)
    assert run.history()["parts"][-1]["epoch"] == 3

"""Steps that are no numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import ToyObjective, toy_stack

from morphem.core.types import Particles
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.run import Run

CONFIG = DescentConfig(epochs=2, batch_size=8)
STACK = toy_stack(64)


class Sick:
    """Poisons chosen steps of every toy objective, counted from 1, set-backs included."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ill: set[int], only_gradient: bool = False) -> None:
        self.made, self.seen = 0, list[int]()
        terms = ToyObjective.terms

        def poisoned(toy: ToyObjective, batch: Particles, seen: int) -> dict[str, Tensor]:
            self.made += 1
            self.seen.append(seen)
            found = terms(toy, batch, seen)
            if self.made in ill:
                # the square root of zero is zero, its slope is not a number
                spoilt = (0 * toy.level).square().sum().sqrt() if only_gradient else toy.maps.sum() / 0
                found["image"] = found["image"] + spoilt
            return found

        monkeypatch.setattr(ToyObjective, "terms", poisoned)


@pytest.mark.parametrize("only_gradient", [True, False])
def test_a_step_that_is_no_number_is_left_out_and_its_rows_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_gradient: bool
):
    sick = Sick(monkeypatch, {3, 5}, only_gradient)
    found = descend(ToyObjective(64), STACK, CONFIG, Run(tmp_path))
    assert all(value.isfinite().all() for value in found.state_dict().values())
    assert sick.made == 16
    lines = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "left out" in line]
    rows = STACK.order(CONFIG.seed, 0).split(8)
    assert [json.loads(line.partition("rows ")[2]) for line in lines] == [rows[2].tolist(), rows[4].tolist()]


def test_a_step_left_out_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Sick(monkeypatch, {1, 2})
    found = descend(ToyObjective(64), STACK.select(torch.arange(16)), DescentConfig(1, 8), Run(tmp_path))
    fresh = ToyObjective(64)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in found.state_dict().items())


def test_three_in_a_row_go_back_to_the_checkpoint_at_half_the_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sick = Sick(monkeypatch, {10, 11, 12})
    descend(ToyObjective(64), STACK, CONFIG, Run(tmp_path))
    assert sick.seen[9:14] == [72, 80, 88, 64, 72]
    assert sick.made == 12 + 8
    assert "learning rates halved" in (tmp_path / "log.txt").read_text()


def test_two_in_a_row_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sick = Sick(monkeypatch, {10, 11, 13, 14})
    descend(ToyObjective(64), STACK, CONFIG, Run(tmp_path))
    assert sick.made == 16


def test_the_third_time_training_stops_and_the_rows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Sick(monkeypatch, set(range(10, 100)))
    with pytest.raises(FloatingPointError, match=r"^E-TRAIN-NAN .*batch 3 of epoch 2"):
        descend(ToyObjective(64), STACK, CONFIG, Run(tmp_path))
    kept = json.loads((tmp_path / "not_a_number.json").read_text())
    assert kept["rows"] == STACK.order(CONFIG.seed, 1).split(8)[2].tolist()


def test_halved_rates_survive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Sick(monkeypatch, set(range(10, 100)))
    with pytest.raises(FloatingPointError):
        descend(ToyObjective(64), STACK, CONFIG, Run(tmp_path))
    _, record = Run(tmp_path).load_checkpoint() or ({}, {})
    assert record["halvings"] == 2

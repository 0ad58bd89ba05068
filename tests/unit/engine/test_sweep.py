"""Sums over particles."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from toy import ToyMean, toy_stack

from morphem.core.types import Particles
from morphem.engine.run import Run
from morphem.engine.signals import REQUEUE, Interrupted
from morphem.engine.sweep import sweep

STACK = toy_stack(23)
IMAGES = STACK.read(torch.arange(23)).images


def test_one_pass_gathers_every_image_once():
    torch.testing.assert_close(sweep(ToyMean(), STACK, 1).mean, IMAGES.mean(0) / 2)


def test_a_second_pass_starts_from_the_first_ones_answer():
    torch.testing.assert_close(sweep(ToyMean(), STACK, 2).mean, IMAGES.mean(0) * 3 / 4)


def test_only_the_rows_asked_for_are_gathered():
    rows = torch.tensor([3, 4, 20])
    torch.testing.assert_close(sweep(ToyMean(), STACK, 1, rows=rows).mean, IMAGES[rows].mean(0) / 2)


def test_a_sweep_asked_to_stop_exits_for_another_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gather = ToyMean.gather

    def stopped(self: ToyMean, batch: Particles) -> None:
        gather(self, batch)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ToyMean, "gather", stopped)
    with pytest.raises(Interrupted) as end:
        sweep(ToyMean(), STACK, 1, Run(tmp_path))
    assert end.value.code == REQUEUE

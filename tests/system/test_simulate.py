"""`morphem simulate` as users type it: what it writes, and what it says when it cannot."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Answer, finish, start

Command = Callable[..., Answer]
SMALL = ("--images", "300", "--box", "16", "--workers", "1")


def test_a_recipe_becomes_a_particle_set(morphem: Command, tmp_path: Path):
    answer = morphem("simulate", "hinge", "-o", str(tmp_path / "set"), *SMALL, "--snr", "0.3")
    assert answer.status == 0, answer.err
    assert answer.out.strip().endswith("particles.star")
    record = json.loads((tmp_path / "set" / "truth" / "dataset.json").read_text())
    assert record["images"] == 300
    assert record["grid"] == {"box": 16, "pixel_size": 16.0}
    assert record["conditions"]["snr"] == 0.3


def test_a_command_that_was_killed_goes_on(tmp_path: Path):
    words = ("simulate", "hinge", "-o", tmp_path / "set", "--images", 6000, "--box", 32, "--workers", 2)
    running = start(*words)
    done = tmp_path / "set" / "particles.done"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (done.exists() and any(done.read_bytes())):
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert finish(running).status != 0
    assert 0 < sum(done.read_bytes()) < 24
    assert not (tmp_path / "set" / "particles.star").exists()
    again = finish(start(*words))
    assert again.status == 0, again.err
    assert (tmp_path / "set" / "particles.mrcs").stat().st_size == 1024 + 4 * 6000 * 32**2
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "particles.mrcs",
        "particles.star",
        "truth",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing",), "is no recipe"),
        (("absent.pdb",), "does not exist"),
        (("igg-1d",), "--structures"),
        (("hinge", "--snr", "0"), "must be above 0"),
        (("hinge", "--torsion", "A:1:CA:C"), "belong together"),
        (("hinge", "--particles", "absent.star"), "absent.star"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(
    morphem: Command, tmp_path: Path, words: tuple[str, ...], said: str
):
    answer = morphem("simulate", *words, "-o", str(tmp_path / "set"), "--images", "10", "--box", "16")
    assert answer.status != 0
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "set" / "particles.star").exists()

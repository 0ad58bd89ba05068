"""What a run says of itself."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from morphem.engine import progress
from morphem.engine.progress import Progress


def _work(told: Progress, steps: int) -> None:
    for step in range(1, steps + 1):
        time.sleep(0.01)
        told.advance(10 * step, {"image": 1 / step})


def test_without_a_terminal_lines_come_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    with Progress(tmp_path, "parts", 300) as told:
        _work(told, 30)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 8
    assert lines[0].startswith("parts: ")
    assert "/300 images, " in lines[0]
    assert "images/s" in lines[0]
    assert "left, image 0." in lines[0]
    assert len((tmp_path / "log.txt").read_text().splitlines()) == len(lines)


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with Progress(None, "parts", 300) as told:
        _work(told, 30)
    assert "━" in file.getvalue()
    assert "0:00 left" in file.getvalue()


def test_the_rate_counts_from_the_end_of_the_first_step():
    with Progress(None, "parts", 300) as told:
        time.sleep(0.5)  # kernels are compiled
        _work(told, 10)
        assert told.images_per_second > 300


def test_images_of_an_earlier_start_do_not_count_for_the_rate():
    with Progress(None, "parts", 10_000) as told:
        told.begin(9_000)
        for step in range(1, 11):
            time.sleep(0.01)
            told.advance(9_000 + step, {})
        assert told.images_per_second < 200


def test_the_heart_beats_while_a_step_takes_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.02)
    with Progress(tmp_path, "parts", 300) as told:
        told.advance(10, {"image": 2.0})
        time.sleep(0.1)
        first = (tmp_path / "status.json").stat().st_mtime_ns
        time.sleep(0.2)
        assert (tmp_path / "status.json").stat().st_mtime_ns > first
        assert json.loads((tmp_path / "status.json").read_text())["terms"] == {"image": 2.0}


def test_a_heartbeat_that_cannot_be_written_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with Progress(tmp_path, "parts", 300) as told:
        _work(told, 3)
    assert not (tmp_path / "status.json").exists()


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "0:05"), (65.4, "1:05"), (3_725, "1:02:05"), (360_000, "100:00:00")]
)
def test_the_clock_is_read_as_clocks_are(seconds: float, words: str):
    assert progress._clock(seconds) == words

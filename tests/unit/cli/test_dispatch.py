"""The command line's own behaviour: names, statuses, messages."""

from __future__ import annotations

import errno
import importlib
import json
import subprocess
import sys

import pytest

from morphem import cli
from morphem.cli import commands
from morphem.cli.errors import explain
from morphem.data.errors import DataError


def test_every_listed_command_exists():
    own = set(cli.COMMANDS) - {"methods"}
    assert [name for name in own if not hasattr(importlib.import_module(cli.home(name)), name)] == []


def test_a_mistyped_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["docto"]) == 2
    assert "did you mean doctor?" in capsys.readouterr().err


def test_a_mistyped_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["doctor", "--jsno"])
    assert stopped.value.code == 2
    assert "--json" in capsys.readouterr().err


def test_help_of_every_command_ends_well(capsys: pytest.CaptureFixture[str]):
    for name in set(cli.COMMANDS) - {"methods", "reconstruct"}:
        with pytest.raises(SystemExit) as stopped:
            cli.main([name, "--help"])
        assert stopped.value.code == 0
        assert f"morphem {name}" in capsys.readouterr().out


def _fail(error: BaseException, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    def doctor(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(commands, "doctor", doctor)
    return cli.main(["doctor", *words])


def test_a_mendable_error_is_one_message_without_traceback(monkeypatch, capsys):
    assert _fail(DataError("POSE-001", "row 3 is no rotation; check the file"), monkeypatch) == 1
    message = capsys.readouterr().err
    assert message.startswith("E-POSE-001 row 3 is no rotation; check the file\n")
    assert "Traceback" not in message


def test_debug_shows_the_traceback(monkeypatch):
    with pytest.raises(ValueError, match="wrong"):
        _fail(ValueError("wrong"), monkeypatch, "--debug")


def test_a_defect_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        _fail(ZeroDivisionError(), monkeypatch)


def test_an_interrupt_exits_130(monkeypatch):
    assert _fail(KeyboardInterrupt(), monkeypatch) == 130


def test_a_status_chosen_by_the_engine_passes_through(monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        _fail(SystemExit(75), monkeypatch)
    assert stopped.value.code == 75


def test_a_warning_is_a_note_without_source_lines():
    script = (
        "import warnings; from morphem import cli; from morphem.cli import commands;"
        "commands.doctor = lambda arguments: warnings.warn('beam tilt is not modelled');"
        "cli.main(['doctor'])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stderr == "note: beam tilt is not modelled\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(errno.ENOENT, "gone", "a.star"), "E-PATH-001 a.star"),
        (PermissionError(errno.EACCES, "no", "/run"), "E-DISK-002 /run"),
        (OSError(errno.ENOSPC, "full", "/run"), "E-DISK-001 /run"),
        (OSError("odd"), "E-DISK-003 odd"),
        (ModuleNotFoundError("No module named 'x'"), "E-INSTALL-001 No module"),
        (ValueError("box 3"), "E-VALUE-001 box 3"),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, code: str):
    assert explain(error).startswith(code)


def test_doctor_tells_programs_what_it_tells_people(tmp_path, capsys):
    assert cli.main(["doctor", str(tmp_path), "--json"]) == 0
    names = [finding["name"] for finding in json.loads(capsys.readouterr().out)]
    assert {"Python", "packages", "GPU", "threads", "memory", "disk", "SLURM", "ChimeraX"} <= set(names)


def test_doctor_fails_where_nothing_can_be_written(tmp_path, capsys):
    assert cli.main(["doctor", str(tmp_path / "nowhere")]) == 1
    assert "cannot write here" in capsys.readouterr().out


def test_status_shows_the_last_sign_of_life(tmp_path, capsys):
    (tmp_path / "status.json").write_text('{"stage": "parts", "eta_s": 12}')
    assert cli.main(["status", str(tmp_path)]) == 0
    assert "parts" in capsys.readouterr().out


def test_status_of_no_run_names_the_missing_file(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path)]) == 1
    assert f"E-PATH-001 {tmp_path / 'status.json'}" in capsys.readouterr().err


def test_an_option_may_be_known_before_the_others():
    assert commands._option(["a.star", "--preset", "paper"], "--preset") == "paper"
    assert commands._option(["--preset=paper"], "--preset") == "paper"
    assert commands._option(["a.star"], "--preset") == ""

"""The benchmark: one command from a recipe to a line of results, and from lines to the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import further, quality, table  # noqa: E402
from benchmarks.peers import cryodrgn, environments, process  # noqa: E402


def called(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The line of one method on a small set."""
    folder = tmp_path_factory.mktemp("quality")
    words = ("hinge", "--tier", "tiny", "--images", 200, "--method", "backprojection")
    said = called("benchmarks.quality", *words, "--work", folder, "--json", folder / "out.jsonl")
    assert said.returncode == 0, said.stderr
    return folder / "out.jsonl"


@pytest.mark.slow
def test_one_command_leads_from_a_recipe_to_scores(results):
    first = json.loads(results.read_text())
    score = first["evaluation"]["maps"]["by_state"]["deviation_fsc"]
    assert abs(score["value"]) < 1e-3 < score["ceiling"]  # one map for all knows of no motion
    assert first["command"] == (
        "python -m benchmarks.quality hinge --tier tiny --images 200 --method backprojection"
    )
    assert first["cpu_seconds"] > 0.5
    assert first["peak_mib"] > 100


def test_a_reconstruction_that_came_to_its_end_is_not_made_again(tmp_path):
    usage = {"command": "cryospire", "seconds": 9.0, "cpu_seconds": 8.0, "peak_mib": 7.0, "stopped": False}
    held = {"result": "run", "usage": [usage], "facts": {"epochs": 3}}
    (tmp_path / "made.json").write_text(json.dumps(held))
    given = quality.arguments().parse_args(["hinge", "--method", "cryospire"])
    made = quality.reconstructed(given, tmp_path / "data", tmp_path)
    assert made.result == tmp_path / "run"
    assert made.usage[0].seconds == 9.0


@pytest.mark.slow
def test_a_line_of_results_becomes_a_row_of_the_page_and_a_figure(results, tmp_path):
    page, figure = tmp_path / "page.md", tmp_path / "figure.png"
    page.write_text(f"before\n{table.BEGIN}\n{table.END}\nafter\n")
    words = ("benchmarks.table", "--results", results, "--page", page, "--figure", figure)
    assert called(*words, "--check").returncode == 1
    assert called(*words).returncode == 0
    assert called(*words, "--check").returncode == 0
    assert "| backprojection | " in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert figure.stat().st_size > 10_000


def test_the_page_agrees_with_the_results():
    assert table.filled(table.PAGE.read_text(), table.read(table.RESULTS)) == table.PAGE.read_text()


def test_conditions_are_handed_to_the_simulation_and_told_in_the_row():
    given = quality.arguments().parse_args(
        [
            "hinge",
            "--method",
            "cryospire",
            "--seen",
            "junk=.1",
            "rotation_error=2",
            "--set",
            "parts__gaussians=9",
        ]
    )
    assert quality.options_of(given.seen) == ["--junk", ".1", "--rotation-error", "2"]
    assert quality.options_of(given.set) == ["--parts.gaussians", "9"]


def scored_row(label: str, value: float, seed: int = 0, seen: tuple[str, ...] = ()) -> str:
    """A line of results, as far as further sections read it."""
    maps = {"by_state": {"deviation_fsc": {"value": value, "ceiling": 0.95}}}
    maps["by_image"] = {"auc": {"value": value / 2, "ceiling": 0.475}}
    asked = {"label": label, "command": label, "commit": "c0", "seed": seed, "seen": seen, "recipe": "hinge"}
    return json.dumps({**asked, "images": 200, "box": 32, "finished": True, "evaluation": {"maps": maps}})


def test_what_a_nuisance_costs_is_told_beside_clean_images_of_the_same_seed():
    junk = ("junk=0.1",)
    rows = [scored_row("a", 0.9), scored_row("a", 0.85, seen=junk), scored_row("b", 0.8)]
    rows += [scored_row("b", 0.6, seen=junk), scored_row("b", 0.9, 1), scored_row("b", 0.8, 1, junk)]
    text = further.robustness("\n".join(rows))
    assert "| | clean | 10 % junk |" in text
    assert "| a | .900 | .850 (.050) |" in text
    assert "| b | .800 .900 | .600 .800 (.150) |" in text
    assert "| **ceiling** | .950 | .950 |" in text


def test_ablations_stand_beside_each_other():
    rows = [scored_row("a", 0.9), scored_row("a, frames=none", 0.8), scored_row("a", 0.7, 1)]
    text = further.ablations("\n".join(rows))
    assert "| | hinge, 200 of 32 pixels, seed 0 | hinge, 200 of 32 pixels, seed 1 |" in text
    assert "| a | .900 (.450) | .700 (.350) |" in text
    assert "| a, frames=none: Gaussians ride on no frames | .800 (.400) | – |" in text
    assert "| **ceiling** | .950 (.475) | .950 (.475) |" in text
    assert " Commits c0." in text


def test_paces_are_ratios_of_one_run():
    row = {
        "program": "a",
        "what": "whole run",
        "epochs": 20,
        "images_per_second": 5.0,
        "fast_over_this": 120.4,
    }
    where = {"recipe": "hinge", "images": 200, "box": 32, "commit": "abc", "machine": {"processor": "p"}}
    text = further.pace(json.dumps({**where, "rows": [{**row, "seconds": 8000, "peak_memory_mb": 2048}]}))
    assert "| a, 20 epochs | whole run | 5 | 120 | 2.2 h | 2.0 GiB |" in text


def test_parts_that_were_told_stand_beside_those_that_were_counted():
    scores = {"adjusted_rand": 0.9, "deviation_fsc": 0.8, "ceiling": 0.95, "auc": 0.46, "auc_ceiling": 0.47}
    common = {"images": 30, "box": 32, "pixel_size": 8.0, "snr": 0.2, "scores": scores}
    rows = [{"parts": 3, "count": count, "seed": 0, "found": max(count, 3), **common} for count in (0, 64)]
    rows.append({"parts": 1, "count": 0, "seed": 0, "found": 1, **common})
    text = further.parts(json.dumps({"rows": rows}))
    assert "| 3 | 0 | 3 | .900 | .800 | .950 | .460 | .470 |" in text
    assert "| 1 | 0 | 1 | – | – | – | .460 | .470 |" in text
    assert "| 3 | – | 3 | .900" in text
    assert "| 3 | 64 | 64 | .900" in text


def test_a_program_is_stopped_when_its_time_is_up(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    used = process.measured(command, tmp_path / "log", environment(), budget=1.0)
    assert used.stopped
    assert 1 <= used.seconds < 20


def test_a_program_that_fails_is_quoted(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such box')"]
    with pytest.raises(process.ProgramError, match="no such box"):
        process.measured(command, tmp_path / "log", environment(), budget=30)


def test_latents_of_an_epoch_that_were_cut_short_do_not_count(tmp_path):
    whole, images = 2 * 4 * cryodrgn.LATENT * 10, 10
    (tmp_path / "z.1.pkl").write_bytes(bytes(whole + 100))
    (tmp_path / "z.2.pkl").write_bytes(bytes(whole - 100))
    assert cryodrgn.last_epoch(tmp_path, images) == 1
    assert cryodrgn.last_epoch(tmp_path / "nowhere", images) == 0


@pytest.mark.parametrize(
    ("log", "rate"),
    [
        ("=====> Epoch: 1 Average gen loss = 1; Finished in 0:00:20.0\n" * 2, 50.0),
        (
            "(INFO) (train_vae.py) (21-Nov-2026 12:49:50) Using 0 workers for data loading\n"
            "(INFO) (train_vae.py) (21-Nov-2026 12:50:30) # [Train Epoch: 1/20] [160/1000 particles] gen",
            4.0,
        ),
        ("nothing", None),
    ],
)
def test_the_pace_is_that_of_whole_epochs_or_of_the_first_as_far_as_it_came(log, rate):
    assert cryodrgn.pace(log, images=1000) == rate


def test_a_licence_with_conditions_is_not_agreed_to_in_passing(tmp_path):
    with pytest.raises(PermissionError, match="non-commercial"):
        environments.install(environments.PEERS["recovar"], tmp_path / "peer")
    assert not (tmp_path / "peer").exists()


def test_a_peer_that_is_not_there_is_named_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"benchmarks\.peers install cryodrgn"):
        environments.installed("cryodrgn", tmp_path)


def test_a_recorded_command_does_not_name_folders_of_the_machine():
    words = ["igg-1d", "--work", "/here", "--structures", "/there", "--peer=/p", "--method", "cryodrgn"]
    assert quality.typed(words) == (
        "python -m benchmarks.quality igg-1d --structures STRUCTURES --method cryodrgn"
    )

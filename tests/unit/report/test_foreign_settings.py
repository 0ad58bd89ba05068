"""What is read of the YAML that cryoDRGN writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from morphem.report.foreign.settings import read_settings

WRITTEN = """cmd:
- /opt/bin/cryodrgn
- train_vae
- particles.star
dataset_args:
  ctf: /data/ctf.pkl
  datadir: null
  ind: 500
  norm:
  - 0.0
  - 66.9921875
  particles: /a folder/with a very long name that goes on until the line is full, where it
    is continued/particles.star
  poses: '/it''s here/poses.pkl'
  title: "a \\"quoted\\" \\u00c5"
  window: true
lattice_args:
  D: 65
model_args:
  tilt_params:
    ntilts: 10
  zdim: 8
seed: 0
time: 2026-11-21 14:22:39.986205
version: 4.3.1
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.yaml").write_text(WRITTEN, encoding="utf-8")
    return read_settings(tmp_path / "config.yaml")


def test_plain_values_are_found_by_section_and_name(settings: dict[str, str]):
    assert settings["dataset_args.ctf"] == "/data/ctf.pkl"
    assert settings["dataset_args.ind"] == "500"
    assert settings["lattice_args.D"] == "65"
    assert settings["model_args.zdim"] == "8"
    assert settings["version"] == "4.3.1"


def test_a_long_path_is_whole_again(settings: dict[str, str]):
    path = settings["dataset_args.particles"]
    assert path.startswith("/a folder/with a very long name")
    assert path.endswith("full, where it is continued/particles.star")


def test_quotes_are_taken_off(settings: dict[str, str]):
    assert settings["dataset_args.poses"] == "/it's here/poses.pkl"
    assert settings["dataset_args.title"] == 'a "quoted" Å'


def test_nothing_and_lists_are_left_out(settings: dict[str, str]):
    left_out = {"dataset_args.datadir", "dataset_args.norm", "cmd", "model_args.tilt_params"}
    assert not left_out & set(settings)


def test_objects_of_other_programs_are_never_made(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "dataset_args:\n  norm: !!python/object/apply:os.system ['touch x']\n  ctf: a.pkl\nversion: 1\n",
        "utf-8",
    )
    assert read_settings(file) == {"dataset_args.ctf": "a.pkl", "version": "1"}

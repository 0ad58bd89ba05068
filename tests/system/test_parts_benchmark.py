"""The molecule on which parts are counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import parts  # noqa: E402


@pytest.mark.parametrize("count", [1, 3, 8])
def test_it_has_as_many_bodies_as_asked_for(count: int):
    made = parts.lobed(count)
    assert made.labels.unique().tolist() == list(range(count))
    states, shares = made.landmarks(1)
    positions, presence = made.points(states)
    assert bool((presence == 1).all())
    assert float(shares.sum()) == pytest.approx(1)
    core = positions[:, made.labels == 0]
    torch.testing.assert_close(core, core[:1].expand_as(core))


def test_its_lobes_swing_by_themselves_and_stay_apart():
    made = parts.lobed(8)
    positions, _ = made.points(made.landmarks(1)[0])
    middles = torch.stack([positions[:, made.labels == body].mean(1) for body in range(8)], 1)
    travel = (middles - middles.mean(0)).square().sum(-1).mean(0).sqrt()
    assert bool((travel[1:] > 4).all())  # Å
    away = torch.pdist(middles[0])
    assert float(away.min()) > 30
    own = (middles - middles.mean(0))[:, 1:5].norm(dim=-1)
    assert float(torch.corrcoef(own.T).fill_diagonal_(0).abs().max()) < 0.5


def test_more_parts_than_it_has_are_refused():
    with pytest.raises(ValueError, match="9 parts; the molecule has 1 to 8"):
        parts.lobed(9)


def test_a_row_takes_the_place_of_an_older_one(tmp_path: Path):
    row = {"parts": 3, "count": 0, "seed": 0, "images": 30, "box": 32, "snr": 0.2, "found": 2}
    for found in (2, 3):
        parts.keep({**row, "found": found}, tmp_path / "parts.json")
    parts.keep({**row, "seed": 1}, tmp_path / "parts.json")
    rows = json.loads((tmp_path / "parts.json").read_text())["rows"]
    assert [(each["seed"], each["found"]) for each in rows] == [(0, 3), (1, 2)]

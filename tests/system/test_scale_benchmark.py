"""What more images cost: one record for each number of images, whose figures are those of the store."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import scale  # noqa: E402

from morphem.core.grid import Grid  # noqa: E402
from morphem.inference.store import disc  # noqa: E402

NUMBERS = (120, 240)


class AtOnce:
    """Stands for a pool of processes; the work is done here, which saves importing everything again."""

    def __init__(self, *_, **__) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def submit(self, work, asked):
        self.result = lambda: work(asked)
        return self


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """What a command leaves that asks for two tiny sets."""
    path = tmp_path_factory.mktemp("scale") / "out.json"
    words = ["--images", *map(str, NUMBERS), "--box", "32", "--limit", "12", "--searched", "40"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["scale", *words, "--json", str(path)])
        patch.setattr(scale, "ProcessPoolExecutor", AtOnce)
        assert scale.main() == 0
        assert scale.main() == 0
    return json.loads(path.read_text())["records"]


def test_there_is_one_record_for_each_number_of_images(records):
    assert [record["images"] for record in records] == list(NUMBERS)
    assert records[0]["command"].startswith("python -m benchmarks.scale --images 120 240 --box 32")
    assert {"versions", "machine", "commit", "date", "load"} <= records[0].keys()


def test_the_store_takes_four_bytes_a_coefficient(records):
    coefficients = len(disc(Grid(32, 8.0), 12).places)
    for record in records:
        assert record["filling"]["store_bytes_per_image"] == 4 * coefficients
        assert record["filling"]["store_mb"] == pytest.approx(
            4e-6 * coefficients * record["images"], rel=1e-4
        )


def test_as_many_images_are_searched_of_either(records):
    assert [record["search"]["images"] for record in records] == [40, 40]
    assert all(record["search"]["cpu_ms_per_image"] > 0 for record in records)
    # chance is 126°
    assert all(record["search"]["median_error_deg"] < 30 for record in records)


def test_images_are_read_as_they_are_and_timed():
    truth = scale.plan(scale.hinge(), 8, Grid(32, 8.0))
    plain = scale.simulated_stack(truth).images
    timed = scale.TimedImages(plain)
    assert torch.equal(timed.read(torch.arange(8)), plain.read(torch.arange(8)))
    assert timed.seconds > 0

"""CryoSPIRE stopped in every way ends as if it never had been; two processes find what one does."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from command import Answer, finish, start
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

SMALL = (
    "--preset", "paper",
    "--latent", 2,
    "--parts.gaussians", 48, "--parts.hidden", 16,
    "--fine.gaussians", 64, "--fine.hidden", 16, "--fine.layers", 1,
    "--parts-descent.epochs", 2, "--parts-descent.batch-size", 32,
    "--fine-descent.epochs", 2, "--fine-descent.batch-size", 32,
)  # fmt: skip
RESULTS = ("latents.npy", "density.safetensors", "mean.mrc", "particles.star", "parts.mrc")
PATIENCE = 120  # seconds until a process must have come as far as it is waited for


def command(simulated: Path, out: Path) -> tuple[object, ...]:
    """A run of seconds: what it finds is of no interest, only that it is always the same."""
    return ("reconstruct", "cryospire", simulated / "particles.star", "-o", out, *SMALL)


@pytest.fixture(scope="module")
def uninterrupted(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a run that nobody disturbed, and the seconds it took."""
    out, began = tmp_path_factory.mktemp("uninterrupted") / "run", time.monotonic()
    answer = finish(start(*command(simulated, out)))
    assert answer.status == 0, answer
    return out, time.monotonic() - began


def same(out: Path, whole: Path) -> None:
    """Every result of two runs is equal, bit for bit."""
    assert [name for name in RESULTS if (out / name).read_bytes() != (whole / name).read_bytes()] == []


def wait_for(process: subprocess.Popen[str], out: Path, pattern: str) -> None:
    """Until a file of the run exists, the process still at work."""
    began = time.monotonic()
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)


def test_killed_at_random_moments_it_ends_bit_for_bit_the_same(
    simulated: Path, uninterrupted: tuple[Path, float], tmp_path: Path
):
    whole, seconds = uninterrupted
    moment = random.Random(time.time_ns()).random()
    process = start(*command(simulated, tmp_path / "run"))
    wait_for(process, tmp_path / "run", "stages/parts/checkpoint-*")
    time.sleep(0.2 * moment * seconds)  # anywhere in the two stages or the writing of results
    process.kill()
    finish(process)
    answer = finish(start(*command(simulated, tmp_path / "run")))
    assert answer.status == 0, (moment, answer)
    same(tmp_path / "run", whole)
    assert list((tmp_path / "run").rglob(".*")) == [], moment


def test_killed_while_images_are_prepared_it_begins_again(
    simulated: Path, uninterrupted: tuple[Path, float], tmp_path: Path
):
    process = start(*command(simulated, tmp_path / "run"))
    wait_for(process, tmp_path / "run", "run.json")
    process.kill()
    finish(process)
    (tmp_path / "run" / "cache").mkdir(exist_ok=True)
    (tmp_path / "run" / "cache" / ".f00d.0123abcd.npy").write_bytes(b"half a cache")
    assert finish(start(*command(simulated, tmp_path / "run"))).status == 0
    same(tmp_path / "run", uninterrupted[0])
    assert list((tmp_path / "run").rglob(".*")) == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)], ids=["scheduler", "Ctrl-C"]
)
def test_asked_to_stop_it_saves_tells_how_to_go_on_and_does(
    simulated: Path, uninterrupted: tuple[Path, float], tmp_path: Path, number: signal.Signals, status: int
):
    process = start(*command(simulated, tmp_path / "run"))
    wait_for(process, tmp_path / "run", "stages/parts/checkpoint-*")
    process.send_signal(number)
    answer = finish(process)
    assert answer.status == status, answer
    _told_in_one_line(answer)
    assert list((tmp_path / "run" / "stages").rglob("checkpoint-*.safetensors"))
    assert not (tmp_path / "run" / "summary.json").exists()
    assert finish(start(*command(simulated, tmp_path / "run"))).status == 0
    same(tmp_path / "run", uninterrupted[0])


def _told_in_one_line(answer: Answer) -> None:
    assert len([line for line in answer.err.splitlines() if "the same command goes on" in line]) == 1
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_two_processes_find_what_one_does(simulated: Path, uninterrupted: tuple[Path, float], tmp_path: Path):
    launch = ("--standalone", "--nproc_per_node", 2, "-m", "morphem")
    answer = finish(start(*launch, *command(simulated, tmp_path / "run"), module="torch.distributed.run"))
    assert answer.status == 0, answer
    assert answer.out == f"results are in {tmp_path / 'run'}\n"
    one, two = (load_file(out / "density.safetensors") for out in (uninterrupted[0], tmp_path / "run"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=0, atol=1e-6, err_msg=name)
    one, two = (np.load(out / "latents.npy") for out in (uninterrupted[0], tmp_path / "run"))
    # Adam divides by the size of the gradient: where that is small, so is not its relative rounding error
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)

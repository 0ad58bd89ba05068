"""Several processes do what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import ToyObjective, toy_stack

from morphem.engine import ranks
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.files import read_tensors
from morphem.engine.run import Run
from morphem.engine.sweep import sweep
from morphem.inference.latents import LatentConfig

_SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from toy import ToyMean, ToyObjective, toy_stack
from morphem.engine import ranks
from morphem.engine.descend import DescentConfig, descend
from morphem.engine.files import write_tensors
from morphem.engine.run import open_run
from morphem.engine.sweep import sweep

stack, folder = toy_stack(61, tilts=2), Path({folder!r})
config = DescentConfig(epochs=3, batch_size=5, largest_gradient=0.5)
run = open_run(folder, config, stack)
found = descend(ToyObjective(31, noise=0.0), stack, config, run.stage("toy"))
again = descend(ToyObjective(31, noise=0.0), stack, config, run.stage("toy"))
assert all(torch.equal(value, again.state_dict()[name]) for name, value in found.state_dict().items())
rows = ranks.gather_rows(torch.arange(3 + ranks.rank()))
assert rows.tolist() == [0, 1, 2, 0, 1, 2, 3]
mean = sweep(ToyMean(), stack, 2).mean
write_tensors(folder / f"rank{{ranks.rank()}}.safetensors", {{**found.state_dict(), "mean": mean}}, {{}})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have written what each found."""
    folder = tmp_path_factory.mktemp("ranks")
    script = folder / "script.py"
    script.write_text(_SCRIPT.format(here=str(Path(__file__).parent), folder=str(folder / "run")))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run([sys.executable, *launch], env=alone, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_two_processes_find_what_one_does(folder: Path, tmp_path: Path):
    stack = toy_stack(61, tilts=2)
    config = DescentConfig(epochs=3, batch_size=5, largest_gradient=0.5)  # 61 leaves a last batch of one
    alone = descend(ToyObjective(31, noise=0.0), stack, config, Run(tmp_path)).state_dict()
    together, _ = read_tensors(folder / "rank0.safetensors")
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=0, atol=1e-6)


def test_both_processes_find_the_same_bits(folder: Path):
    first, second = (read_tensors(folder / f"rank{rank}.safetensors")[0] for rank in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_sum_over_processes_is_that_of_one(folder: Path):
    from toy import ToyMean

    alone = sweep(ToyMean(), toy_stack(61, tilts=2), 2).mean
    together, _ = read_tensors(folder / "rank0.safetensors")
    torch.testing.assert_close(together["mean"], alone, rtol=0, atol=1e-6)


def test_one_process_writes_the_files(folder: Path):
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert sum('"stage": "toy"' in line for line in lines) == 3  # epochs


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_row_is_dealt_once(monkeypatch: pytest.MonkeyPatch, size: int, world: int):
    monkeypatch.setenv("WORLD_SIZE", str(world))
    rows, shares, dealt = torch.arange(10, 10 + size), [], []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        mine, share = ranks.deal(rows)
        assert len(mine)
        shares.append(share)
        dealt += mine.tolist() if share else []
    assert sorted(dealt) == rows.tolist()
    assert sum(shares) == pytest.approx(1)


def test_what_is_no_device_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ranks.own_device("auto") == ranks.named_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="'nowhere' is none; cpu, cuda"):
        DescentConfig(epochs=1, batch_size=1, device="nowhere")
    with pytest.raises(ValueError, match="'nowhere' is none"):
        LatentConfig(device="nowhere")
    with pytest.raises(ValueError, match="'cuda:1': PyTorch finds no GPU"):
        ranks.own_device("cuda:1")

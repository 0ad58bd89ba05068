"""The real command on real files: a tiny simulated set, and two ways of giving it to ``morphem``."""

from __future__ import annotations

import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Answer

from morphem import cli
from morphem.core.grid import Grid
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge

IMAGES, BOX = 200, 32

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as a shell leaves it to what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


Command = Callable[..., Answer]


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a particle set that no test may change."""
    folder = tmp_path_factory.mktemp("simulated")
    write_dataset(folder, plan(hinge(), IMAGES, Grid(BOX, 8.0)))
    shutil.rmtree(folder / "truth")
    return folder


@pytest.fixture
def particles(simulated: Path, tmp_path: Path) -> Path:
    """The particle file of a copy of the set, to be spoilt."""
    shutil.copytree(simulated, tmp_path / "set")
    return tmp_path / "set" / "particles.star"


@pytest.fixture
def morphem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line within this process, which saves the seconds that torch takes to import."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            try:
                status = cli.main([str(word) for word in words])
            except SystemExit as stopped:
                status = int(stopped.code or 0)
        said = capsys.readouterr()
        return Answer(status, said.out, "".join(f"note: {note.message}\n" for note in notes) + said.err)

    return run

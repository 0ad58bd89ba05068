"""Laws on who imports whom, and on what an import may cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "numba",
    "triton",
    "sklearn",
    "matplotlib",
    "mrcfile",
    "starfile",
}
HEAVY |= {"tyro"}
PLANTS = {
    "upwards": ("core/grid.py", "import morphem.report"),
    "upwards by one floor": ("physics/ctf.py", "import morphem.data"),
    "sideways on a floor": ("metrics/fsc.py", "import morphem.data"),
    "method to method": ("methods/backprojection.py", "import morphem.methods.cryospire"),
    "arrays into physics": ("physics/ctf.py", "import numpy"),
    "files into metrics": ("metrics/fsc.py", "import mrcfile"),
    "pictures into models": ("models/density.py", "import matplotlib"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with its contracts, free to be spoilt."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_package_as_it_is_keeps_every_contract(copy: Path):
    answer = _lint(copy)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_import_breaks_a_contract(copy: Path, plant: str):
    path, line = PLANTS[plant]
    file = copy / "src" / "morphem" / path
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}\n{line}\n", encoding="utf-8")
    try:
        answer = _lint(copy)
    finally:
        file.write_text(text, encoding="utf-8")
    assert answer.returncode == 1
    assert "1 broken" in answer.stdout, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    "words", [None, [], ["--help"], ["--version"], ["reconstruct"], ["methods"], ["doctr"]]
)
def test_an_answer_without_work_imports_nothing_heavy(words: list[str] | None):
    call = "import morphem" if words is None else f"from morphem.cli import main; main({words!r})"
    script = f"import sys; {call}; print(*sorted({HEAVY!r} & set(sys.modules)), sep='\\n', file=sys.stderr)"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    imported = [line for line in answer.stderr.splitlines() if line in HEAVY]
    assert imported == []

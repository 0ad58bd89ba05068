"""Law: the wheel holds the whole package and nothing else is needed to import it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, morphem
print(morphem.__file__)
for module in pkgutil.walk_packages(morphem.__path__, "morphem."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # comes with torch where there can be a GPU
                raise
        print(module.name)
"""


def _run(*command: str | Path) -> str:
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of an environment with the wheel and its dependencies, but without this source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A folder named in a .pth is searched; the .pth files in it (our editable install) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_every_module_imports_from_the_wheel(clean: Path):
    where, *imported = _run(clean, "-I", "-c", IMPORT_ALL).splitlines()
    assert Path(where).is_relative_to(clean.parents[1])
    sources = (ROOT / "src" / "morphem").rglob("*.py")
    here = {str(path.relative_to(ROOT / "src").with_suffix("")).replace("/", ".") for path in sources}
    here = {name.removesuffix(".__init__") for name in here} - {"morphem", "morphem.__main__"}
    assert set(imported) == here


def test_the_command_answers_from_the_wheel(clean: Path):
    assert "usage: morphem" in _run(clean.parent / "morphem")

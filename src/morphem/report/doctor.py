"""What this machine offers, and what would stop a run on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

GIB = 2**30
_OPTIONAL = {"cryosparc-tools": "live cryoSPARC projects"}
_WRITE_TRIAL = 64 * 2**20  # bytes: long enough to leave the page cache behind fsync, short enough to wait for


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        name: What was looked at.
        value: What was found.
        problem: What is wrong with it and what to do; empty if nothing.
    """

    name: str
    value: str
    problem: str = ""


def examine(folder: Path) -> list[Finding]:
    """What a run in ``folder`` would find: interpreter, packages, processors, memory, disk, programs."""
    return [
        _python(),
        *_packages(),
        *_accelerators(),
        _threads(),
        _memory(),
        *_disk(folder),
        _slurm(),
        _chimerax(),
    ]


def memory_limit() -> int:
    """Bytes that this process may use: the machine's memory or its control group's, whichever is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text().strip() if Path(path).exists() else "max"
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _python() -> Finding:
    return Finding("Python", f"{platform.python_version()} on {platform.platform()}")


def _packages() -> list[Finding]:
    needed = [re.split(r"[^\w.-]", line)[0] for line in requires("morphem") or () if "extra ==" not in line]
    missing = [name for name in needed if _installed(name) is None]
    problem = f"pip install {' '.join(missing)}" if missing else ""
    versions = ", ".join(f"{name} {_installed(name) or 'missing'}" for name in ("morphem", "torch", "numpy"))
    optional = [
        Finding(f"{name} (optional)", _installed(name) or f"not installed; for {purpose}")
        for name, purpose in _OPTIONAL.items()
    ]
    return [Finding("packages", versions, problem), *optional]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _accelerators() -> list[Finding]:
    driver = _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    try:
        torch = import_module("torch")
    except (ImportError, OSError) as error:
        return [Finding("torch", "does not import", f"reinstall it: {error}")]
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none"
        problem = (
            f"driver {driver} is there, but torch {torch.__version__} cannot use it: install a CUDA build"
        )
        return [Finding("GPU", f"none usable; torch built for CUDA {built}", problem if driver else "")]
    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    names = ", ".join(f"{card.name} {card.total_memory / GIB:.0f} GiB" for card in cards)
    return [Finding("GPU", f"{names}; driver {driver or 'unknown'}, CUDA {torch.version.cuda}")]


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip().partition("\n")[0] if answer.returncode == 0 else ""


def _threads() -> Finding:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    setting = os.environ.get("OMP_NUM_THREADS", "unset")
    return Finding("threads", f"{allowed} of {os.cpu_count()} processors, OMP_NUM_THREADS {setting}")


def _memory() -> Finding:
    limit = memory_limit()
    problem = "less than 2 GiB: use a larger machine or job" if limit < 2 * GIB else ""
    return Finding("memory", f"{limit / GIB:.1f} GiB allowed to this process", problem)


def _disk(folder: Path) -> list[Finding]:
    try:
        seconds = _write_seconds(folder)
    except OSError as error:
        return [Finding("disk", str(folder), f"cannot write here ({error.strerror}): choose another folder")]
    free = shutil.disk_usage(folder).free
    value = f"{free / GIB:.0f} GiB free in {folder}, writes {_WRITE_TRIAL / seconds / 1e6:.0f} MB/s"
    return [Finding("disk", value, "less than 1 GiB free: make room or go elsewhere" if free < GIB else "")]


def _write_seconds(folder: Path) -> float:
    block, start = bytes(2**20), time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_WRITE_TRIAL // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def _slurm() -> Finding:
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        return Finding(
            "SLURM", f"in job {job} on {os.environ.get('SLURM_JOB_PARTITION', 'unknown partition')}"
        )
    return Finding("SLURM", "sbatch found, outside a job" if shutil.which("sbatch") else "not found")


def _chimerax() -> Finding:
    names = ("chimerax", "ChimeraX", "chimerax-daily")
    found = next((path for path in map(shutil.which, names) if path), None)
    return Finding("ChimeraX", found or "not found; maps open in it on any other machine too")

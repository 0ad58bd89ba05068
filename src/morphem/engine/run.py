"""The folder of a run: its identity, its stages, their checkpoints and results."""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

import morphem
from morphem.data.atomic import remove_leftovers
from morphem.data.stack import ParticleStack
from morphem.engine import ranks
from morphem.engine.files import read_json, read_tensors, write_json, write_tensors
from morphem.engine.identity import ResumeError, fingerprint, refuse_change, settings
from morphem.engine.source import source_of

_KEPT = 2  # checkpoints: the last, and the one before it should the disk have spoilt that
_RESULTS = ("particles.star", "particles.cs", "latents.npy", "mean.mrc", "summary.json")
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class Run:
    """A folder of a run, or of one of its stages.

    A stage is absent, half done (it has a checkpoint) or finished (it has a result).

    Attributes:
        root: The run's folder.
        name: Of the stage; empty for the run itself.
    """

    root: Path
    name: str = ""

    @property
    def folder(self) -> Path:
        """Where checkpoints and result are."""
        return self.root / "stages" / self.name if self.name else self.root

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        return self._result.exists()

    def stage(self, name: str) -> Run:
        """The stage called ``name``; it exists once something is saved in it."""
        return Run(self.root, f"{self.name}/{name}" if self.name else name)

    def save_result(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Finish the stage: its checkpoints go, its result stays."""
        if ranks.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_tensors(self._result, tensors, record)
            for path in self._checkpoints():
                path.unlink()
        ranks.barrier()

    def load_result(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What :meth:`save_result` was given."""
        return read_tensors(self._result)

    def save_checkpoint(self, step: int, tensors: dict[str, Tensor], record: dict[str, Any]) -> Path:
        """Write a checkpoint and keep the one before it; the main process alone may call this."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"checkpoint-{step:09d}.safetensors"
        write_tensors(path, tensors, record)
        unfinished = self.folder.glob(".checkpoint-*")  # left by a kill
        for old in [*self._checkpoints()[:-_KEPT], *unfinished]:
            old.unlink()
        return path

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint that can be read, None where there is none."""
        for path in reversed(self._checkpoints()):
            try:
                return read_tensors(path)
            except SafetensorError as error:
                _LOG.warning("%s cannot be read (%s); going back to the one before it", path, error)
        return None

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """Mean of each term by epoch, for every finished stage."""
        stages = self.root / "stages"
        found = sorted(stages.rglob("result.safetensors"), key=lambda path: path.stat().st_mtime)
        return {str(path.parent.relative_to(stages)): read_tensors(path)[1]["history"] for path in found}

    def provenance(self) -> dict[str, Any]:
        """Settings, version, command and hashes of the particles."""
        path = self.root / "run.json"
        return read_json(path) if path.exists() else {}

    @property
    def _result(self) -> Path:
        return self.folder / "result.safetensors"

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*.safetensors"))


def open_run(
    folder: Path | str, config: object, stack: ParticleStack, overwrite: bool = False, poses: str = "given"
) -> Run:
    """The run of this configuration on these particles in ``folder``, new or to be gone on with.

    Args:
        folder: Where everything about the run is kept.
        config: Of the method.
        stack: The particles.
        overwrite: Whether to forget another run that is in the folder.
        poses: Where they come from, if not from the particles.

    Raises:
        ResumeError: If the folder holds another run, or results of something else.
    """
    run = Run(Path(folder))
    identity = {
        "method": f"{type(config).__module__}.{type(config).__qualname__}",
        "config": settings(config),
        "data": fingerprint(stack),
        "poses": poses,
    }
    if ranks.is_main():
        _claim(run, identity, source_of(stack), overwrite)
    ranks.barrier()
    # runs that were begun before there was a choice used those given
    refuse_change({"poses": "given", **run.provenance()["identity"]}, identity, str(run.root))
    return run


def _claim(run: Run, identity: dict[str, Any], source: dict[str, Any], overwrite: bool) -> None:
    """Write ``run.json`` unless the same run has done so."""
    path = run.root / "run.json"
    if overwrite:
        shutil.rmtree(run.root / "stages", ignore_errors=True)
        # a summary says that all beside it is this run's
        for name in ("run.json", "summary.json"):
            (run.root / name).unlink(missing_ok=True)
    if path.exists():
        remove_leftovers(run.root)
        return
    strangers = [name for name in _RESULTS if (run.root / name).exists()]
    if strangers and not overwrite:
        met = f"{run.root} holds {', '.join(strangers)} but no run"
        raise ResumeError(f"{met}, and would lose them; choose another folder (-o), or --overwrite")
    run.root.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "version": morphem.__version__,
            "command": sys.argv,
            "host": platform.node(),
            "python": platform.python_version(),
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": source,
            "identity": identity,
        },
    )

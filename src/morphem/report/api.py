"""The whole road from particles to results on disk, the same for Python and the command line."""

from __future__ import annotations

import logging
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from morphem.data.checks import require_poses
from morphem.data.errors import DataError
from morphem.data.preprocess import prepare
from morphem.data.stack import ParticleStack, open_stack
from morphem.engine import ranks
from morphem.engine.progress import Progress
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run, open_run
from morphem.engine.signals import stop_at_once
from morphem.methods import load_method
from morphem.report.figures import write_figures
from morphem.report.options import Preparation
from morphem.report.page import PAGE, write_page
from morphem.report.posing import GIVEN, keep_taken, pose_source, posed
from morphem.report.scene.run import shown_of

_QUIET = 10.0  # seconds after which the making of a page is told of
# all that drawing may raise but for requests to stop: the result is on disk by then
_CANNOT_DRAW = (ValueError, OSError, RuntimeError, ArithmeticError, LookupError, TypeError, AttributeError)
_LOG = logging.getLogger("morphem")


def reconstruct(
    method: str,
    stack: ParticleStack | Path | str,
    out: Path | str,
    preset: str = "",
    preparation: Preparation = Preparation(),
    overwrite: bool = False,
    **settings: object,
) -> Reconstruction:
    """Run a method on particles and leave its results in a folder; the same call goes on after a kill.

    Args:
        method: A name of :func:`morphem.methods.registry`.
        stack: Particles, or the file that describes them.
        out: The run's folder.
        preset: One of the method's ready-made configurations; its default if empty.
        preparation: How images are made ready.
        overwrite: Whether to forget another run that is in the folder.
        **settings: Fields of the configuration to change; ``stage__epochs`` for those of a stage. And
            ``poses``: ``"refine"`` to make those of the particles better first, ``"abinit"`` to find them
            from the images alone, or a finished run or particle file to take them from.
    """
    opened = stack if isinstance(stack, ParticleStack) else open_stack(stack)
    poses = str(settings.pop("poses", GIVEN))
    config = with_settings(preset_of(method, preset), settings)
    run = begin(method, opened, config, Path(out), overwrite, poses)
    return run_method(method, opened, config, run, preparation, poses)


def begin(
    method: str,
    stack: ParticleStack,
    config: object,
    out: Path,
    overwrite: bool = False,
    poses: str = GIVEN,
) -> Run:
    """The run in ``out``, new or to be gone on with; what could not end well leaves no folder."""
    needed = getattr(load_method(method), "NEEDS_POSES", True)
    if not needed and poses != GIVEN:
        raise ValueError(f"{method} finds poses itself, those of {poses} would be lost; leave poses out")
    source = pose_source(poses, stack)
    if stack.metadata is not None:
        if needed and source.needs_given:
            require_poses(stack.metadata)
        spare_source(stack.metadata.source.path, out)
    run = open_run(out, config, stack, overwrite, source.identity)
    keep_taken(source, run)
    return run


def run_method(
    method: str,
    stack: ParticleStack,
    config: object,
    run: Run,
    preparation: Preparation,
    poses: str = GIVEN,
) -> Reconstruction:
    """Prepare particles, run the method, save and draw what it found; a failure is kept in ``log.txt``."""
    try:
        with stop_at_once():
            prepared = ready(stack, run.root / "cache", preparation)
            prepared = posed(prepared, poses, getattr(config, "seed", 0), run)
            found = load_method(method).reconstruct(prepared, config, run)
            found.save(run.root, stack)
    except Exception:
        keep_trace(traceback.format_exc(), run.root)
        raise
    draw(run.root, found, prepared)
    return found


def draw(folder: Path, found: Reconstruction, prepared: ParticleStack) -> None:
    """Figures and page of a run that is saved; what goes wrong is told and noted, the result stays.

    Args:
        folder: Of the run.
        found: What it found.
        prepared: Its particles, made ready.
    """
    if not ranks.is_main():
        return
    try:
        write_figures(folder, found)
        with Progress(None, "report", len(prepared)) as progress:
            begun = time.monotonic()

            def tell(text: str) -> None:
                if time.monotonic() - begun > _QUIET:
                    progress.say(text)

            shown = shown_of(folder, load(folder), prepared)
            write_page(shown, folder / PAGE, tell=tell)
    except _CANNOT_DRAW as error:
        keep_trace(traceback.format_exc(), folder)
        _LOG.warning(
            "%s is complete but not drawn: %s; `morphem report %s` tries again", folder, error, folder
        )


def load(run: Path | str) -> Reconstruction:
    """What a finished run found."""
    return Reconstruction.load(Path(run))


def preset_of(method: str, preset: str) -> object:
    """A method's configuration by name; its default if the name is empty."""
    module = load_method(method)
    presets = getattr(module, "PRESETS", {})
    if preset and preset not in presets:
        known = ", ".join(presets) or "none"
        raise ValueError(f"{method} has no preset {preset} (known: {known})")
    return presets[preset] if preset else module.Config()


def with_settings(config: Any, settings: dict[str, object]) -> Any:
    """The configuration with some fields changed; ``a__b`` is field ``b`` of field ``a``."""
    for path, value in settings.items():
        name, _, rest = path.partition("__")
        known = [each.name for each in fields(config)]
        if name not in known:
            raise ValueError(f"{type(config).__name__} has no field {name} (known: {', '.join(known)})")
        inner = with_settings(getattr(config, name), {rest: value}) if rest else value
        config = replace(config, **{name: inner})
    return config


def spare_source(source: Path, out: Path) -> None:
    """Refuse a folder where the particle file to be written would replace the one that was read."""
    if source.absolute() == out.absolute() / f"particles{source.suffix}":
        message = f"results in {out} would replace {source}, from which they come"
        raise DataError("PATH-004", f"{message}; choose another folder (-o)")


def ready(stack: ParticleStack, cache: Path, preparation: Preparation) -> ParticleStack:
    """The particles made ready; the main process writes the cache, the others read it."""
    if not ranks.is_main():
        ranks.barrier()
    prepared = prepare(stack, cache=cache, **asdict(preparation))
    if ranks.is_main():
        ranks.barrier()
    return prepared


def keep_trace(trace: str, folder: Path) -> None:
    """Add a failure's trace to ``log.txt``."""
    if not ranks.is_main():
        return
    # where the disk is full, that is the error to tell of, not that it could not be noted
    with suppress(OSError), (folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(trace)

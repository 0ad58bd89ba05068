"""A folder as something to look at live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from morphem.report.foreign.opening import is_run, shown_foreign
from morphem.report.scene.build import build_scene
from morphem.report.scene.options import USUAL, SceneOptions
from morphem.report.scene.run import shown_run
from morphem.report.viewer.live import Opened


def open_result(
    folder: Path,
    particles: Path | None = None,
    options: SceneOptions = USUAL,
    tell: Callable[[str], None] | None = None,
) -> Opened:
    """Whatever result a folder holds: a run of ours, a cryoDRGN output, a folder of maps.

    Args:
        folder: Where it lies.
        particles: The particle file, where it has moved or nothing tells.
        options: What to show of it first.
        tell: Is told what has been done.

    Raises:
        DataError: If it holds none, or if ``particles`` are of another.
    """
    own = is_run(folder)
    shown = shown_run(folder, particles) if own else shown_foreign(folder, particles)
    finished = own and (folder / "summary.json").is_file()
    scene = build_scene(shown, options, True, tell)
    return Opened(shown, scene, folder if finished else None, particles)

"""What expressions may ask of each particle of a run: the columns of its page, by name."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from morphem.report.scene.columns import columns_of
from morphem.report.scene.run import shown_run
from morphem.report.scene.shown import Column, Shown


def run_columns(run: Path, particles: Path | None = None, states: int = 0) -> dict[str, Column]:
    """Every column of a run's particles, by name.

    Args:
        run: A finished run.
        particles: The particle file, where it has moved or the run does not tell.
        states: How many states; as many as a page shows by default.
    """
    return {column.name: column for column in columns_of(shown_run(run, particles), states)}


def latent_columns(latents: Float[Tensor, "p z"], states: int = 0) -> dict[str, Column]:
    """What follows from latents alone: components, latents, state and cluster."""
    return {column.name: column for column in columns_of(Shown("", "", latents), states)}

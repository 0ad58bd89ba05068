"""The images of a run as it saw them: protein bright, background zero, noise one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.images import AbstractImages, ShuffledImages
from morphem.data.preprocess import Recipe, unscaled
from morphem.data.sign import estimate_sign, outside
from morphem.data.stack import ParticleStack, order

_MEASURED = 300  # images of a group, from which noise is measured where no note tells


class ReadyImages(AbstractImages):
    """Images of a stack that are made ready as they are read."""

    def __init__(self, stack: ParticleStack, recipe: Recipe, rows: Int[Tensor, "m"] | None = None) -> None:
        self.stack, self.recipe = stack, recipe
        self.rows = torch.arange(len(stack)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows``, float32."""
        batch = self.stack.read(self.rows[rows])
        return self.recipe.apply(batch, self.stack.premultiplied[batch.index])

    def select(self, rows: Int[Tensor, "b"]) -> ReadyImages:
        """Only these images; nothing is read."""
        return ReadyImages(self.stack, self.recipe, self.rows[rows])

    def name(self, row: int) -> str:
        """What the image is called where it was recorded."""
        return self.stack.images.name(int(self.rows[row]))

    def fingerprint(self) -> str:
        """That of the recorded images, and the recipe."""
        return f"{self.stack.images.select(self.rows).fingerprint()} {self.recipe}"


def ready_images(run: Path, stack: ParticleStack, grid: Grid) -> ParticleStack:
    """The particles of a run with their images as the run saw them.

    Out of the run's cache where that is whole; else made ready as they are read, by the recipe that the
    cache's note tells, or by one measured anew.

    Args:
        run: Its folder.
        stack: Its particles, as recorded.
        grid: Of the run's maps.
    """
    for note in sorted((run / "cache").glob("*.json"), key=lambda path: -path.stat().st_mtime):
        facts = json.loads(note.read_text(encoding="utf-8"))
        recipe = facts.get("recipe", {})
        if facts.get("images") != len(stack) or recipe.get("box") != grid.box:
            continue
        path = note.with_suffix(".npy")
        if path.is_file() and path.stat().st_size > len(stack) * grid.box**2 * 2:
            place = order(len(stack), facts["seed"], 0).argsort()
            return _ready(stack, ShuffledImages(path, place), grid)
        kept = Recipe(**{**recipe, "scale": tuple(recipe["scale"])})
        return _ready(stack, ReadyImages(stack, kept), grid)
    return _ready(stack, ReadyImages(stack, _measured(stack, grid)), grid)


def _ready(stack: ParticleStack, images: AbstractImages, grid: Grid) -> ParticleStack:
    plain: Bool[Tensor, "n"] = torch.zeros_like(stack.premultiplied)
    return replace(stack, images=images, grid=grid, premultiplied=plain)


def _measured(stack: ParticleStack, grid: Grid) -> Recipe:
    """Sign and noise from a sample of the images."""
    estimate = estimate_sign(stack)
    sign = estimate.sign if estimate.confident else 1.0
    recipe = Recipe(grid.box, sign, 0.42 * grid.extent, ())
    rim = outside(stack.grid.resized(grid.box), recipe.radius)
    shuffled, scale = order(len(stack), 0, 1), []
    for group in range(stack.n_groups):
        rows = shuffled[stack.group[shuffled] == group][:_MEASURED].sort().values
        batch = stack.read_sound(rows)
        images = unscaled(recipe, batch, stack.premultiplied[batch.index])
        scale.append(float(images[:, rim].var(-1).median().clamp(min=1e-12).rsqrt()))
    return replace(recipe, scale=tuple(scale))

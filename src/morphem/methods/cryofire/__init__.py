"""cryoFIRE: poses, latents and densities from images alone.

By search (the default): a first map from random poses, exact refinement, a subspace. By an encoder: the
published method (arXiv 2210.07387).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from morphem.data.stack import ParticleStack
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.methods.cryofire.paper import PaperConfig, reconstruct_paper
from morphem.methods.cryofire.searching import SearchConfig, reconstruct_by_search

NEEDS_POSES = False


@dataclass(frozen=True)
class Config:
    """CryoFIRE."""

    by: Literal["search", "encoder"] = "search"
    """Poses by search and refinement, or by an encoder trained with the density (published)."""
    search: SearchConfig = SearchConfig()
    """Of the search."""
    encoder: PaperConfig = PaperConfig()
    """Of the published method."""
    seed: int = 0
    """Of every random choice."""


def reconstruct(stack: ParticleStack, config: Config, run: Run) -> Reconstruction:
    """Poses and latents of all particles, and a density for any latent."""
    if config.by == "encoder":
        return reconstruct_paper(stack, replace(config.encoder, seed=config.seed), run)
    return reconstruct_by_search(stack, config.search, config.seed, run)


PRESETS = {"fast": Config(), "paper": Config(by="encoder")}

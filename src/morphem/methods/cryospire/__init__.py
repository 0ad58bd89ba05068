"""CryoSPIRE: rigid parts, their motion and their absence, from particles with known poses.

A coarse mixture whose Gaussians move and fade by learned features finds the parts; a fine mixture tied to the
parts' anchors fits them (arXiv 2506.09063 and its supplement).
"""

from __future__ import annotations

from morphem.data.stack import ParticleStack
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.run import Run
from morphem.methods.cryospire.published import reconstruct_published
from morphem.methods.cryospire.settings import PRESETS, Config, MixtureConfig
from morphem.methods.cryospire.solving import reconstruct_by_solving

__all__ = ["PRESETS", "Config", "MixtureConfig", "reconstruct"]


def reconstruct(stack: ParticleStack, config: Config, run: Run) -> Reconstruction:
    """Rigid parts, a latent for every particle, and a density for any latent."""
    by = reconstruct_by_solving if config.by == "solving" else reconstruct_published
    return by(stack, config, run)

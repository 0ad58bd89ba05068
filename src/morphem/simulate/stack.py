"""Simulated particles as a stack whose images are made when they are read, and kept nowhere."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.data.images import AbstractImages
from morphem.data.stack import ParticleStack
from morphem.simulate.datasets import identity
from morphem.simulate.particles import Truth, photograph, reported_optics, reported_poses


class SimulatedImages(AbstractImages):
    """Images that are made when they are read; a few milliseconds each, whatever their number."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth

    def __len__(self) -> int:
        return len(self.truth)

    def read(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b d d"]:
        """Images in the order of ``rows``."""
        return photograph(self.truth[rows])

    def select(self, rows: Int[Tensor, "b"]) -> SimulatedImages:
        """Only these images, in this order."""
        return SimulatedImages(self.truth[rows])

    def name(self, row: int) -> str:
        """``simulated image 3``, counted from 0 over the whole set."""
        return f"simulated image {int(self.truth.number[row])}"

    def fingerprint(self) -> str:
        """Hash of what the images depend on."""
        return identity(self.truth)


def simulated_stack(truth: Truth) -> ParticleStack:
    """Particles of noise variance 1, protein positive, with what their metadata would report."""
    n = len(truth)
    return ParticleStack(
        images=SimulatedImages(truth),
        grid=truth.grid,
        poses=reported_poses(truth),
        optics=reported_optics(truth),
        particle=torch.arange(n),
        group=truth.group,
        half=truth.number % 2 + 1,
        premultiplied=torch.zeros(n, dtype=torch.bool),
    )

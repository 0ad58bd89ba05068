"""What a user states about preparing particles and about maps to make; torch is not needed to read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Preparation:
    """How images are made ready; kept in the run's cache folder."""

    box: int | None = None
    """Fourier-crop images to this box, pixels; their own by default."""
    sign: float | None = None
    """1 if protein is bright, -1 if dark; detected by default."""
    radius: float | None = None
    """Of the particle, Å; background is measured outside. Default: 0.42 of the box."""


@dataclass(frozen=True)
class Choice:
    """Points of latent space to make maps of; several kinds may be asked for at once."""

    states: int = 0
    """Maps at the particles nearest to this many k-means centres."""
    particles: tuple[int, ...] = ()
    """Maps at these particles, counted from 0."""
    latents: Path | None = None
    """Maps at the rows of this .npy file."""
    component: int = 0
    """Maps along this principal component, counted from 1."""
    steps: int = 10
    """How many along the component."""

    def __post_init__(self) -> None:
        if min(self.states, self.component) < 0 or self.steps < 2:
            raise ValueError(f"{self}: states and component are at least 0, steps at least 2")
        if not (self.states or self.particles or self.latents or self.component):
            raise ValueError("no maps were asked for: state states, particles, latents or a component")


@dataclass(frozen=True)
class CheckConfig:
    """What to hold particles against before a run, and how many of them."""

    consensus: Path | None = None
    """Map of the same molecule in the frame of the poses; without one, hand and CTF cannot be judged."""
    mask: Path | None = None
    """Soft mask of the molecule; a ball of the particle's radius by default."""
    radius: float | None = None
    """Of the particle, Å; noise is measured outside. Default: 0.42 of the box."""
    limit: int = 5000
    """Images to read at most."""
    box: int = 64
    """Pixels that images are cropped to in Fourier space, at most."""
    seed: int = 0
    """Of the images drawn."""

    def __post_init__(self) -> None:
        if self.limit < 1 or self.box < 16 or self.box % 2:
            raise ValueError(
                f"limit {self.limit} is at least 1, box {self.box} an even number of at least 16"
            )

"""What points of a molecule scatter: Gaussians summed in closed form."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume
from morphem.simulate.ensembles import AbstractMatter
from morphem.simulate.gaussian_sums import exact_map, exact_projections


@dataclass(frozen=True)
class GaussianMatter(AbstractMatter):
    """Isotropic Gaussians, each of its own width and peak in projection.

    Attributes:
        scales: Standard deviations, Å.
        amplitudes: Peaks in projection (CryoSPIRE supplement, Eq. 8).
    """

    scales: Float[Tensor, "g"]
    amplitudes: Float[Tensor, "g"]

    def projections(
        self,
        positions: Float[Tensor, "b g 3"],
        presence: Float[Tensor, "b g"],
        rotation: Float[Tensor, "b 3 3"],
        grid: Grid,
    ) -> Complex[Tensor, "b d h"]:
        """Sums over Gaussians written out in Fourier space."""
        return exact_projections(self.mixture(positions, presence), rotation, grid)

    def map(self, positions: Float[Tensor, "g 3"], presence: Float[Tensor, "g"], grid: Grid) -> Volume:
        """Likewise in three dimensions."""
        return exact_map(self.mixture(positions, presence), grid)

    def mixture(self, positions: Float[Tensor, "*b g 3"], presence: Float[Tensor, "*b g"]) -> GaussianMixture:
        """The Gaussians of one state or several; absent ones have amplitude 0."""
        return GaussianMixture(positions, self.scales, self.amplitudes * presence)

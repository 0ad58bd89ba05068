"""A density as a network that knows its Hartley transform at every spatial frequency."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from morphem.core.fourier import to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.models.density import AbstractDensity
from morphem.physics.hartley import spectrum_of_pair

SPREAD = 0.25  # rad per frequency pixel, Gaussian; 0.5 · D/2 rad over the unit D of the published code
BLOCK = 1 << 21  # frequencies whose hidden layers are kept for the gradient: 2 GB a layer of 256 units
_PASSING = 1 << 17  # frequencies evaluated at a time where none is


class HartleyField(AbstractDensity):
    """Residual perceptron from a spatial frequency and a latent to a real Hartley value.

    A frequency k enters as the cosines and sines of ``2π x_j·k`` for ``box / 2`` fixed random points x_j,
    scattered about the origin with a standard deviation of 4 % of the box. Values are in units of the noise,
    which is ``box`` for images of unit variance. There is nothing at and beyond Nyquist.

    Args:
        box: Pixels along a side of the images that it is fitted to.
        pixel_size: Å.
        latent: Width of the latent.
        network: Units of each residual layer, and how many.
        seed: Of the random points.
    """

    points: Float[Tensor, "3 f"]

    def __init__(
        self,
        box: int,
        pixel_size: float,
        latent: int,
        network: tuple[int, int] = (256, 3),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.grid = Grid(box, pixel_size)
        hidden, layers = network
        points = torch.randn(3, box // 2, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("points", SPREAD * self.grid.extent * points)
        # the first layer, apart for what is even and what is odd in k, and for the latent
        self.even = nn.Linear(box // 2, hidden)
        self.odd = nn.Linear(box // 2, hidden, bias=False)
        self.latent = nn.Linear(latent, hidden, bias=False)
        self.inner = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.last = nn.Linear(hidden, 1)

    def project(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid
    ) -> Complex[Tensor, "b d h"]:
        """Central slices below Nyquist."""
        return self.slices(z, rotation, grid, grid.box / 2)

    def slices(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], grid: Grid, radius: float
    ) -> Complex[Tensor, "b d h"]:
        """Central slices, zero from ``radius`` (frequency pixels of ``grid``) on: no time is spent there.

        About 0.2 million multiplications per frequency of the whole disc with 3 × 256 units, threefold with
        gradients. Beyond two million frequencies, hidden layers are computed again for the gradient.
        """
        frequencies = grid.frequencies(rotation.device, rotation.dtype)
        inside = self._inside(frequencies, radius / grid.extent)
        values = self._on_planes(z, rotation, frequencies[inside]) * self._unit(grid)
        slices = values.new_zeros(len(z), grid.box, grid.half)
        slices[:, inside] = values
        return slices

    @torch.no_grad()
    def volume(self, z: Float[Tensor, "z"], grid: Grid) -> Volume:
        """Map of one latent, from its values on the whole ball of frequencies."""
        frequencies = _frequencies_3d(grid, z)
        inside = self._inside(frequencies, grid.nyquist)
        spectrum = torch.zeros_like(frequencies[..., 0]).to(torch.promote_types(z.dtype, torch.complex64))
        parts = [self._spectrum(part[None], z[None])[0] for part in frequencies[inside].split(_PASSING // 2)]
        spectrum[inside] = torch.cat(parts) * (self._unit(grid) / grid.pixel_size)
        return Volume(to_real_3d(spectrum), grid)

    def _inside(self, frequencies: Float[Tensor, "*size k"], limit: float) -> Bool[Tensor, "*size"]:
        """Below the limit (1/Å), and below the Nyquist frequency of what the field was fitted to."""
        # a hundredth of a frequency pixel: whole radii must not depend on rounding
        least = min(limit, self.grid.nyquist) - 0.01 / self.grid.extent
        return frequencies.square().sum(-1) < least**2

    def _unit(self, grid: Grid) -> float:
        """The noise of the images that it is fitted to, as a transform on another grid has it."""
        return self.grid.box * (self.grid.pixel_size / grid.pixel_size) ** 2

    def _on_planes(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], plane: Float[Tensor, "m 2"]
    ) -> Complex[Tensor, "b m"]:
        """Values on rotated planes; hidden layers are kept for the gradient only while they are few."""
        kept = torch.is_grad_enabled()
        images = max(1, (BLOCK if kept else _PASSING) // (2 * len(plane)))
        parts = zip(z.split(images), rotation.split(images), strict=True)
        if len(z) <= images or not kept:
            return torch.cat([self._on_plane(*part, plane) for part in parts])
        again = partial(checkpoint, self._on_plane, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(*part, plane) for part in parts])

    def _on_plane(
        self, z: Float[Tensor, "b z"], rotation: Float[Tensor, "b 3 3"], plane: Float[Tensor, "m 2"]
    ) -> Complex[Tensor, "b m"]:
        # single precision at least, here and below: phases reach tens of radians
        with torch.autocast(plane.device.type, enabled=False):
            frequencies = plane @ rotation[:, :2]
        return self._spectrum(frequencies, z)

    def _spectrum(
        self, frequencies: Float[Tensor, "b m 3"], z: Float[Tensor, "b z"]
    ) -> Complex[Tensor, "b m"]:
        """Transform at frequencies in the molecule's frame (1/Å), from the values at ±k."""
        with torch.autocast(frequencies.device.type, enabled=False):
            phase = frequencies @ self.points.to(frequencies)
            cosine, sine = phase.cos(), phase.sin()
        even, odd = self.even(cosine) + self.latent(z)[:, None], self.odd(sine)
        pair = [self._value(even + odd), self._value(even - odd)]
        return spectrum_of_pair(*(value.to(frequencies.dtype) for value in pair))

    def _value(self, first: Float[Tensor, "b m u"]) -> Float[Tensor, "b m"]:
        hidden = first.relu()
        for layer in self.inner:
            hidden = (hidden + layer(hidden)).relu()
        return self.last(hidden)[..., 0]


def _frequencies_3d(grid: Grid, like: Tensor) -> Float[Tensor, "d d h 3"]:
    """Spatial frequencies (fx, fy, fz) of a map's half space in FFT order, 1/Å."""
    full = torch.fft.fftfreq(grid.box, grid.pixel_size, device=like.device, dtype=like.dtype)
    half = torch.fft.rfftfreq(grid.box, grid.pixel_size, device=like.device, dtype=like.dtype)
    z, y, x = torch.meshgrid(full, full, half, indexing="ij")
    return torch.stack([x, y, z], -1)

"""The sampling of images and maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A square image (or cubic map) of ``box`` pixels a side; the origin is pixel ``box // 2``.

    Attributes:
        box: Pixels along a side; even.
        pixel_size: Å.
    """

    box: int
    pixel_size: float

    def __post_init__(self) -> None:
        if self.box < 2 or self.box % 2:
            raise ValueError(f"box {self.box} is not an even number ≥ 2; crop or pad the images first")
        if not 0 < self.pixel_size < float("inf"):
            raise ValueError(f"pixel size {self.pixel_size} Å is not a positive number")

    @property
    def extent(self) -> float:
        """Side of the box, Å."""
        return self.box * self.pixel_size

    @property
    def nyquist(self) -> float:
        """Highest spatial frequency, 1/Å."""
        return 0.5 / self.pixel_size

    @property
    def half(self) -> int:
        """Length of the halved Fourier axis, ``box // 2 + 1``; also the number of shells to Nyquist."""
        return self.box // 2 + 1

    def axis(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Float[Tensor, "d"]:
        """Pixel coordinates along one axis, Å."""
        dtype = dtype or torch.get_default_dtype()
        return (torch.arange(self.box, device=device, dtype=dtype) - self.box // 2) * self.pixel_size

    def frequencies(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Float[Tensor, "d h 2"]:
        """Spatial frequencies ``(fx, fy)`` of the half plane in FFT order, 1/Å."""
        fy = torch.fft.fftfreq(self.box, self.pixel_size, device=device, dtype=dtype)
        fx = torch.fft.rfftfreq(self.box, self.pixel_size, device=device, dtype=dtype)
        return torch.stack([fx.expand(self.box, -1), fy[:, None].expand(-1, self.half)], dim=-1)

    def shells(self, device: torch.device | str | None = None) -> Int[Tensor, "d h"]:
        """Shell of each half-plane frequency, ``round(|k|)`` in frequency pixels; 0 is DC."""
        k = self.frequencies(device) * self.extent
        return k.square().sum(-1).sqrt().round().long()

    def shell_frequencies(self, device: torch.device | str | None = None) -> Float[Tensor, "s"]:
        """Spatial frequency of each shell from DC to Nyquist, 1/Å."""
        return torch.arange(self.half, device=device) / self.extent

    def resized(self, box: int) -> Grid:
        """The grid of the same extent with ``box`` pixels a side."""
        return Grid(box, self.extent / box)

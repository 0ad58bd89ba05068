"""Sums of many slices at chosen frequencies: what back-projections and subspaces are solved from."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.physics.sampled_slices import as_array
from morphem.physics.slices import insert_density, insert_plane


class InsertedSlices:
    """Numerators and densities of slices inserted so far, all numbers of one frequency side by side.

    Attributes:
        cells: Real and imaginary parts of the numerators, densities, zeros up to a multiple of 4.
    """

    def __init__(
        self, padded: int, numerators: int = 1, densities: int = 1, device: torch.device | str | None = None
    ) -> None:
        self._counts = numerators, densities
        numbers = -(-(2 * numerators + densities) // 4) * 4
        self.cells = torch.zeros(padded + 1, padded + 1, padded // 2 + 1, numbers, device=device)

    @torch.no_grad()
    def add(
        self,
        values: Complex[Tensor, "c b m"],
        densities: Float[Tensor, "v b m"],
        rotation: Float[Tensor, "b 3 3"],
        plane: Float[Tensor, "m 2"],
    ) -> None:
        """Insert slices at frequencies ``(x, y)``, fractions of Nyquist and below it.

        As :func:`morphem.physics.slices.insert_plane` and ``insert_density``, which do it outside the CPU;
        here compiled, the same on every run and for every number of threads.
        """
        if (len(values), len(densities)) != self._counts:
            raise ValueError(f"{len(values)} values and {len(densities)} densities for {self._counts}")
        if self.cells.device.type != "cpu":
            self._add_outside(values, densities, rotation, plane)
            return
        from morphem.physics.kernels.inserted_slices import insert

        edge, half, numbers = self.cells.shape[1:]
        slices = as_array(torch.view_as_real(values).flatten(2)), as_array(densities)
        lattice, cells = (edge, half, numbers, float(half - 1)), self.cells.flatten().numpy()
        insert(cells, lattice, as_array(plane.T), as_array(rotation), slices, torch.get_num_threads())

    def numerators(self) -> Complex[Tensor, "c e e q"]:
        """Sums of the values."""
        parts = self.cells[..., : 2 * self._counts[0]].unflatten(-1, (-1, 2)).contiguous()
        return torch.view_as_complex(parts).permute(3, 0, 1, 2)

    def densities(self) -> Float[Tensor, "v e e q"]:
        """Sums of the densities."""
        first = 2 * self._counts[0]
        return self.cells[..., first : first + self._counts[1]].permute(3, 0, 1, 2)

    def _add_outside(
        self,
        values: Complex[Tensor, "c b m"],
        densities: Float[Tensor, "v b m"],
        rotation: Float[Tensor, "b 3 3"],
        plane: Float[Tensor, "m 2"],
    ) -> None:
        padded, first = len(self.cells) - 1, 2 * self._counts[0]
        found = torch.view_as_real(insert_plane(values, rotation, plane, padded))
        self.cells[..., :first] += found.permute(1, 2, 3, 0, 4).flatten(3)
        weights = insert_density(densities, rotation, plane, padded)
        self.cells[..., first : first + len(weights)] += weights.permute(1, 2, 3, 0)

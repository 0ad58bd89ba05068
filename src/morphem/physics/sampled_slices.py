"""Slices of several maps at chosen frequencies, from transforms that lie side by side."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.physics.slices import sample_plane

_GROUP = 8  # numbers of a cell that are read at once


def interleave(transforms: Complex[Tensor, "c e e q"]) -> Float[Tensor, "e e q f"]:
    """Real and imaginary parts of all transforms at each frequency, then zeros up to a multiple of 8."""
    cells = torch.view_as_real(transforms.permute(1, 2, 3, 0)).flatten(3)
    return torch.nn.functional.pad(cells, (0, -cells.shape[-1] % _GROUP)).contiguous()


@torch.no_grad()
def sample_cells(
    cells: Float[Tensor, "e e q f"],
    maps: int,
    rotation: Float[Tensor, "b 3 3"],
    plane: Float[Tensor, "m 2"],
) -> Complex[Tensor, "c b m"]:
    """Slices of the first ``maps`` transforms in the cells, as :func:`morphem.physics.slices.sample_plane`.

    Compiled for float32 on the CPU: the same on every run and for every number of threads, and no gradient.

    Args:
        cells: From :func:`interleave`, or those of :class:`morphem.physics.pose_gram.PoseTables`.
        maps: How many transforms.
        rotation: Of each image.
        plane: Frequencies ``(x, y)``, fractions of Nyquist and below it.
    """
    edge, half, numbers = cells.shape[1:]
    if cells.device.type != "cpu" or cells.dtype != torch.float32:
        transforms = torch.view_as_complex(cells[..., : 2 * maps].unflatten(-1, (-1, 2)))
        return sample_plane(transforms.permute(3, 0, 1, 2), rotation, plane)
    from morphem.physics.kernels.sampled_slices import sample

    lattice, table = (edge, half, numbers, float(half - 1)), cells.flatten().numpy()
    parts = sample(table, lattice, as_array(plane.T), as_array(rotation), maps, torch.get_num_threads())
    return torch.view_as_complex(torch.from_numpy(parts))


def as_array(values: Float[Tensor, "*size"]) -> Any:
    """The numbers as compiled loops take them: in float32, one after another."""
    return values.detach().to(torch.float32).contiguous().numpy()

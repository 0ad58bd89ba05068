"""How images agree with slices of a map and with their derivatives to the pose.

Everything a step of Newton's method needs of an image is in the products, summed over its frequencies, of the
model, its derivatives and the image with one another. :func:`pose_columns` writes the model and derivatives
out; :func:`pose_gram` takes the sums, on the CPU without ever storing what they are taken of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.physics.sampled_slices import as_array, interleave
from morphem.physics.slices import sample_plane


@dataclass(frozen=True)
class PoseTables:
    """Padded transforms of maps and their derivatives, all numbers of one frequency side by side.

    Attributes:
        cells: Real and imaginary parts of the maps, then of their derivatives along x, y and z.
        plane: Frequencies ``(x, y)`` of the images, fractions of the maps' Nyquist.
        grid: Of the maps.
    """

    cells: Float[Tensor, "e e q f"]
    plane: Float[Tensor, "m 2"]
    grid: Grid

    @property
    def maps(self) -> int:
        """Number of maps."""
        return self.cells.shape[-1] // 8

    @property
    def pixels(self) -> Float[Tensor, "m 2"]:
        """Frequencies of the images, frequency pixels."""
        return self.plane * (self.grid.box // 2)


def pose_tables(
    transforms: Complex[Tensor, "n e e q"], plane: Float[Tensor, "m 2"], grid: Grid
) -> PoseTables:
    """Tables of c maps, made once for all images.

    Args:
        transforms: From :func:`morphem.physics.slices.prepare_transform`: c maps V, then all of ``2π x V /
            extent``, then those of y and of z. Times −i these are derivatives to the frequency pixel.
        plane: Frequencies ``(x, y)`` of the images, fractions of the maps' Nyquist.
        grid: Of the maps.
    """
    if len(transforms) % 4:
        raise ValueError(f"{len(transforms)} transforms; each map needs itself and three derivatives")
    return PoseTables(interleave(transforms), plane, grid)


def pose_columns(
    tables: PoseTables,
    rotation: Float[Tensor, "b 3 3"],
    shift: Float[Tensor, "b 2"],
    transfer: Float[Tensor, "b m"],
    weights: Float[Tensor, "b c"] | None = None,
) -> Complex[Tensor, "b _ m"]:
    """Slopes of ``Σ wⱼ Vⱼ`` to rotation about view x, y and the beam (rad) and shift (Å), then each map.

    A turn by ω in the view frame moves a frequency k to ``k − ω × k``, so that ``∂S/∂ω = (R ∇V) × k``, with
    k in the plane. Every column is multiplied by the transfer and the ramp of the shift.
    """
    transforms = torch.view_as_complex(tables.cells.unflatten(-1, (-1, 2))).permute(3, 0, 1, 2)
    slices = sample_plane(transforms, rotation, tables.plane).unflatten(0, (4, tables.maps))
    whole = torch.einsum("icbm,bc->bim", slices, _filled(weights, tables, rotation).to(slices.dtype))
    gradient = -1j * torch.einsum("bij,bjm->bim", rotation.to(slices.dtype), whole[:, 1:])
    x, y = tables.pixels.T
    turns = [-y * gradient[:, 2], x * gradient[:, 2], y * gradient[:, 0] - x * gradient[:, 1]]
    frequencies = tables.plane * tables.grid.nyquist
    moves = -2j * math.pi * frequencies.T * whole[:, :1]
    columns = torch.cat([torch.stack(turns, 1), moves, slices[0].transpose(0, 1)], 1)
    angle = -2 * math.pi * (shift @ frequencies.T)
    return columns * torch.polar(transfer, angle)[:, None]


@torch.no_grad()
def pose_gram(
    tables: PoseTables,
    rotation: Float[Tensor, "b 3 3"],
    shift: Float[Tensor, "b 2"],
    transfer: Float[Tensor, "b m"],
    values: Complex[Tensor, "b m"],
    weights: Float[Tensor, "b c"] | None = None,
) -> Float[Tensor, "b k k"]:
    """Sums ``Re Σ a* b`` of all pairs of 5 slopes, c maps and the image, in this order.

    Compiled for float32 on the CPU: the same result on every run and for every number of threads, and no
    gradient. Elsewhere the sums are those of :func:`pose_columns`.

    Args:
        tables: Of the maps.
        rotation: Of each image.
        shift: Å.
        transfer: Factor on every column but the image.
        values: The image's coefficients.
        weights: Factor on each map in the slopes; 1 where not given.
    """
    if tables.cells.device.type != "cpu" or tables.cells.dtype != torch.float32:
        columns = pose_columns(tables, rotation, shift, transfer, weights)
        flat = torch.view_as_real(torch.cat([columns, values[:, None]], 1)).flatten(2)
        return flat @ flat.mT
    from morphem.physics.kernels.pose_gram import gram

    extent = tables.grid.extent
    edge, half, numbers = tables.cells.shape[1:]
    lattice = edge, half, numbers, (half - 1) / (tables.grid.box // 2)
    poses = as_array(rotation), as_array(shift / extent), as_array(_filled(weights, tables, rotation))
    images = as_array(transfer), as_array(torch.view_as_real(values).flatten(1))
    plane, cells = as_array(tables.pixels.T), as_array(tables.cells.flatten())
    products = torch.from_numpy(gram(cells, lattice, plane, poses, images, torch.get_num_threads()))
    products[:, 3:5] /= extent
    products[:, :, 3:5] /= extent
    return products


def _filled(
    weights: Float[Tensor, "b c"] | None, tables: PoseTables, rotation: Float[Tensor, "b 3 3"]
) -> Float[Tensor, "b c"]:
    return rotation.new_ones(len(rotation), tables.maps) if weights is None else weights

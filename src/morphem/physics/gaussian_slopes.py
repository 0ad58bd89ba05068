"""Projections of Gaussian mixtures together with their derivatives along a few latent coordinates.

What Gauss–Newton over latents asks for: the image, and one image for each coordinate, in one sweep.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture
from morphem.physics.gaussians import as_array, draws_tiles, draws_windows, in_pixels, profile

TABLE_ELEMENTS = 1 << 24  # of the largest table in the dense evaluation: 64 MB of float32


def project_gaussians_with_slopes(
    mixture: GaussianMixture,
    velocities: Float[Tensor, "b q g 3"],
    slopes: Float[Tensor, "b q g"],
    rotation: Float[Tensor, "b 3 3"],
    grid: Grid,
    cutoff: float = 4.0,
) -> Float[Tensor, "b k d d"]:
    """Each projection, then its derivatives to ``q = k − 1`` latents; without gradients of their own.

    ``velocities`` are derivatives of centres (Å a unit of latent), ``slopes`` those of amplitudes. Where
    ``draws_windows`` is true a Gaussian is drawn to ``cutoff`` standard deviations: the projection is that of
    ``project_gaussians_windowed`` to the last bit, and what a derivative misses of a Gaussian is below
    ``cutoff exp(−cutoff²/2)`` of its amplitude a standard deviation (1.3e-3 at 4). Results are the same for
    every number of threads; four latents cost 2.5 to 4 projections on a CPU. Elsewhere it is all dense.
    """
    device = mixture.centres.device
    if not draws_windows(device):
        return project_gaussians_with_slopes_dense(mixture, velocities, slopes, rotation, grid)
    if draws_tiles(device):
        return _tiled(mixture, (_moves_in_pixels(velocities, rotation, grid), slopes), rotation, grid, cutoff)
    from morphem.physics.kernels.gaussian_slopes import splat_slopes

    view, amplitudes, scales = (as_array(t) for t in in_pixels(mixture, rotation, grid))
    moves, gains = as_array(_moves_in_pixels(velocities, rotation, grid)), as_array(slopes)
    drawn = splat_slopes((view, amplitudes, scales), moves, gains, grid.box, cutoff, torch.get_num_threads())
    return torch.from_numpy(drawn)


@torch.no_grad()
def _tiled(
    mixture: GaussianMixture,
    motion: tuple[Float[Tensor, "b q g 2"], Float[Tensor, "b q g"]],
    rotation: Float[Tensor, "b 3 3"],
    grid: Grid,
    cutoff: float,
) -> Float[Tensor, "b k d d"]:
    from morphem.physics.kernels.tiled_gaussians import splat_slopes

    return splat_slopes(in_pixels(mixture, rotation, grid), *motion, grid.box, cutoff)


@torch.no_grad()
def project_gaussians_with_slopes_dense(
    mixture: GaussianMixture,
    velocities: Float[Tensor, "b q g 3"],
    slopes: Float[Tensor, "b q g"],
    rotation: Float[Tensor, "b 3 3"],
    grid: Grid,
) -> Float[Tensor, "b k d d"]:
    """What :func:`project_gaussians_with_slopes` gives, exact for every width and on every device.

    ``Yᵀ (ṁ X + m vx dx/s² X) + (dy Y)ᵀ (m vy/s² X)`` with profiles X and Y, all channels side by side in one
    matrix product a block of Gaussians. Cost: 4·g·k·d² operations an image.
    """
    view, amplitudes, scales = in_pixels(mixture, rotation, grid)
    moves = _moves_in_pixels(velocities, rotation, grid) * (amplitudes / scales.square())[:, None, :, None]
    still = moves.new_zeros(len(view), 1, view.shape[1], 2)
    moves = torch.cat([still, moves], 1).movedim(1, 2)[..., None]
    gains = torch.cat([amplitudes[:, None], slopes], 1).mT[..., None]
    axis = torch.arange(grid.box, dtype=view.dtype, device=view.device)
    images = view.new_zeros(len(view), grid.box, gains.shape[2] * grid.box)
    part = max(1, TABLE_ELEMENTS // max(1, images[:, 0].numel()))
    for first in range(0, view.shape[1], part):
        these = slice(first, first + part)
        from_x, x = profile(view[:, these, 0], scales[these], axis)
        from_y, y = profile(view[:, these, 1], scales[these], axis)
        x, dx = x[:, :, None], (x * from_x)[:, :, None]
        images.baddbmm_(y.mT, (gains[:, these] * x + moves[:, these, :, 0] * dx).flatten(2))
        images.baddbmm_((y * from_y).mT, (moves[:, these, :, 1] * x).flatten(2))
    return images.unflatten(2, (-1, grid.box)).movedim(1, 2).contiguous()


def _moves_in_pixels(
    velocities: Float[Tensor, "b q g 3"], rotation: Float[Tensor, "b 3 3"], grid: Grid
) -> Float[Tensor, "b q g 2"]:
    return velocities @ rotation[:, None, :2].mT / grid.pixel_size

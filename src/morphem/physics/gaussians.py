"""Gaussian mixtures as projections, spectra and maps.

Component i with centre ``c``, width ``s`` and amplitude ``m`` adds ``m exp(−|p − [R c]_xy|² / 2 s²)`` to a
projection. Callers choose an evaluation by its name: dense (the reference), windowed (few pixels a
Gaussian, compiled), analytic spectra (band-limited), or gridded spectra (many Gaussians, compiled).
Compiled loops run on a CPU and, where Triton is installed, on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume

TABLE_ELEMENTS = 1 << 19  # of one profile table in the dense evaluation: 2 MB of float32 stay in cache
NEGLIGIBLE = -35.0  # exponent, 6e-16 of a peak: products of less are denormal, a hundred times slower
GRIDDING_WIDTH = 0.95  # of the spreading Gaussian, pixels of the twofold oversampled grid
GRIDDING_REACH = 3.999 / GRIDDING_WIDTH  # eight pixels, the width of one vector instruction
GRIDDING_MARGIN = 8  # pixels of the oversampled grid
TILED = ("cuda",)  # kinds of devices on which windows are drawn by Triton


def project_gaussians(
    mixture: GaussianMixture, rotation: Float[Tensor, "b 3 3"], grid: Grid
) -> Float[Tensor, "b d d"]:
    """Projections along the beam, each the matrix product ``Yᵀ diag(m) X`` of separable profiles.

    Exact for every width, on every device. Profiles are recomputed in the backward pass, a block at a time,
    so memory does not grow with the number of Gaussians. Cost: 2·g·d² operations an image, thrice that with
    gradients.
    """
    return _Separable.apply(*in_pixels(mixture, rotation, grid), grid.box)


def project_gaussians_windowed(
    mixture: GaussianMixture, rotation: Float[Tensor, "b 3 3"], grid: Grid, cutoff: float = 4.0
) -> Float[Tensor, "b d d"]:
    """Projections in which each Gaussian is drawn to ``cutoff`` standard deviations.

    A Gaussian is missing where it is below ``exp(−cutoff²/2)`` of its peak (3.4e-4 at 4), which leaves images
    of overlapping Gaussians within 1e-4 of their maximum. Cost: (2·cutoff·s)² pixels a Gaussian, whatever the
    box. Results are the same on every run and for every number of threads. Its gradient is that of the drawn
    pixels, and passes once. Only for devices of which :func:`draws_windows` is true.
    """
    return _Windowed.apply(*in_pixels(mixture, rotation, grid), grid.box, cutoff)


def draws_windows(device: torch.device) -> bool:
    """Whether windowed and gridded projections run on a device: a CPU, or a GPU if Triton is installed."""
    return device.type == "cpu" or draws_tiles(device)


def draws_tiles(device: torch.device) -> bool:
    """Whether ``kernels.tiled_gaussians`` draws windows on a device."""
    return device.type in TILED and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def gaussian_slices(
    mixture: GaussianMixture, rotation: Float[Tensor, "b 3 3"], grid: Grid
) -> Complex[Tensor, "b d h"]:
    """Exact spectra of the projections: ``Σ m 2π s² exp(−2π² s² k²) exp(−2πi k·[R c]_xy)``.

    Band-limited, hence right for Gaussians narrower than 0.8 pixels, whose sampled projection aliases;
    periodic in the box. Its profiles take g·d numbers an image: for small mixtures, and as a reference.
    """
    view, amplitudes, scales = in_pixels(mixture, rotation, grid)
    k = torch.fft.fftfreq(grid.box, device=view.device, dtype=view.dtype)
    positions = view - grid.box // 2
    y = _wave(positions[..., 1], scales, k)
    x = _wave(positions[..., 0], scales, torch.fft.rfftfreq(grid.box, device=k.device, dtype=k.dtype))
    weights = amplitudes * 2 * torch.pi * scales.square()
    return (y * weights[..., None]).mT @ x


def project_gaussians_gridded(
    mixture: GaussianMixture, rotation: Float[Tensor, "b 3 3"], grid: Grid, classes: int = 6
) -> Complex[Tensor, "b d h"]:
    """Spectra as :func:`gaussian_slices`, from a twofold oversampled grid and one FFT a width class.

    A Gaussian of half a pixel is drawn in the place of each component; its transform is divided
    out and the component's own multiplied in. Values are within 1e-4 of the largest coefficient if all widths
    are equal. Others are interpolated between ``classes`` widths: with 6, over a factor of two, values stay
    within 1e-4 and gradients within 5e-3; from 0.5 to 2 pixels it takes 8 for 1e-4 and 2e-2.
    """
    view, amplitudes, scales = in_pixels(mixture, rotation, grid)
    nodes = _width_classes(scales, classes)
    weights = amplitudes * 2 * torch.pi * scales.square()
    squared = (grid.frequencies(view.device).to(view.dtype) * grid.pixel_size).square().sum(-1)
    spectra = torch.zeros((), dtype=view.dtype, device=view.device)
    for node, share in zip(nodes, _shares(scales, nodes), strict=True):
        # The spreading Gaussian is measured in half pixels.
        narrowing = node.square() - GRIDDING_WIDTH**2 / 4
        filter_ = torch.exp(-2 * torch.pi**2 * narrowing * squared) / (2 * torch.pi * GRIDDING_WIDTH**2)
        spectra = spectra + _spread(view, weights * share, grid.box) * filter_
    return spectra


def rasterise(mixture: GaussianMixture, grid: Grid) -> Volume:
    """Density whose projections the mixture gives: ``Σ m/(√(2π) s) exp(−|x − c|² / 2 s²)``.

    Worked in slabs along z, each with the Gaussians within five standard deviations.
    """
    axis = _pixel_axis(grid.box, mixture.centres)
    centres = mixture.centres / grid.pixel_size + grid.box // 2
    scales = mixture.scales / grid.pixel_size
    heights = mixture.amplitudes / (math.sqrt(2 * math.pi) * mixture.scales)
    slabs = [_slab(centres, scales, heights, axis, part) for part in axis.split(8)]
    return Volume(torch.cat(slabs), grid)


def in_pixels(
    mixture: GaussianMixture, rotation: Float[Tensor, "b 3 3"], grid: Grid
) -> tuple[Float[Tensor, "b g 2"], Float[Tensor, "b g"], Float[Tensor, "g"]]:
    """Where each Gaussian falls in each image (array index), its amplitude there, and widths in pixels."""
    view = mixture.centres @ rotation[:, :2].mT / grid.pixel_size + grid.box // 2
    return view, mixture.amplitudes.expand(view.shape[:2]), mixture.scales / grid.pixel_size


def _pixel_axis(box: int, like: Float[Tensor, "..."]) -> Float[Tensor, "d"]:
    return torch.arange(box, dtype=like.dtype, device=like.device)


class _Separable(torch.autograd.Function):
    """Dense projection with the closed-form gradient: moments of the upstream image under each Gaussian."""

    @staticmethod
    def forward(
        ctx: Any,
        view: Float[Tensor, "b g 2"],
        amplitudes: Float[Tensor, "b g"],
        scales: Float[Tensor, "g"],
        box: int,
    ) -> Float[Tensor, "b d d"]:
        """Sum of ``Yᵀ diag(m) X`` over blocks of Gaussians."""
        ctx.save_for_backward(view, amplitudes, scales)
        images = view.new_zeros(len(view), box, box)
        axis = _pixel_axis(box, view)
        for rows, part in _blocks(view, box):
            _, x = profile(view[rows, part, 0], scales[part], axis)
            _, y = profile(view[rows, part, 1], scales[part], axis)
            images[rows].baddbmm_(y.mul_(amplitudes[rows, part, None]).mT, x)
        return images

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Float[Tensor, "b d d"]
    ) -> tuple[Float[Tensor, "b g 2"], Float[Tensor, "b g"], Float[Tensor, "g"], None]:
        """Two products give the upstream image under each profile; sums along them give every gradient."""
        view, amplitudes, scales = ctx.saved_tensors
        images = upstream[0].contiguous()
        axis = _pixel_axis(images.shape[-1], view)
        to_view, to_amplitudes, spreads = (torch.empty_like(t) for t in (view, amplitudes, amplitudes))
        for rows, part in _blocks(view, len(axis)):
            from_x, x = profile(view[rows, part, 0], scales[part], axis)
            from_y, y = profile(view[rows, part, 1], scales[part], axis)
            under_x = torch.bmm(x, images[rows].mT).mul_(y)
            under_y = torch.bmm(y, images[rows]).mul_(x)
            to_amplitudes[rows, part] = under_x.sum(-1)
            to_view[rows, part, 0] = under_y.mul_(from_x).sum(-1)
            to_view[rows, part, 1] = under_x.mul_(from_y).sum(-1)
            spreads[rows, part] = under_x.mul_(from_y).sum(-1) + under_y.mul_(from_x).sum(-1)
        per_square = amplitudes / scales.square()
        to_scales = (spreads * per_square / scales).sum(0)
        return to_view * per_square[..., None], to_amplitudes, to_scales, None


class _Windowed(torch.autograd.Function):
    """The compiled loops of ``kernels`` as one differentiable operation."""

    @staticmethod
    def forward(
        ctx: Any,
        view: Float[Tensor, "b g 2"],
        amplitudes: Float[Tensor, "b g"],
        scales: Float[Tensor, "g"],
        box: int,
        cutoff: float,
    ) -> Float[Tensor, "b d d"]:
        """Draw every Gaussian inside its window."""
        ctx.save_for_backward(view, amplitudes, scales)
        ctx.cutoff = cutoff
        if draws_tiles(view.device):
            from morphem.physics.kernels import tiled_gaussians

            return tiled_gaussians.splat((view, amplitudes, scales), box, cutoff)
        from morphem.physics.kernels.windowed_gaussians import splat

        mixture = as_array(view), as_array(amplitudes), as_array(scales)
        return torch.from_numpy(splat(mixture, box, cutoff, torch.get_num_threads()))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Float[Tensor, "b d d"]
    ) -> tuple[Float[Tensor, "b g 2"], Float[Tensor, "b g"], Float[Tensor, "g"], None, None]:
        """Sum the moments of the upstream image inside every window."""
        view, amplitudes, scales = ctx.saved_tensors
        if draws_tiles(view.device):
            from morphem.physics.kernels import tiled_gaussians

            results = tiled_gaussians.splat_gradient(ctx.saved_tensors, upstream[0], ctx.cutoff)
        else:
            from morphem.physics.kernels.windowed_gaussians import splat_gradient

            mixture = as_array(view), as_array(amplitudes), as_array(scales)
            moments = splat_gradient(mixture, as_array(upstream[0]), ctx.cutoff, torch.get_num_threads())
            results = [torch.from_numpy(moment) for moment in moments]
        to_view, to_amplitudes, to_scales = results
        return to_view, to_amplitudes, to_scales.sum(0), None, None


def as_array(values: Float[Tensor, "..."]) -> Any:
    """The same numbers for a compiled loop."""
    if values.device.type != "cpu":
        raise ValueError(
            f"mixture on {values.device}, but compiled loops need a CPU, or a GPU with triton; "
            "use project_gaussians"
        )
    return values.detach().contiguous().numpy()


def _blocks(view: Float[Tensor, "b g 2"], box: int) -> Iterator[tuple[slice, slice]]:
    """Runs of images and of Gaussians whose profile tables hold about ``TABLE_ELEMENTS``."""
    images, gaussians = view.shape[:2]
    part = max(1, min(gaussians, 512))
    rows = max(1, TABLE_ELEMENTS // (part * box))
    for row in range(0, images, rows):
        for first in range(0, gaussians, part):
            yield slice(row, row + rows), slice(first, first + part)


def profile(
    position: Float[Tensor, "b g"], scales: Float[Tensor, "g"], axis: Float[Tensor, "d"]
) -> tuple[Float[Tensor, "b g d"], Float[Tensor, "b g d"]]:
    """Distance of each pixel from each Gaussian along one axis, and the Gaussian there."""
    offset = axis - position[..., None]
    exponent = offset.square().mul_((-0.5 / scales.square())[:, None])
    return offset, exponent.clamp_(min=NEGLIGIBLE).exp_()


def _wave(
    position: Float[Tensor, "b g"], scales: Float[Tensor, "g"], k: Float[Tensor, "f"]
) -> Complex[Tensor, "b g f"]:
    """One axis of a Gaussian's transform at frequencies ``k`` (cycles a pixel), without its weight."""
    damping = torch.exp(-2 * torch.pi**2 * (scales[:, None] * k).square())
    angle = -2 * torch.pi * position[..., None] * k
    return torch.polar(damping.expand_as(angle), angle)


def _width_classes(scales: Float[Tensor, "g"], classes: int) -> Float[Tensor, "c"]:
    """Chebyshev nodes in log width, from the narrowest to the widest Gaussian.

    One node if all widths are alike and need no gradient: a single class does not know its neighbours.
    """
    low, high = scales.detach().log().aminmax()
    if high - low < 1e-6 and not scales.requires_grad:
        return scales[:1]
    middle, half = (low + high) / 2, ((high - low) / 2).clamp(min=0.05)
    angles = (torch.arange(classes, dtype=scales.dtype, device=scales.device) + 0.5) * torch.pi / classes
    return torch.exp(middle - half * angles.cos())


def _shares(scales: Float[Tensor, "g"], nodes: Float[Tensor, "c"]) -> list[Float[Tensor, "g"]]:
    """Share of each width class in each Gaussian: Lagrange polynomials in log width."""
    t, at = scales.log(), nodes.log()
    shares = []
    for c in range(len(at)):
        others = torch.cat([at[:c], at[c + 1 :]])
        shares.append(((t[:, None] - others) / (at[c] - others)).prod(-1))
    return shares


def _spread(
    view: Float[Tensor, "b g 2"], weights: Float[Tensor, "b g"], box: int
) -> Complex[Tensor, "b d h"]:
    """Low half of the spectra of narrow Gaussians on the twofold oversampled, periodic grid."""
    fine, margin = 2 * box, GRIDDING_MARGIN
    inside = torch.remainder(2 * view, fine) + margin
    width = view.new_full((view.shape[1],), GRIDDING_WIDTH)
    drawn = _Windowed.apply(inside, weights, width, fine + 2 * margin, GRIDDING_REACH)
    for dim in (-2, -1):
        before, core, after = drawn.split([margin, fine, margin], dim)
        first, middle, last = core.split([margin, fine - 2 * margin, margin], dim)
        drawn = torch.cat([first + after, middle, last + before], dim)
    spectra = to_fourier(drawn)[..., : box // 2 + 1]
    return torch.cat([spectra[..., : box // 2, :], spectra[..., -(box // 2) :, :]], dim=-2)


def _slab(
    centres: Float[Tensor, "g 3"],
    scales: Float[Tensor, "g"],
    heights: Float[Tensor, "g"],
    axis: Float[Tensor, "d"],
    planes: Float[Tensor, "z"],
) -> Float[Tensor, "z d d"]:
    """Density on some planes of a map, from the Gaussians near them."""
    middle, reach = (planes[0] + planes[-1]) / 2, (planes[-1] - planes[0]) / 2 + 5 * scales
    near = ((centres[:, 2] - middle).abs() < reach).nonzero()[:, 0]
    centres, rate = centres[near], -0.5 / scales[near, None].square()
    x, y, z = (
        torch.exp(((points - centres[:, i, None]).square() * rate).clamp(min=NEGLIGIBLE))
        for i, points in enumerate((axis, axis, planes))
    )
    yx = (z * heights[near, None])[:, :, None] * y[:, None, :]
    return torch.einsum("gzy,gx->zyx", yx, x)

"""Projected Gaussians drawn, and differentiated, only where they are not negligible, on a GPU.

Forwards, a program owns a square tile of an image and adds the Gaussians that a first pass listed for it;
backwards, it owns a few Gaussians and walks their windows. No sum depends on which program comes first, so
results are the same on every run. Lengths are pixels; a position is an array index. Needs ``triton``.
"""

from __future__ import annotations

from typing import Any, no_type_check

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor

TILE = tl.constexpr(16)  # side of a tile, pixels; the least that `tl.dot` takes
LISTED = tl.constexpr(512)  # Gaussians that are held against a tile at once
DRAWN = tl.constexpr(32)  # Gaussians that are added to a tile at once
WALKED = tl.constexpr(16)  # Gaussians whose windows are walked at once
COLUMNS = tl.constexpr(16)  # of a window
WARPS = 2  # of 32 lanes, to a program
LIST_ELEMENTS = 1 << 26  # of the lists at once: 256 MB

# Positions (x, y) in each image, peak amplitudes there, scales common to all images.
Mixture = tuple[Float[Tensor, "b g 2"], Float[Tensor, "b g"], Float[Tensor, "g"]]
Gradients = tuple[Float[Tensor, "b g 2"], Float[Tensor, "b g"], Float[Tensor, "b g"]]
Tilts = Float[Tensor, "b k g 2"] | None


def splat(mixture: Mixture, box: int, reach: float) -> Float[Tensor, "b d d"]:
    """Images of Gaussians, each drawn to ``reach`` standard deviations along x and along y."""
    view, amplitudes, scales = mixture
    return _drawn(view, scales, (amplitudes[:, None], None), box, reach)[:, 0]


def splat_slopes(
    mixture: Mixture,
    velocities: Float[Tensor, "b q g 2"],
    slopes: Float[Tensor, "b q g"],
    box: int,
    reach: float,
) -> Float[Tensor, "b k d d"]:
    """Images of Gaussians, then their derivatives along each of ``q = k − 1`` directions.

    ``velocities`` are derivatives of positions (pixels), ``slopes`` those of amplitudes. A centre or width
    that is not finite turns every image of its row to NaN.
    """
    view, amplitudes, scales = mixture
    tilts = velocities * (amplitudes / scales.square())[:, None, :, None]
    tilts = torch.cat([torch.zeros_like(view)[:, None], tilts], 1)
    return _drawn(view, scales, (torch.cat([amplitudes[:, None], slopes], 1), tilts), box, reach)


def splat_gradient(mixture: Mixture, upstream: Float[Tensor, "b d d"], reach: float) -> Gradients:
    """Gradients to positions, amplitudes and, image by image, scales."""
    view, amplitudes, scales = (each.contiguous() for each in mixture)
    images, gaussians = amplitudes.shape
    gradients = torch.empty_like(view), torch.empty_like(amplitudes), torch.empty_like(amplitudes)
    programs = images, -(-gaussians // WALKED.value)
    sizes = gaussians, upstream.shape[-1]
    _launch(
        _differentiate, programs, (view, amplitudes, scales), upstream.contiguous(), gradients, sizes, reach
    )
    return gradients


def _drawn(
    view: Float[Tensor, "b g 2"],
    scales: Float[Tensor, "g"],
    weights: tuple[Float[Tensor, "b k g"], Tilts],
    box: int,
    reach: float,
) -> Float[Tensor, "b k d d"]:
    """Sums of ``X · Y`` by their weights and, where there are tilts, of ``dx X · Y`` and ``X · dy Y``."""
    view, scales = view.contiguous(), scales.contiguous()
    plain, tilts = weights[0].contiguous(), None if weights[1] is None else weights[1].contiguous()
    images, channels, gaussians = plain.shape
    tiles = (-(-box // TILE.value)) ** 2
    drawn = view.new_empty(images, channels, box, box)
    step = max(1, LIST_ELEMENTS // max(1, tiles * gaussians))
    for first in range(0, images, step):
        rows = slice(first, first + step)
        some = len(view[rows])
        lists = torch.empty(some, tiles, gaussians, dtype=torch.int32, device=view.device)
        found = lists, torch.empty(some, tiles, dtype=torch.int32, device=view.device)
        table = plain[rows], None if tilts is None else tilts[rows]
        _launch(_list, (some, tiles), view[rows], scales, found, (gaussians, box), reach)
        mixture = view[rows], scales
        _launch(_draw, (some, tiles, channels), mixture, table, found, drawn[rows], (gaussians, box), reach)
    return drawn


def _launch(kernel: Any, programs: tuple[int, ...], *arguments: Any) -> None:
    """Run a kernel on the device of its tensors."""
    first = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
    with torch.cuda.device_of(first):
        kernel[programs](*arguments, num_warps=WARPS)


@triton.jit
@no_type_check
def _list(view: tl.tensor, scales: tl.tensor, found: tl.tuple, sizes: tl.tuple, reach: tl.constexpr) -> None:
    """Indices of the Gaussians whose windows touch a tile, in their order, and their number."""
    lists, counts = found
    gaussians, box = sizes
    b, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    across = tl.cdiv(box, TILE)
    left, top = tile % across * TILE, tile // across * TILE
    place = b * tl.num_programs(1) + tile
    count = 0
    for first in range(0, gaussians, LISTED):
        g = first + tl.arange(0, LISTED)
        there = g < gaussians
        position = view + (b * gaussians + g) * 2
        half = reach * tl.load(scales + g, there, 0.0)
        kept = there & ~_misses(tl.load(position, there, 0.0), half, left)
        kept = kept & ~_misses(tl.load(position + 1, there, 0.0), half, top)
        after = count + tl.cumsum(kept.to(tl.int32), 0)
        tl.store(lists + place * gaussians + after - 1, g, kept)
        count += tl.sum(kept.to(tl.int32), 0)
    tl.store(counts + place, count)


@triton.jit
@no_type_check
def _misses(position: tl.tensor, half: tl.tensor, start: int) -> tl.tensor:
    """Whether a window and the tile from ``start`` on are apart along one axis; False if not finite."""
    apart = (position + half < start) | (position - half > start + TILE - 1)
    return apart & (tl.abs(position) < float("inf"))


@triton.jit
@no_type_check
def _draw(
    mixture: tl.tuple,
    weights: tl.tuple,
    found: tl.tuple,
    images: tl.tensor,
    sizes: tl.tuple,
    reach: tl.constexpr,
) -> None:
    """One tile of one channel: products of both profiles of the listed Gaussians, summed in their order."""
    view, scales = mixture
    plain, tilts = weights
    lists, counts = found
    gaussians, box = sizes
    b, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    across = tl.cdiv(box, TILE)
    column = tile % across * TILE + tl.arange(0, TILE)
    row = tile // across * TILE + tl.arange(0, TILE)
    place = b * tl.num_programs(1) + tile
    channel = b * tl.num_programs(2) + tl.program_id(2)
    count = tl.load(counts + place)
    kind = images.dtype.element_ty
    canvas = tl.zeros((TILE, TILE), kind)
    for first in range(0, count, DRAWN):
        at = first + tl.arange(0, DRAWN)
        there = at < count
        g = tl.load(lists + place * gaussians + at, there, 0)
        scale = tl.load(scales + g, there, 1.0)
        position = view + (b * gaussians + g) * 2
        dx, x = _profile(column, tl.load(position, there, 0.0), scale, reach)
        dy, y = _profile(row, tl.load(position + 1, there, 0.0), scale, reach)
        weight = channel * gaussians + g
        line = tl.load(plain + weight, there, 0.0)[:, None] * x
        if tilts is not None:
            line += tl.load(tilts + 2 * weight, there, 0.0)[:, None] * (dx * x)
            moved = tl.load(tilts + 2 * weight + 1, there, 0.0)[:, None] * x
            canvas = tl.dot(tl.trans(dy * y), moved, canvas, input_precision="ieee", out_dtype=kind)
        canvas = tl.dot(tl.trans(y), line, canvas, input_precision="ieee", out_dtype=kind)
    inside = (row < box)[:, None] & (column < box)[None, :]
    tl.store(images + (channel * box + row[:, None]) * box + column[None, :], canvas, inside)


@triton.jit
@no_type_check
def _profile(
    axis: tl.tensor, position: tl.tensor, scale: tl.tensor, reach: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Distance of each pixel from each Gaussian along one axis, and the Gaussian there, cut to its window."""
    position += 0 * position  # NaN where it is infinite
    offset = axis[None, :] - position[:, None]
    beyond = axis[None, :] < (position - reach * scale)[:, None]
    beyond = beyond | (axis[None, :] > (position + reach * scale)[:, None])
    return offset, tl.where(beyond, 0.0, tl.exp((-0.5 / (scale * scale))[:, None] * (offset * offset)))


@triton.jit
@no_type_check
def _differentiate(
    mixture: tl.tuple, upstream: tl.tensor, gradients: tl.tuple, sizes: tl.tuple, reach: tl.constexpr
) -> None:
    """Moments of the upstream image under a few Gaussians; all three gradients follow from them."""
    view, amplitudes, scales = mixture
    to_view, to_amplitudes, to_scales = gradients
    gaussians, box = sizes
    b, g = tl.program_id(0).to(tl.int64), tl.program_id(1) * WALKED + tl.arange(0, WALKED)
    there = g < gaussians
    at = b * gaussians + g
    scale = tl.load(scales + g, there, 1.0)
    x, y = tl.load(view + 2 * at, there, 0.0), tl.load(view + 2 * at + 1, there, 0.0)
    left, width = _span(x, reach * scale, box)
    top, height = _span(y, reach * scale, box)
    seen = (width > 0) & (height > 0)
    rate = -0.5 / (scale * scale)
    mass = tl.zeros((WALKED,), upstream.dtype.element_ty)
    along_x, along_y, spread_out = mass, mass, mass
    for first in range(0, tl.max(width, 0), COLUMNS):
        shift = first + tl.arange(0, COLUMNS)[None, :]
        column = left[:, None] + shift
        column_0 = tl.zeros((WALKED, COLUMNS), upstream.dtype.element_ty)
        column_1, column_2 = column_0, column_0
        for i in range(tl.max(height, 0)):
            within = (i < height)[:, None] & (shift < width[:, None])
            line = tl.load(upstream + (b * box + top + i)[:, None] * box + column, within, 0.0)
            dy = top + i - y
            value = tl.exp(rate * (dy * dy))
            column_0 += value[:, None] * line
            column_1 += (value * dy)[:, None] * line
            column_2 += (value * dy * dy)[:, None] * line
        dx = column - x[:, None]
        value = tl.exp(rate[:, None] * (dx * dx))
        mass += tl.sum(value * column_0, 1)
        along_x += tl.sum(value * dx * column_0, 1)
        along_y += tl.sum(value * column_1, 1)
        spread_out += tl.sum(value * dx * dx * column_0 + value * column_2, 1)
    per_square = tl.load(amplitudes + at, there, 0.0) / (scale * scale)
    tl.store(to_amplitudes + at, tl.where(seen, mass, 0.0), there)
    tl.store(to_view + 2 * at, tl.where(seen, along_x * per_square, 0.0), there)
    tl.store(to_view + 2 * at + 1, tl.where(seen, along_y * per_square, 0.0), there)
    tl.store(to_scales + at, tl.where(seen, spread_out * per_square / scale, 0.0), there)


@triton.jit
@no_type_check
def _span(position: tl.tensor, half: tl.tensor, box: int) -> tuple[tl.tensor, tl.tensor]:
    """First pixel of a window inside the image along one axis, and how many there are; none for NaN."""
    first = tl.maximum(tl.ceil(position - half), 0.0)
    count = tl.minimum(tl.floor(position + half), box - 1.0) - first + 1
    return tl.where(count > 0, first, 0.0).to(tl.int32), tl.where(count > 0, count, 0.0).to(tl.int32)

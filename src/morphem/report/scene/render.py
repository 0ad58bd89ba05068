"""Pictures of a map's surface, lit, without a window system or a graphics card."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from morphem.report.drawing import COLOURS

PLAIN = (0.62, 0.70, 0.80)  # red, green, blue of a map without parts
_LIGHT = (-0.40, 0.55, 0.73)  # where it comes from: x to the right, y up, z towards the viewer
_AMBIENT, _DIFFUSE, _SHINE, _GLOSS = 0.34, 0.66, 0.22, 24
_HAZE = 0.35  # of the colour that the farthest surface loses
_SHADE, _HOLLOW = 0.5, 0.05  # darkening of hollows; their depth and width, fraction of the picture
_SHARPEST = 4  # points a voxel, at most: more would show nothing but the interpolation


@dataclass(frozen=True)
class Look:
    """A look at a map along an axis, towards which the viewer stands.

    Attributes:
        axes: Of an array ordered z, y, x: those along the view, up, and to the right.
        far_first: Whether index 0 along the view is farthest from the viewer.
    """

    axes: tuple[int, int, int]
    far_first: bool


# right × up points to the viewer, else pictures were of the mirror image
LOOKS = (Look((0, 1, 2), True), Look((1, 0, 2), False), Look((2, 0, 1), True))


def surface_pictures(
    voxels: Float[Tensor, "z y x"],
    level: float,
    labels: Int[Tensor, "z y x"] | None = None,
    size: int = 168,
) -> list[bytes]:
    """PNG files of the surface at ``level`` seen along z, y and x, as in figures of runs, by a lit ray each.

    Along z one sees x to the right and y up, along y and x, z up. What is no surface is transparent.

    Args:
        voxels: A map.
        level: Where its surface is.
        labels: Part of each voxel, from 1, which gives the colour; 0 is plain.
        size: Pixels of the longer side, at most.
    """
    factor = min(_SHARPEST, size / max(voxels.shape))
    counts = [max(2, round(factor * count)) for count in voxels.shape]
    fine = resampled(voxels, counts)
    tints = None if labels is None else _nearest(labels, counts)
    return [png(_picture(fine, level, tints, look)) for look in LOOKS]


def resampled(voxels: Float[Tensor, "z y x"], counts: Sequence[int]) -> Float[Tensor, "_z _y _x"]:
    """A map on another number of points over the same extent, by cubic convolution along each axis."""
    for axis, count in enumerate(counts):
        matrix = _cubic(voxels.shape[axis], count)
        voxels = torch.tensordot(voxels.float().movedim(axis, -1), matrix.T, 1).movedim(-1, axis)
    return voxels


def png(pixels: UInt8[np.ndarray, "y x 4"]) -> bytes:
    """A PNG file of red, green, blue and opacity, the first row on top."""
    height, width = pixels.shape[:2]
    # each pixel less the one to its left, "filter 1": slow slopes pack better than their values
    slopes = np.diff(pixels, axis=1, prepend=np.zeros((height, 1, 4), np.uint8))
    lines = np.concatenate([np.ones((height, 1), np.uint8), slopes.reshape(height, -1)], 1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _picture(
    voxels: Float[Tensor, "z y x"], level: float, tints: Int[Tensor, "z y x"] | None, look: Look
) -> UInt8[np.ndarray, "_ _ 4"]:
    """Colours of the first crossing of each ray, the viewer's row of pixels on top first."""
    oriented = voxels.permute(look.axes)
    oriented = oriented.flip(0) if look.far_first else oriented  # now 0 is nearest to the viewer
    hit, depth = _first_crossing(oriented, level)
    index = depth.floor().long().clamp(0, len(oriented) - 1)
    normal = _normals(oriented, index, depth - index)
    colour = _tints(tints, look, index)
    shaded = _lit(colour, normal, _hollows(depth, hit)) * (1 - _HAZE * _distance(depth, hit))[..., None]
    shaded = shaded + _HAZE * _distance(depth, hit)[..., None] * 0.92
    opaque = torch.cat([shaded.clamp(0, 1), hit[..., None].float()], -1)
    return (255 * opaque).round().to(torch.uint8).flip(0).contiguous().numpy()


def _first_crossing(
    voxels: Float[Tensor, "depth up right"], level: float
) -> tuple[Tensor, Float[Tensor, "up right"]]:
    """Whether a ray meets the surface, and where: between two points, by straight interpolation."""
    inside = voxels >= level
    hit = inside.any(0)
    first = inside.to(torch.uint8).argmax(0)
    before = (first - 1).clamp(min=0)
    a, b = voxels.gather(0, before[None])[0], voxels.gather(0, first[None])[0]
    part = torch.where(first > 0, (level - a) / (b - a).clamp(min=1e-12), 1.0).clamp(0, 1)
    return hit, before + torch.where(first > 0, part, 0.0)


def _normals(
    voxels: Float[Tensor, "depth up right"], index: Int[Tensor, "up right"], part: Float[Tensor, "up right"]
) -> Float[Tensor, "up right 3"]:
    """Outward normals (right, up, towards the viewer) from central differences, between two slices."""
    padded = torch.nn.functional.pad(voxels[None, None], (1, 1, 1, 1, 1, 1), mode="replicate")[0, 0]
    depth, up, right = voxels.shape
    after = (index + 1).clamp(max=depth - 1)

    def value(step: int, above: int, beside: int) -> Float[Tensor, "up right"]:
        near = padded[
            1 + step : 1 + step + depth, 1 + above : 1 + above + up, 1 + beside : 1 + beside + right
        ]
        return near.gather(0, index[None])[0] * (1 - part) + near.gather(0, after[None])[0] * part

    rightward = value(0, 0, 1) - value(0, 0, -1)
    upward = value(0, 1, 0) - value(0, -1, 0)
    towards = value(-1, 0, 0) - value(1, 0, 0)
    slopes = torch.stack([rightward, upward, towards], -1)
    return torch.nn.functional.normalize(-slopes, dim=-1, eps=1e-12)


def _lit(
    colour: Float[Tensor, "up right 3"],
    normal: Float[Tensor, "up right 3"],
    hollow: Float[Tensor, "up right"],
) -> Float[Tensor, "up right 3"]:
    light = torch.nn.functional.normalize(torch.tensor(_LIGHT), dim=0)
    halfway = torch.nn.functional.normalize(light + torch.tensor([0.0, 0.0, 1.0]), dim=0)
    bright = _AMBIENT + _DIFFUSE * (normal @ light).clamp(min=0)
    shine = _SHINE * (normal @ halfway).clamp(min=0) ** _GLOSS
    return colour * (bright * (1 - _SHADE * hollow))[..., None] + shine[..., None]


def _hollows(depth: Float[Tensor, "up right"], hit: Tensor) -> Float[Tensor, "up right"]:
    """How far, 0 to 1, a point lies behind the surface around it."""
    width = max(1, round(_HOLLOW * max(depth.shape)))
    seen = hit.float()
    both = torch.stack([depth * seen, seen])[None]
    sums = torch.nn.functional.avg_pool2d(both, 2 * width + 1, 1, width)[0]
    around = sums[0] / sums[1].clamp(min=1e-6)
    return ((depth - around) / (2 * width)).clamp(0, 1)


def _distance(depth: Float[Tensor, "up right"], hit: Tensor) -> Float[Tensor, "up right"]:
    """0 at the nearest point of the surface, 1 at the farthest."""
    if not bool(hit.any()):
        return torch.zeros_like(depth)
    near, far = depth[hit].min(), depth[hit].max()
    return ((depth - near) / (far - near).clamp(min=1e-6)).clamp(0, 1)


def _tints(
    labels: Int[Tensor, "z y x"] | None, look: Look, index: Int[Tensor, "up right"]
) -> Float[Tensor, "up right 3"]:
    """Colour of the part at each point."""
    if labels is None:
        return torch.tensor(PLAIN).expand(*index.shape, 3)
    oriented = labels.permute(look.axes)
    oriented = oriented.flip(0) if look.far_first else oriented
    after = (index + 1).clamp(max=len(oriented) - 1)
    inner, outer = oriented.gather(0, after[None])[0], oriented.gather(0, index[None])[0]
    number = torch.where(inner > 0, inner, outer)
    table = torch.tensor([PLAIN, *(rgb(part) for part in range(1, len(COLOURS) + 1))])
    return table[torch.where(number > 0, (number - 1) % len(COLOURS) + 1, 0)]


def rgb(part: int) -> tuple[float, float, float]:
    """Colour of part 1, 2, …; they return after the last."""
    word = COLOURS[(part - 1) % len(COLOURS)]
    red, green, blue = (int(word[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _cubic(old: int, new: int) -> Float[Tensor, "_new _old"]:
    """Weights of old points in new ones over the same extent (Keys' cubic convolution)."""
    place = (torch.arange(new) + 0.5) * (old / new) - 0.5
    offset = torch.arange(-1, 3)
    nearest = place.floor()[:, None] + offset
    distance = (place[:, None] - nearest).abs()
    inner = 1.5 * distance**3 - 2.5 * distance**2 + 1
    outer = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weight = torch.where(distance <= 1, inner, torch.where(distance < 2, outer, 0.0))
    return torch.zeros(new, old).scatter_add(1, nearest.long().clamp(0, old - 1), weight)


def _nearest(labels: Int[Tensor, "z y x"], counts: Sequence[int]) -> Int[Tensor, "_z _y _x"]:
    """Labels on another number of points over the same extent."""
    for axis, count in enumerate(counts):
        old = labels.shape[axis]
        place = ((torch.arange(count) + 0.5) * (old / count) - 0.5).round().long().clamp(0, old - 1)
        labels = labels.index_select(axis, place)
    return labels

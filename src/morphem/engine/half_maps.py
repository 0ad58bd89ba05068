"""Two half maps from inserted slices, judged against each other, and the filtered mean that follows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from morphem.core.fourier import low_pass
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.mrc import write_map
from morphem.engine import ranks
from morphem.engine.files import write_json
from morphem.metrics.fsc import phase_randomised_correlation, resolution, shell_correlation
from morphem.physics.masks import mask_from_map, soft_ball
from morphem.physics.slices import solve_insertion


@dataclass(frozen=True)
class HalfMaps:
    """What two half sets give.

    Attributes:
        half1: Map of the first half of the particles, unfiltered.
        half2: Of the second.
        mean: Map of all particles, Wiener-filtered.
        mask: Around the molecule, soft, from the low-passed map.
        fsc: Correlation of the halves by shell.
        fsc_masked: Of the halves within the mask.
        fsc_corrected: What remains of it without the correlation that the mask makes; the one to quote.
        resolution: Where ``fsc_corrected`` first falls below 0.143, Å; infinite if the halves have nothing in
            common.
        noise: Noise power of each optics group and shell; 1 is white noise of variance 1 per pixel.
        wiener: Mean factor of the filter on each shell of the mean map.
    """

    half1: Volume
    half2: Volume
    mean: Volume
    mask: Float[Tensor, "d d d"]
    fsc: Float[Tensor, "s"]
    fsc_masked: Float[Tensor, "s"]
    fsc_corrected: Float[Tensor, "s"]
    resolution: float
    noise: Float[Tensor, "o s"]
    wiener: Float[Tensor, "s"]


def judge_halves(
    numerator: Complex[Tensor, "2 e e q"],
    weight: Float[Tensor, "2 e e q"],
    grid: Grid,
    noise: Float[Tensor, "o s"],
    seed: int = 0,
) -> HalfMaps:
    """Half maps of two tables of inserted slices, their correlations, and the Wiener-filtered mean.

    The filter divides by ``weight + 1/τ²`` with ``1/τ² = ⟨weight⟩ (1 − F) / F`` by shell, where
    ``F = 2 FSC / (1 + FSC)`` is what the corrected half-map correlation promises of the full set.
    """
    half1, half2 = (solve_insertion(n, w, grid) for n, w in zip(numerator, weight, strict=True))
    fsc = shell_correlation(half1, half2)
    mask = molecule_mask(half1, half2, fsc)
    masked = shell_correlation(half1, half2, mask)
    corrected = phase_randomised_correlation(half1, half2, mask, seed)
    wiener = wiener_filter(corrected)
    regulariser = mean_weight(weight.sum(0), grid) * (1 - wiener) / wiener.clamp(min=1e-6)
    mean = solve_insertion(numerator.sum(0), weight.sum(0), grid, regulariser)
    return HalfMaps(
        half1, half2, mean, mask, fsc, masked, corrected, resolution(corrected, grid, 0.143), noise, wiener
    )


def write_half_maps(maps: HalfMaps, folder: Path) -> None:
    """Write ``half1.mrc``, ``half2.mrc``, ``mask.mrc`` and ``fsc.json`` (one number per shell, from DC)."""
    if ranks.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        grid = maps.mean.grid
        write_map(folder / "half1.mrc", maps.half1)
        write_map(folder / "half2.mrc", maps.half2)
        write_map(folder / "mask.mrc", Volume(maps.mask, grid))
        columns = ("fsc", "fsc_masked", "fsc_corrected", "wiener", "noise")
        by_shell = {name: getattr(maps, name).tolist() for name in columns}
        frequency = grid.shell_frequencies().tolist()  # 1/Å
        best = maps.resolution if math.isfinite(maps.resolution) else None  # JSON knows no infinity
        write_json(folder / "fsc.json", {"resolution": best, "frequency": frequency, **by_shell})
    ranks.barrier()


def wiener_filter(fsc: Float[Tensor, "s"]) -> Float[Tensor, "s"]:
    """Signal's share ``2 FSC / (1 + FSC)`` of the full map by shell; 0 beyond the first without signal."""
    share = 2 * fsc / (1 + fsc.clamp(min=0))
    share[0] = share[1]
    seen = (fsc[1:] > 0).long().cumprod(0).bool()
    return torch.where(torch.cat([seen[:1], seen]), share, 0).clamp(0, 0.999)


def molecule_mask(half1: Volume, half2: Volume, fsc: Float[Tensor, "s"]) -> Float[Tensor, "d d d"]:
    """Soft mask around what stands out of the low-passed mean of two half maps.

    What lies above five standard deviations of the map outside the inscribed ball, and above a tenth of its
    peak, is dilated by a sixteenth of the box and given an edge as wide. If that is next to nothing, the
    inscribed ball.
    """
    grid = half1.grid
    fine = max(15.0, 5 * grid.pixel_size, 1.5 * resolution(fsc, grid, 0.143))
    smooth = low_pass((half1.voxels + half2.voxels) / 2, grid, min(fine, grid.extent / 4))
    outside = _radius(grid) > 0.5 * grid.extent
    peak = smooth.flatten().kthvalue(int(0.999 * smooth.numel())).values
    threshold = max(5 * float(smooth[outside].std()), 0.1 * float(peak))
    margin = grid.extent / 16
    if float((smooth > threshold).float().mean()) < 1e-3:
        return soft_ball(grid, 0.5 * grid.extent - margin, margin)
    return mask_from_map(Volume(smooth, grid), threshold, margin, margin)


def _radius(grid: Grid) -> Float[Tensor, "d d d"]:
    """Distance of each voxel from the centre, Å."""
    squared = grid.axis().square()
    return (squared[:, None, None] + squared[:, None] + squared).sqrt()


def mean_weight(weight: Float[Tensor, "e e q"], grid: Grid) -> Float[Tensor, "s"]:
    """Mean inserted weight on each shell of the unpadded box."""
    padded = 2 * (weight.shape[-1] - 1)
    full = torch.arange(-(padded // 2), padded // 2 + 1) * (grid.box / padded)
    squared = full[:, None, None] ** 2 + full[:, None] ** 2 + full[padded // 2 :] ** 2
    shells = squared.sqrt().round().long().clamp(max=grid.half).flatten()
    # what was inserted on the plane x = 0 is spread over it and its Friedel mate
    whole = torch.cat([weight[..., :1] + weight[..., :1].flip(0, 1), weight[..., 1:]], -1)
    total = torch.bincount(shells, whole.flatten().double()) / torch.bincount(shells)
    return total[: grid.half].float()

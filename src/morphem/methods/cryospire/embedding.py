"""Latents told anew by what particles look like, so that those which look alike are in one place.

A descent and climbs from many starts find some latent at which the mixture shows what an image does, wherever
that is: one domain may be absent at several far ends of the space. Each map is right, but no mean over
particles of one state is, nor can a part learn in one go when to be there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import PerParticle
from morphem.engine.run import Run
from morphem.inference.latents import Mixture, Prior, Solved
from morphem.inference.passes import blocks, put, shared

_SHOWN = 1000  # particles whose maps tell how molecules differ, at most
_BLOCK = 256  # particles at a time
_EVENNESS = 0.5  # 1 would make all numbers of a latent as wide, 0 as wide as maps differ by them
_FAINT = 1e-4  # of the first number's variance: what varies less is not made wider


@dataclass(frozen=True)
class _Told(PerParticle):
    rows: Float[Tensor, "p z"]


@torch.no_grad()
def told_by_maps(
    density: Mixture, latents: Float[Tensor, "p z"], sound: Int[Tensor, "m"], grid: Grid, run: Run | None
) -> Float[Tensor, "p z"]:
    """Principal components of the map of each particle: one place for each look, wherever its latent was.

    Where all maps are alike, latents stay as they are. Cost: a map of each particle on ``grid``.

    Args:
        density: That shows the maps.
        latents: Of all particles.
        sound: Particles that tell how maps differ.
        grid: Of the maps; no finer than what moves is to be compared at.
        run: Told how far the work is.
    """
    some = sound[:: -(-len(sound) // _SHOWN)]
    shown = _maps(density, latents[some], grid)
    middle = shown.mean(0)
    away = shown - middle
    values, turns = torch.linalg.eigh((away @ away.mT).double() / len(some))
    values, turns = (each.flip(-1)[..., : latents.shape[1]].to(latents) for each in (values, turns))
    if values.shape != latents.shape[1:] or values[0] < 1e-8 * middle.square().sum():
        return latents
    wide = values.clamp(min=_FAINT * float(values[0]))
    onto = away.mT @ turns / (len(some) ** 0.5 * wide) * (wide / wide[0]) ** ((1 - _EVENNESS) / 2)
    told = _Told(torch.zeros_like(latents))
    for rows in blocks(torch.arange(len(latents)), _BLOCK, run, "maps"):
        put(told, rows, _Told((_maps(density, latents[rows], grid) - middle) @ onto))
    return shared(told).rows


def spread_anew(rows: Float[Tensor, "p z"], solved: Solved) -> Prior:
    """How latents told anew are spread; posteriors leave as large a share open as they did."""
    before, left = solved.mean.var(0).sum(), solved.covariance.mean(0).trace()
    covariance = torch.cov(rows.mT).view_as(solved.covariance[0]) * (1 + left / before)
    floor = _FAINT**2 * covariance.diagonal().amax() * torch.eye(len(covariance))
    return Prior(rows.mean(0), torch.linalg.inv(covariance + floor))


def _maps(density: Mixture, z: Float[Tensor, "b z"], grid: Grid) -> Float[Tensor, "b v"]:
    return torch.stack([density.volume(each, grid).voxels.flatten() for each in z])

"""Ceilings of a data set: maps by one who knows every pose, CTF and state, and lacks only the densities.

Nothing is reconstructed. Images tell of each frequency of a density ``W = Σ CTF² / noise`` over the slices
that pass there, and an estimate from them is drawn from its distribution: the truth with noise of variance
1 / W, through the Wiener filter for both, within the support of the density.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import shells_3d, to_fourier_3d, to_real_3d
from morphem.core.types import Frame, Volume
from morphem.metrics.fsc import sum_by_label
from morphem.physics.ctf import contrast_transfer
from morphem.physics.masks import mask_from_map
from morphem.physics.slices import insert_weighted
from morphem.simulate.ensembles import AbstractEnsemble
from morphem.simulate.maps import MapEnsemble
from morphem.simulate.particles import Truth, noise_amplitude
from morphem.simulate.true_maps import LANDMARKS

_BLOCK = 64  # images inserted at a time
_ENOUGH = 5_000  # images that show where the slices of all lie
_WITHIN = 5  # states that stand for those of a stretch of a continuous motion


def ceiling_maps(
    truth: Truth, states: Float[Tensor, "k q"], kind: Literal["states", "motion"], seed: int = 0
) -> Float[Tensor, "k d d d"]:
    """Maps of states, in units of the noise, as good as the images of ``truth`` allow.

    ``states``: each from the images nearest to its landmark alone, whose states are taken for one: what a
    method can reach that shares nothing between states. ``motion``: each rigid body in its own frame from all
    images that have it, the others being known exactly, then moved exactly: what no method can surpass, but
    by knowing more than the support and the power spectrum of each body.

    Args:
        truth: Of all images.
        states: To make maps of.
        kind: Of ceiling.
        seed: Of the noise.

    Raises:
        ValueError: If there is no motion of rigid bodies to pool by.
    """
    make = {"states": _by_state, "motion": _by_motion}[kind]
    return make(truth[truth.intact], states, torch.Generator().manual_seed(seed))


def information(truth: Truth, rotation: Float[Tensor, "n 3 3"]) -> Float[Tensor, "d d h"]:
    """Inverse variance of each Fourier coefficient of a map that images see at ``rotation``; 0 past Nyquist.

    Coefficients are plain sums over voxels (:func:`morphem.core.fourier.to_fourier_3d`). Of many images a
    part is inserted, and counted for all.
    """
    grid, box = truth.grid, truth.grid.box
    some = torch.linspace(0, len(truth) - 1, min(len(truth), _ENOUGH)).long()
    total = torch.zeros(box + 1, box + 1, grid.half)
    for rows in some.split(_BLOCK):
        seen = truth[rows]
        weight = (contrast_transfer(seen.optics, grid) / noise_amplitude(seen)).square()
        nothing = torch.zeros(weight.shape, dtype=torch.complex64)
        total += insert_weighted(nothing, weight, rotation[rows], grid, padding=1)[1]
    total[..., 0] += total[..., 0].flip(0, 1)  # what was inserted on the other side of x = 0
    # a slice is pixel · coefficient, its noise has variance box² per unit of the images'
    scale = (grid.pixel_size / box) ** 2 * len(truth) / max(len(some), 1)
    return total[:box, :box].roll((-(box // 2),) * 2, (0, 1)) * scale


def estimate(
    density: Volume,
    certain: Float[Tensor, "d d h"],
    support: Float[Tensor, "d d d"],
    generator: torch.Generator,
) -> Volume:
    """A draw of the Wiener estimate of a density from images that tell ``certain`` of each coefficient.

    ``(W V + sqrt(W) η) / (W + f / τ)`` times the support, with η white of variance 1, τ the power of the
    density by shell, and f the support's share of the box: no more of the noise stays within it.
    """
    box = density.grid.box
    spectrum = to_fourier_3d(density.voxels)
    noise = to_fourier_3d(torch.randn(density.voxels.shape, generator=generator)) / box**1.5
    shells = shells_3d(box).clamp(max=density.grid.half - 1)
    power = sum_by_label(spectrum.abs().square(), shells, density.grid.half)
    power = power / sum_by_label(torch.ones_like(certain), shells, density.grid.half)
    share = float(support.square().mean())
    prior = (share / power.clamp(min=1e-30)).float()[shells]
    filtered = (certain * spectrum + certain.sqrt() * noise) / (certain + prior)
    return Volume(to_real_3d(filtered) * support, density.grid)


def _by_state(
    truth: Truth, states: Float[Tensor, "k q"], generator: torch.Generator
) -> Float[Tensor, "k d d d"]:
    """Each landmark's images by themselves; their mean density is what they show."""
    landmarks, _ = truth.ensemble.landmarks(LANDMARKS)
    own, asked = (nearest_landmark(truth.ensemble, state, landmarks) for state in (truth.state, states))
    maps = {}
    for k in asked.unique().tolist():
        group = truth[own == k]
        mean = _mean_map(group) if len(group) else truth.volume(landmarks[k])
        certain = information(group, group.poses.rotation)
        maps[k] = estimate(mean, certain, _support(mean), generator).voxels
    return torch.stack([maps[k] for k in asked.tolist()])


def _by_motion(
    truth: Truth, states: Float[Tensor, "k q"], generator: torch.Generator
) -> Float[Tensor, "k d d d"]:
    """Bodies by themselves, put together as each state says."""
    seen, asked = truth.ensemble.bodies(truth.state), truth.ensemble.bodies(states)
    if seen is None or asked is None:
        raise ValueError(
            f"{truth.ensemble.name} does not move by rigid bodies; ask for the ceiling by states"
        )
    maps = torch.zeros(len(states), *[truth.grid.box] * 3)
    for body in range(seen.presence.shape[1]):
        density = truth.ensemble.body_map(body, truth.grid)
        density = replace(density, voxels=density.voxels * truth.unit)
        certain = _information_of_body(truth, seen.rotation[:, body], seen.presence[:, body])
        found = estimate(density, certain, _support(density), generator)
        for k, there in enumerate(asked.presence[:, body].tolist()):
            if there:
                maps[k] += there * _moved(found, asked.rotation[k, body], asked.offset[k, body])
    return maps


def _information_of_body(
    truth: Truth, rotation: Float[Tensor, "n 3 3"], presence: Float[Tensor, "n"]
) -> Float[Tensor, "d d h"]:
    """Of the images that have the body, in its own frame."""
    optics = replace(truth.optics, scale=truth.optics.scale * presence)
    there = presence > 0
    return information(replace(truth, optics=optics)[there], (truth.poses.rotation @ rotation)[there])


def _moved(
    density: Volume, rotation: Float[Tensor, "3 3"], offset: Float[Tensor, "3"]
) -> Float[Tensor, "d d d"]:
    """Density of a body whose points moved, by its transform at turned frequencies."""
    if torch.equal(rotation, torch.eye(3)) and not offset.any():
        return density.voxels
    body = MapEnsemble("body", density.voxels[None], density.grid.pixel_size, torch.ones(1))
    return body.map(torch.zeros(1), density.grid, Frame(rotation, offset)).voxels


def _mean_map(group: Truth) -> Volume:
    """Mean density of a group's states, of which a few stand for all where they are many."""
    states = group.state.unique(dim=0)
    if len(states) > _WITHIN:
        states = states[((torch.arange(_WITHIN) + 0.5) / _WITHIN * len(states)).long()]
    return Volume(torch.stack([group.volume(state).voxels for state in states]).mean(0), group.grid)


def _support(density: Volume) -> Float[Tensor, "d d d"]:
    """1 where a density is above a fiftieth of its maximum and a pixel around, with a soft edge of three."""
    pixel = density.grid.pixel_size
    return mask_from_map(density, 0.02 * float(density.voxels.max()), pixel, 3 * pixel)


def nearest_landmark(
    ensemble: AbstractEnsemble, state: Float[Tensor, "n q"], landmarks: Float[Tensor, "k q"]
) -> Int[Tensor, "n"]:
    """The landmark nearest to each state, every coordinate in units of its spread over the landmarks."""
    distance = torch.zeros(len(state), len(landmarks))
    for q, coordinate in enumerate(ensemble.coordinates):
        difference = state[:, q, None] - landmarks[:, q]
        if coordinate.kind == "circular":
            difference = 2 * (difference / 2).sin()
        distance += (difference / landmarks[:, q].std(correction=0).clamp(min=1e-6)).square()
    return distance.argmin(1)

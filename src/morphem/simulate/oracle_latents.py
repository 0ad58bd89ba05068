"""True states as latents, for methods that are told what they would otherwise have to find."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.simulate.ensembles import embedded
from morphem.simulate.particles import Truth

_MOST = 8  # directions of states without an order
_LEVER = 50.0  # Å by which a turn of a body by 1 rad moves it, to weigh turns against shifts


def true_latents(truth: Truth) -> Float[Tensor, "n z"]:
    """Each particle's state as numbers of unit spread in which neighbours are alike.

    A linear or binary coordinate is one number, a circular one its cosine and sine; states without an order
    are told apart by the poses and presence of their bodies, in their principal directions (8 at most).
    """
    coordinates = zip(truth.state.split(1, 1), truth.ensemble.coordinates, strict=True)
    latents = torch.cat(
        [_by_bodies(truth) if one.kind == "label" else embedded((one,), value) for value, one in coordinates],
        1,
    )
    return (latents - latents.mean(0)) / latents.std(0).clamp(min=1e-6)


def true_bodies(truth: Truth) -> Float[Tensor, "g 4"]:
    """Position (Å) of every point in the first state, and the number of its rigid body."""
    state, _ = truth.ensemble.landmarks(1)
    positions, _ = truth.ensemble.points(state[:1])
    return torch.cat([positions[0], truth.ensemble.labels[:, None].float()], 1)


def _by_bodies(truth: Truth) -> Float[Tensor, "n r"]:
    bodies = truth.ensemble.bodies(truth.state)
    if bodies is None:
        raise ValueError(f"states of {truth.ensemble.name} have no order, and no bodies to tell them by")
    features = torch.cat(
        [(bodies.rotation * _LEVER).flatten(1), bodies.offset.flatten(1), bodies.presence * _LEVER], 1
    )
    centred = features - features.mean(0)
    _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = (spread > 0.02 * spread[0])[:_MOST].sum()
    return centred @ axes[:kept].T

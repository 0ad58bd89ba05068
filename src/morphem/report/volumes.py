"""Maps of a finished run: at particles, at latents, at states, along a principal component."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import Volume
from morphem.data.mrc import read_origin, write_map
from morphem.engine.reconstruction import Reconstruction
from morphem.models.anchors import cluster
from morphem.report.options import Choice


@dataclass(frozen=True)
class Places:
    """Points of latent space that have names.

    Attributes:
        names: File name of each map, without suffix.
        latents: Where each is decoded.
        support: Number of particles nearer to it than to any other.
    """

    names: tuple[str, ...]
    latents: Float[Tensor, "k z"]
    support: Int[Tensor, "k"]


def choose(latents: Float[Tensor, "p z"], choice: Choice) -> list[Places]:
    """The places that were asked for, one entry for each kind."""
    chosen = []
    if choice.states:
        chosen.append(at_states(latents, choice.states))
    if choice.particles:
        chosen.append(at_particles(latents, list(choice.particles)))
    if choice.latents is not None:
        points = np.atleast_2d(np.load(choice.latents, allow_pickle=False)).astype(np.float32)
        chosen.append(at_latents(latents, torch.from_numpy(points)))
    if choice.component:
        chosen.append(along_component(latents, choice.component, choice.steps))
    return chosen


def at_particles(latents: Float[Tensor, "p z"], particles: list[int]) -> Places:
    """Where particles lie; they count from 0 in the order of their first image."""
    outside = [particle for particle in particles if not 0 <= particle < len(latents)]
    if outside:
        raise ValueError(f"there are particles 0 to {len(latents) - 1}, but {outside} were asked for")
    digits = len(str(len(latents) - 1))
    names = [f"particle_{particle:0{digits}d}" for particle in particles]
    return _places(names, latents[particles], latents)


def at_latents(latents: Float[Tensor, "p z"], points: Float[Tensor, "k _"]) -> Places:
    """Given points."""
    if points.shape[1] != latents.shape[1]:
        raise ValueError(f"a latent of this run has {latents.shape[1]} numbers, {points.shape[1]} were given")
    return _places(_numbered("latent", len(points)), points, latents)


def at_states(latents: Float[Tensor, "p z"], count: int, seed: int = 0) -> Places:
    """The particles nearest to the centres of ``count`` k-means clusters, the largest cluster first."""
    if not 1 <= count <= len(latents):
        raise ValueError(f"{count} states of {len(latents)} particles: ask for 1 to {len(latents)}")
    labels = cluster(latents, torch.ones(len(latents)), count, seed)
    means = torch.stack([latents[labels == state].mean(0) for state in range(int(labels.max()) + 1)])
    nearest = latents[torch.cdist(means, latents).argmin(1)]
    return _places(_numbered("state", len(nearest)), nearest, latents)


def along_component(latents: Float[Tensor, "p z"], component: int, count: int) -> Places:
    """Points through the mean along principal component 1, 2, …, from its 5 % to its 95 % quantile."""
    if not 1 <= component <= latents.shape[1]:
        raise ValueError(f"component {component}: this run's latents have components 1 to {latents.shape[1]}")
    mean = latents.mean(0)
    direction = principal_directions(latents)[0][component - 1]
    ends = torch.quantile((latents - mean) @ direction, torch.tensor([0.05, 0.95]))
    steps = torch.linspace(0, 1, count)[:, None] * (ends[1] - ends[0]) + ends[0]
    return _places(_numbered(f"component_{component}", count), mean + steps * direction, latents)


def principal_directions(latents: Float[Tensor, "p z"]) -> tuple[Float[Tensor, "z z"], Float[Tensor, "z"]]:
    """Principal components as rows, the largest number of each positive, and their shares of the variance."""
    centred = (latents - latents.mean(0)).double()
    variance, columns = torch.linalg.eigh(centred.mT @ centred)
    rows, share = columns.mT.flip(0), variance.flip(0).clamp(min=0) / variance.sum().clamp(min=1e-30)
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return (rows * largest.sign()).float(), share.float()


def write_volumes(
    found: Reconstruction,
    choice: Choice,
    folder: Path,
    like: Path | None = None,
    decode: Callable[[Float[Tensor, "z"]], Volume] | None = None,
) -> list[Path]:
    """One map for each place, the list of them, and a script that opens each kind as a series in ChimeraX.

    Args:
        found: A finished run.
        choice: Which maps.
        folder: Where to.
        like: A map whose origin to take, so that both overlay; RELION and cryoSPARC place it at zero.
        decode: The map of a latent, if not the run's own density.
    """
    decode = decode or found.volume
    origin = (0.0, 0.0, 0.0) if like is None else read_origin(like)
    folder.mkdir(parents=True, exist_ok=True)
    rows, script = [], []
    for places in choose(found.latents, choice):
        files = [f"{name}.mrc" for name in places.names]
        script.append(f"open {' '.join(files)} vseries true")
        for file, z, support in zip(files, places.latents, places.support, strict=True):
            write_map(folder / file, decode(z), origin)
            rows.append({"map": file, "latent": z.tolist(), "nearest_particles": int(support)})
    (folder / "volumes.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    (folder / "open.cxc").write_text("\n".join(script) + "\n", encoding="utf-8")
    return [folder / str(row["map"]) for row in rows]


def _places(names: list[str], points: Float[Tensor, "k z"], latents: Float[Tensor, "p z"]) -> Places:
    nearest = torch.cdist(latents, points).argmin(1)
    return Places(tuple(names), points, torch.bincount(nearest, minlength=len(points)))


def _numbered(stem: str, count: int) -> list[str]:
    digits = len(str(count))
    return [f"{stem}_{i:0{digits}d}" for i in range(1, count + 1)]

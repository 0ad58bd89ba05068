"""What any program found in a simulated set, in the terms in which it is judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.types import Poses, Volume
from morphem.data.errors import DataError
from morphem.data.mrc import read_map
from morphem.data.stack import open_stack
from morphem.engine.files import read_json
from morphem.engine.identity import fingerprint, method_name
from morphem.engine.reconstruction import Reconstruction
from morphem.models.gaussian_density import AnchoredMixture
from morphem.simulate.particles import Truth
from morphem.simulate.stack import simulated_stack

_VISIBLE = 0.1  # of the mean amplitude: fainter Gaussians have no part


@dataclass(frozen=True)
class Parts:
    """Rigid parts that a program found, as points in one particle's state.

    Attributes:
        centres: Å.
        part: Number of each point's part.
    """

    centres: Float[Tensor, "g 3"]
    part: Int[Tensor, "g"]


@dataclass(frozen=True)
class Result:
    """What a program found.

    Attributes:
        decode: Maps by row, on the grid of the set: of particles at their latents, or of ``states``.
        latents: One row per particle of the set; None if the program tells none.
        poses: As found; None if the program took those of the particle file.
        particles: Those that have a map; None if every particle can have one.
        states: True states that the maps stand for, where they stand for no particle.
        consensus: The program's own map of all particles.
        parts: Rigid parts in the state of a particle.
        facts: What is told about the program: its name, seconds, images per second.
    """

    decode: Callable[[Int[Tensor, "k"]], Float[Tensor, "k d d d"]]
    latents: Float[Tensor, "p z"] | None = None
    poses: Poses | None = None
    particles: Int[Tensor, "m"] | None = None
    states: Float[Tensor, "m q"] | None = None
    consensus: Volume | None = None
    parts: Callable[[int], Parts] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def as_result(found: Reconstruction, truth: Truth, consensus: Volume | None = None) -> Result:
    """A reconstruction of ours, on particles in the order of ``truth``."""
    mixture = found.density if isinstance(found.density, AnchoredMixture) else None
    return Result(
        decode=lambda rows: _decoded(found, rows, truth.grid.box),
        latents=found.latents.detach().cpu(),
        poses=found.poses.to("cpu"),
        consensus=consensus,
        parts=None if mixture is None else lambda row: _parts(mixture, found.latents[row]),
    )


def read_run(run: Path, data: Path, truth: Truth) -> Result:
    """A finished run of ours.

    Raises:
        DataError: If it is a run on other particles than those of the folder ``data``.
    """
    found = Reconstruction.load(run)
    known = found.provenance.get("identity", {}).get("data", {})
    _refuse_others(run, data, known, truth)
    path = run / "consensus.mrc"
    result = as_result(found, truth, read_map(path) if path.exists() else None)
    facts = {
        "method": method_name(found.provenance),
        "version": found.provenance.get("version"),
        **_pace(run),
    }
    return Result(**{**vars(result), "facts": facts})


def _refuse_others(run: Path, data: Path, known: dict[str, Any], truth: Truth) -> None:
    """Raise an error unless the run looked at the very images of the data set."""
    if known.get("images", len(truth)) != len(truth):
        met = f"{run} is a run on {known['images']} images, {data} has {len(truth)}"
        raise DataError("TRUTH-004", f"{met}; evaluate a run on the whole simulated set")
    star = data / "particles.star"
    own = fingerprint(open_stack(star) if star.exists() else simulated_stack(truth))
    differ = [
        name for name in ("box", "pixel_size", "grey_values") if known.get(name, own[name]) != own[name]
    ]
    if differ:
        met = f"{run} is a run on other particles than {data}: {', '.join(differ)} differ"
        raise DataError("TRUTH-004", f"{met}; give the data set that the run was started on (--truth)")


def _decoded(found: Reconstruction, rows: Int[Tensor, "k"], box: int) -> Float[Tensor, "k d d d"]:
    with torch.no_grad():
        maps = [found.volume(z).voxels.cpu() for z in found.latents[rows.to(found.latents.device)]]
    return torch.stack([resize_map(voxels, box) for voxels in maps])


def _parts(density: AnchoredMixture, z: Float[Tensor, "z"]) -> Parts:
    """Centres and parts of the Gaussians that are seen."""
    with torch.no_grad():
        mixture = density.mixture(z[None])
    visible = mixture.amplitudes[0] > _VISIBLE * mixture.amplitudes[0].mean()
    return Parts(mixture.centres[0][visible].cpu(), density.bodies()[visible].cpu())


def _pace(run: Path) -> dict[str, Any]:
    """Seconds from the run's beginning to the end of its last stage, images per second of each, memory."""
    if not (run / "status.json").exists():
        return {}
    log, status = run / "log.jsonl", read_json(run / "status.json")
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    told = [*map(json.loads, lines), status]
    spent = datetime.fromisoformat(status["time"]) - datetime.fromisoformat(
        read_json(run / "run.json")["begun"]
    )
    return {
        "seconds": spent.total_seconds(),
        "images_per_second": {line["stage"]: line["images_per_second"] for line in told},
        "peak_rss_mib": max(line["rss_mib"] for line in told),
    }

"""Maps of states with what the images have over and above a run's Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.engine.files import read_json, write_json
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.source import reopen
from morphem.inference.latents import Scene, weak_prior
from morphem.inference.part_maps import PartMaps, part_maps, refined_volume
from morphem.inference.store import collect
from morphem.metrics.fsc import crossing, resolution
from morphem.models.gaussian_density import AnchoredMixture
from morphem.report.scene.images import ready_images

_CONTRAST_SPREAD = 0.2  # of images, about 1: their contrast is the likeliest with that
_COARSEST = 8  # frequency pixels: maps go at least so far


def refined_decoder(
    run: Path, found: Reconstruction, particles: Path | None = None
) -> tuple[Callable[[Float[Tensor, "z"]], Volume], PartMaps]:
    """A decoder of latents that adds, in each part's frame, what a mixture leaves of the images.

    What is added is filtered, by shell and part, by how well two half sets of the images agree on it. The
    mixture itself saw all images: only what is added has halves of its own.

    Args:
        run: The run's folder.
        found: What is in it.
        particles: Where the particle file is, if it has moved.

    Raises:
        ValueError: If the run knows no rigid parts.
        DataError: If its images are not at hand.
    """
    density = found.density
    if not isinstance(density, AnchoredMixture) or not density.anchors:
        raise ValueError(f"{run} has no rigid parts in whose frames images could be added up; see cryospire")
    if not (run / "fsc.json").is_file():
        raise DataError(
            "PATH-007", f"{run} has no fsc.json, which tells the noise of its images; run it again"
        )
    half_maps = read_json(run / "fsc.json")
    stack = ready_images(run, reopen(run, particles), found.grid)
    if found.defocus is not None:
        stack = replace(stack, optics=stack.optics.with_defoci(found.defocus))
    known = int(crossing(torch.tensor(half_maps["fsc_corrected"]), 0.143))
    limit = min(max(known, _COARSEST), found.grid.box // 2 - 1)
    store = collect(stack, limit, torch.tensor(half_maps["noise"]))
    prior = weak_prior(found.latents.shape[1], 1.0)
    scene = Scene(store, found.poses, stack.particle, limit, _CONTRAST_SPREAD, prior)
    maps = part_maps(density, found.latents, scene, stack.halves())
    return lambda z: refined_volume(density, maps.left, z), maps


def write_agreement(maps: PartMaps, found: Reconstruction, folder: Path) -> None:
    """Write ``refined.json``: for each rigid frame, how far the halves of what was added in it agree."""
    frequency = found.grid.shell_frequencies().tolist()
    rows = []
    for number, curve in enumerate(maps.fsc, 1):
        best = resolution(curve, found.grid, 0.143)
        rows.append(
            {"frame": number, "resolution": best if best < float("inf") else None, "fsc": curve.tolist()}
        )
    write_json(folder / "refined.json", {"frequency": frequency[: maps.fsc.shape[1]], "frames": rows})

"""A finished run of ours as something to show."""

from __future__ import annotations

import itertools
import shlex
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.metadata import read_metadata
from morphem.data.mrc import read_map
from morphem.data.record import Metadata
from morphem.data.stack import ParticleStack
from morphem.engine.files import read_json
from morphem.engine.identity import method_name
from morphem.engine.reconstruction import Reconstruction
from morphem.engine.source import reopen
from morphem.models.gaussian_density import AnchoredMixture
from morphem.report.scene.columns import (
    file_columns,
    first_images,
    optics_columns,
    pose_columns,
    set_columns,
    spread_column,
)
from morphem.report.scene.images import ready_images
from morphem.report.scene.parts import labels_at, part_columns
from morphem.report.scene.shown import Column, FixedMap, Shown

_CITED = {
    "cryospire": "CryoSPIRE, arXiv:2506.09063 (2025)",
    "cryofire": (
        "Levy, Wetzstein, Martel, Poitevin, Zhong: Amortized inference for heterogeneous reconstruction in "
        "cryo-EM. NeurIPS 2022, arXiv:2210.07387"
    ),
}
_ALWAYS_CITED = (
    "Rosenthal, Henderson: Optimal determination of particle orientation, absolute hand, and contrast loss "
    "in single-particle electron cryomicroscopy. J. Mol. Biol. 333, 721–745 (2003): the threshold 0.143",
    "Chen et al.: High-resolution noise substitution to measure overfitting and validate resolution in 3D "
    "structure determination by single particle electron cryomicroscopy. Ultramicroscopy 135, 24–35 (2013)",
)
_MAPS_ON_THE_WAY = ("consensus", "half1", "half2")


def shown_run(run: Path, particles: Path | None = None) -> Shown:
    """What is known of a run, or of a folder that ``morphem infer`` wrote; also of one that has not finished.

    Args:
        run: Its folder.
        particles: The particle file, where it has moved or the run does not tell.

    Raises:
        DataError: If the folder holds no run, or if ``particles`` are not those of the run.
    """
    run = Path(run)
    if not (run / "run.json").is_file():
        raise DataError("RUN-001", f"{run} holds no run; give the folder that `morphem reconstruct` wrote")
    if not (run / "summary.json").is_file():
        return _unfinished(run, read_json(run / "run.json"))
    found = Reconstruction.load(run)
    stack, why = _particles(run, particles)
    ready = None if stack is None else ready_images(run, stack, found.grid)
    return shown_of(run, found, ready, why)


def shown_of(run: Path, found: Reconstruction, stack: ParticleStack | None, why: str = "") -> Shown:
    """What is known of a run whose result is loaded.

    Args:
        run: Its folder.
        found: The result.
        stack: Its particles, made ready; None where the images are not at hand.
        why: They are not.
    """
    density, latents = found.density, found.latents.detach().cpu().float()
    density.to("cpu").eval()
    provenance = found.provenance or read_json(run / "run.json")
    metadata = _metadata(run, stack)
    parts = _optional(run / "parts.json").get("parts", [])
    columns = _columns(run, found, stack, metadata)
    label: Callable[[Float[Tensor, "z"], Grid], Int[Tensor, "d d d"]] | None = None
    if isinstance(density, AnchoredMixture) and density.anchors and parts:
        followed, parts = part_columns(density, latents, parts)
        columns += followed
        label = _labelled(density)
    fsc = _optional(run / "fsc.json")
    record = {
        "history": found.history,
        "parts": parts,
        "fsc": fsc,
        "provenance": provenance,
        "abinitio": _optional(run / "abinitio.json") or None,
        "check": _optional(run / "check" / "report.json") or None,
        "latents_variance": _posterior_variance(run),
        "images": why,
        "citations": cited(provenance),
    }
    return Shown(
        title=run.resolve().name,
        subtitle=subtitle_of(provenance),
        latents=latents,
        grid=found.grid,
        decode=lambda z: _on_cpu(found.volume(z)),
        label=label,
        columns=columns,
        stack=stack,
        poses=found.poses.to("cpu"),
        summary=_summary(run, found, fsc, stack),
        commands=commands_of(run, provenance, latents.shape[1]),
        record=record,
        sample=lambda z, grid: _on_cpu(density.volume(z, grid)),
    )


def subtitle_of(provenance: dict[str, Any]) -> str:
    """Method and preset in words, as far as they are told."""
    identity = provenance.get("identity", {})
    if str(identity.get("method", "")).startswith("morphem.report.infer"):
        return f"inference by the run {Path(identity['config']['run']).name}"
    preset = _word_after("--preset", provenance.get("command", []))
    return method_name(provenance) + (f", preset {preset}" if preset else "")


def commands_of(run: Path, provenance: dict[str, Any], width: int) -> tuple[tuple[str, str], ...]:
    """How to make the run again, and how to go on from it."""
    folder = shlex.quote(str(run.absolute()))
    words = [str(word) for word in provenance.get("command", [])]
    again = [("make this run again", shlex.join(["morphem", *words[1:]]))] if _is_ours(words) else []
    heterogeneous = (
        ("write maps of ten states", f"morphem volumes {folder} --states 10"),
        ("write a series along component 1", f"morphem volumes {folder} --component 1"),
        ("keep the particles of state 1", f"morphem select {folder} --state 1 -o state_1"),
        ("write them for RELION", f"morphem export {folder} --to star --select state_1"),
    )
    return (
        *again,
        ("look at it live: any latent, subsets, particle images", f"morphem view {folder}"),
        *(heterogeneous if width else ()),
        ("write this page again", f"morphem report {folder}"),
    )


def cited(provenance: dict[str, Any]) -> list[str]:
    """Papers behind a method and the numbers on the page."""
    own = _CITED.get(method_name(provenance))
    return [*([own] if own else []), *_ALWAYS_CITED]


def _particles(run: Path, path: Path | None) -> tuple[ParticleStack | None, str]:
    """A run's particles as recorded, or why they are not at hand; a file that was named must do."""
    with warnings.catch_warnings():
        # what the file leaves open was told when the run began
        warnings.simplefilter("ignore", MetadataWarning)
        try:
            return reopen(run, path), ""
        except (DataError, OSError) as error:
            if path is not None:
                raise
            return None, str(error)


def _metadata(run: Path, stack: ParticleStack | None) -> Metadata | None:
    """What is known of each image: of the particles, or of the particle file among the results."""
    if stack is not None:
        return stack.metadata
    path = next((path for path in (run / "particles.star", run / "particles.cs") if path.is_file()), None)
    if path is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        try:
            return read_metadata(path)
        except DataError:  # a passthrough file or the like that is not at hand either
            return None


def _columns(
    run: Path, found: Reconstruction, stack: ParticleStack | None, metadata: Metadata | None
) -> tuple[Column, ...]:
    """How each particle was seen, by its first image, and what its file says."""
    particle = _belonging(stack, metadata, len(found.poses))
    if int(particle.max()) + 1 != len(found.latents):
        return ()
    rows = first_images(particle)
    columns: list[Column] = []
    if (run / "latents_std.npy").is_file():
        columns.append(spread_column(np.load(run / "latents_std.npy", allow_pickle=False)))
    columns += pose_columns(found.poses.to("cpu")[rows])
    optics = stack.optics if stack is not None else metadata.optics if metadata is not None else None
    if optics is not None and len(optics) == len(particle):
        columns += optics_columns(optics[rows])
    contrast = _contrast(run, len(particle))
    if contrast is not None:
        columns.append(Column("contrast", "contrast", contrast[rows].numpy()))
    if metadata is not None and len(metadata) == len(particle):
        columns += [*set_columns(metadata, rows.numpy()), *file_columns(metadata, rows.numpy())]
    return tuple(columns)


def _belonging(stack: ParticleStack | None, metadata: Metadata | None, images: int) -> Int[Tensor, "n"]:
    """Whose image each is; its own particle's where nothing is known."""
    if stack is not None:
        return stack.particle
    if metadata is not None and len(metadata) == images:
        return torch.from_numpy(metadata.particle)
    return torch.arange(images)


def _contrast(run: Path, images: int) -> Float[Tensor, "n"] | None:
    """Contrast of each image, of the last stage that knows it."""
    for path in sorted((run / "stages").rglob("result.safetensors"), key=lambda path: -path.stat().st_mtime):
        with safe_open(path, "pt") as file:
            if "contrast" in set(file.keys()):
                contrast = file.get_tensor("contrast").float()
                return contrast.clone() if contrast.shape == (images,) else None
    return None


def _posterior_variance(run: Path) -> list[float] | None:
    path = run / "latents_std.npy"
    if not path.is_file():
        return None
    return (np.load(path, allow_pickle=False).astype(np.float64) ** 2).mean(0).tolist()


def _labelled(density: AnchoredMixture) -> Callable[[Float[Tensor, "z"], Grid], Int[Tensor, "d d d"]]:
    def label(z: Float[Tensor, "z"], grid: Grid) -> Int[Tensor, "d d d"]:
        return labels_at(density, z, grid)

    return label


def _summary(
    run: Path, found: Reconstruction, fsc: dict[str, Any], stack: ParticleStack | None
) -> tuple[tuple[str, str], ...]:
    grid, provenance = found.grid, found.provenance
    images = len(found.poses)
    rows = [("particles", f"{len(found.latents):,}")]
    rows += [("images", f"{images:,}")] if images != len(found.latents) else []
    rows += [
        ("maps", f"{grid.box} voxels of {grid.pixel_size:g} Å, {grid.extent:.0f} Å a side"),
        ("latent", f"{found.latents.shape[1]} numbers" if found.latents.shape[1] else "none: one map"),
    ]
    if fsc.get("resolution"):
        rows.append(("half maps", f"{fsc['resolution']:.1f} Å (FSC 0.143)"))
    seed = provenance.get("identity", {}).get("config", {}).get("seed")
    known = {
        "poses": provenance.get("identity", {}).get("poses", "given"),
        "images at hand": "no" if stack is None else "yes",
        "seed": "" if seed is None else str(seed),
        "begun": _in_words(str(provenance.get("begun", ""))),
        "took": _duration(run, str(provenance.get("begun", ""))),
        "morphem": str(provenance.get("version", "")),
        "machine": str(provenance.get("host", "")),
    }
    return (*rows, *((name, value) for name, value in known.items() if value))


def _in_words(begun: str) -> str:
    """A time as ISO 8601 has it, to the minute."""
    return f"{datetime.fromisoformat(begun).astimezone(UTC):%Y-%m-%d %H:%M} UTC" if begun else ""


def _duration(run: Path, begun: str) -> str:
    """From the beginning of a run to its last sign of life."""
    told = _optional(run / "status.json").get("time")
    if not told or not begun:
        return ""
    seconds = (datetime.fromisoformat(told) - datetime.fromisoformat(begun)).total_seconds()
    hours, rest = divmod(int(max(0, seconds)), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _unfinished(run: Path, provenance: dict[str, Any]) -> Shown:
    """Maps that a run has written on its way."""
    status = _optional(run / "status.json")
    stage = f"stage {status['stage']}" if status.get("stage") else "it has just begun"
    volumes = [(name, run / f"{name}.mrc") for name in _MAPS_ON_THE_WAY]
    fixed = tuple(FixedMap(name, read_map(path)) for name, path in volumes if path.is_file())
    data = provenance.get("identity", {}).get("data", {})
    record = {
        "provenance": provenance,
        "fsc": _optional(run / "fsc.json"),
        "unfinished": stage,
        "images": "they are read again when the run has finished",
        "citations": cited(provenance),
    }
    again = commands_of(run, provenance, 0)
    return Shown(
        title=run.resolve().name,
        subtitle=f"{subtitle_of(provenance)}, not finished",
        latents=torch.zeros(0, 0),
        grid=fixed[0].volume.grid if fixed else None,
        fixed=fixed,
        summary=(
            ("images", f"{data.get('images', 0):,}"),
            ("begun", _in_words(str(provenance.get("begun", "")))),
        ),
        commands=(("how far it is", f"morphem status {shlex.quote(str(run.absolute()))}"), *again),
        record=record,
    )


def _is_ours(command: list[str]) -> bool:
    return len(command) > 2 and Path(command[0]).name in ("morphem", "__main__.py")


def _word_after(name: str, words: list[str]) -> str:
    given = [after for word, after in itertools.pairwise([*words, ""]) if word == name]
    given += [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return given[-1] if given else ""


def _optional(path: Path) -> dict[str, Any]:
    """A JSON file; empty where there is none."""
    return read_json(path) if path.is_file() else {}


def _on_cpu(volume: Volume) -> Volume:
    return replace(volume, voxels=volume.voxels.detach().cpu().float())

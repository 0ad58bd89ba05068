"""What a live page can ask of a result: maps, subsets, pictures of particles, selections and exports."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.data.stack import ParticleStack
from morphem.engine.source import reopen
from morphem.models.density import AbstractDensity, load_density
from morphem.report.scene.build import Scene
from morphem.report.scene.columns import first_images
from morphem.report.scene.frame import Frame, encode
from morphem.report.scene.images import ReadyImages
from morphem.report.scene.shown import Shown
from morphem.report.subset import rows_of_particles, subset_map
from morphem.report.viewer.decoding import Decoder, decoder_of
from morphem.report.viewer.errors import ConflictError
from morphem.report.viewer.keeping import Download, exported, keep_selection
from morphem.report.viewer.montage import montage
from morphem.report.viewer.packets import packet, reference
from morphem.report.viewer.recent import Recent

_KEPT = 256 << 20  # bytes of answers that are kept


@dataclass(frozen=True)
class Opened:
    """A result on show.

    Attributes:
        shown: The result.
        scene: What the page shows of it first.
        run: Folder of a finished run of ours; None for results of others.
        particles: The particle file, where the user said.
    """

    shown: Shown
    scene: Scene
    run: Path | None = None
    particles: Path | None = None
    frame: Frame | None = field(init=False)

    def __post_init__(self) -> None:
        record: dict[str, Any] = self.scene.record["maps"] or {}
        parts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        object.__setattr__(self, "frame", Frame(**parts) if parts else None)


class Live:
    """Answers to a page, one map and one look at images at a time.

    Bodies of requests are taken as they came: all that is wrong with them is a ``ValueError``, and what this
    result cannot answer a :class:`ConflictError`.
    """

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self._recent = Recent(_KEPT)
        self._decoding, self._looking = threading.Lock(), threading.Lock()

    def warm(self) -> None:
        """Decode one map, so that the first that is asked for does not wait for what all need once."""
        latents = self.opened.shown.latents
        if self._decoder is not None and len(latents):
            self.map({"latent": latents.mean(0).tolist()})

    def map(self, asked: object) -> bytes:
        """Packet of the map of ``{"latent": […]}``."""
        z = self._latent(asked)
        key = b"map" + z.numpy().tobytes()
        known = self._recent.get(key)
        if known is not None:
            return known
        with self._decoding:
            decode, frame = self._decoder, self.opened.frame
            if decode is None or frame is None:
                met = "maps of this result cannot be computed here: its program wrote them"
                raise ConflictError("VIEW-003", f"{met}; choose one of them")
            arrays = decode(z)
        return self._recent.keep(key, packet({"map": _scene_map(arrays)}, arrays))

    def subset(self, particles: Int[np.ndarray, "k"]) -> bytes:
        """Packet of the mean map of all images of some particles."""
        chosen = self._particles(particles)
        key = b"subset" + chosen.numpy().tobytes()
        known = self._recent.get(key)
        if known is not None:
            return known
        stack, frame = self._images(), self.opened.frame
        poses = self.opened.shown.poses
        if poses is None or frame is None:
            raise ConflictError(
                "VIEW-003", "no poses or no maps are known of this result, so no mean map can be made"
            )
        if abs(stack.grid.extent - frame.grid.extent) > 1e-3 * frame.grid.extent:
            sizes = f"images span {stack.grid.extent:g} Å, maps {frame.grid.extent:g} Å"
            raise ConflictError("VIEW-003", f"{sizes}: a mean map of images would not overlay the others")
        with self._looking:
            found = subset_map(stack, poses, rows_of_particles(stack, chosen), box=frame.box)
        arrays = {"map": encode(found.volume, frame)}
        told = {"used": found.used, "asked": found.asked, "resolution": found.resolution}
        return self._recent.keep(key, packet({"map": _scene_map(arrays), **told}, arrays))

    def montage(self, particles: Int[np.ndarray, "k"]) -> bytes:
        """Packet of pictures of some particles."""
        chosen = self._particles(particles)
        ready = self._images()
        with self._looking:
            found = montage(self._recorded, ready, chosen, self._first_images, self._model)
        arrays = {"raw": found.raw, "filtered": found.filtered}
        if found.model is not None:
            arrays["model"] = found.model
        references = {name: _reference(arrays.get(name), name) for name in ("raw", "filtered", "model")}
        header = {"rows": found.particles.tolist(), "box": found.raw.shape[-1], **references}
        return packet(header, arrays)

    def select(self, record: object) -> dict[str, Any]:
        """Keep a selection with the run."""
        if not isinstance(record, dict):
            raise ValueError("a selection is a JSON object, as web/src/scene.ts declares it")
        return keep_selection(self._own_run("kept"), record)

    def export(self, asked: object) -> Download:
        """The file of ``{"select": name, "to": "star" | "cs"}``."""
        wanted = asked if isinstance(asked, dict) else {}
        name, to = wanted.get("select"), wanted.get("to")
        if not isinstance(name, str) or not isinstance(to, str):
            raise ValueError('an export is asked for as {"select": name, "to": "star" or "cs"}')
        return exported(self._own_run("exported"), name, to, self.opened.particles)

    def _latent(self, asked: object) -> Float[Tensor, "z"]:
        width = self.opened.shown.latents.shape[1]
        given = asked.get("latent") if isinstance(asked, dict) else None
        if not isinstance(given, list) or len(given) != width or not all(map(_is_number, given)):
            raise ValueError(f'a map is asked for as {{"latent": [{width} numbers]}}')
        z = torch.tensor([float(value) for value in given], dtype=torch.float32)
        if not z.isfinite().all():
            raise ValueError("the latent holds values that are no finite numbers")
        return z

    def _particles(self, particles: Int[np.ndarray, "k"]) -> Int[Tensor, "k"]:
        count = len(self.opened.shown.latents)
        chosen = np.unique(particles.astype(np.int64))
        if not len(chosen) or chosen[0] < 0 or chosen[-1] >= count:
            raise ValueError(f"particles are asked for by their numbers, at least one, 0 to {count - 1}")
        return torch.from_numpy(chosen)

    def _images(self) -> ParticleStack:
        stack = self.opened.shown.stack
        if stack is None:
            met = "the particle images of this result are not at hand"
            raise ConflictError(
                "VIEW-003", f"{met}; tell where their file is: morphem view … --particles FILE"
            )
        return stack

    def _own_run(self, done: str) -> Path:
        if self.opened.run is None:
            met = f"selections can be {done} for finished runs of Morphem only"
            raise ConflictError("VIEW-003", f"{met}; save this one to a file")
        return self.opened.run

    @cached_property
    def _density(self) -> AbstractDensity | None:
        run = self.opened.run
        path = None if run is None else run / "density.safetensors"
        return None if path is None or not path.is_file() else load_density(path).eval()

    @cached_property
    def _decoder(self) -> Decoder | None:
        frame = self.opened.frame
        return None if frame is None else decoder_of(self.opened.shown, self._density, frame)

    @cached_property
    def _model(self) -> tuple[AbstractDensity, Float[Tensor, "p z"], Any] | None:
        shown = self.opened.shown
        if self._density is None or shown.poses is None:
            return None
        return self._density, shown.latents, shown.poses

    @cached_property
    def _recorded(self) -> ParticleStack:
        """Images as they are on disk; as the run saw them, where only those are left."""
        stack = self._images()
        if isinstance(stack.images, ReadyImages):
            return stack.images.stack
        if self.opened.run is None:
            return stack
        recorded = reopen(self.opened.run, self.opened.particles)
        return recorded if len(recorded) == len(stack) else stack

    @cached_property
    def _first_images(self) -> Int[Tensor, "p"]:
        return first_images(self._images().particle)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scene_map(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"voxels": _reference(arrays["map"], "map"), "labels": _reference(arrays.get("labels"), "labels")}


def _reference(array: np.ndarray | None, name: str) -> dict[str, Any] | None:
    return None if array is None else reference(name, array)

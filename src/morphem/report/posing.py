"""Where a run's poses come from: the particle file, another run or file, or the images themselves."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from morphem.core.rotations import geodesic_distance
from morphem.core.types import Poses
from morphem.data.errors import DataError
from morphem.data.metadata import Metadata, read_metadata
from morphem.data.stack import ParticleStack
from morphem.engine.files import read_tensors, write_json
from morphem.engine.identity import settings
from morphem.engine.ranks import is_main
from morphem.engine.run import Run
from morphem.inference.modes import ModeConfig
from morphem.inference.passes import remembered
from morphem.inference.posing import PoseConfig, Posed, Search, find_poses
from morphem.inference.several_maps import SeveralConfig
from morphem.inference.shapes import ShapeRule, poses_and_modes

GIVEN = "given"
WORDS = (GIVEN, *get_args(Search))
_SEARCHES: dict[str, Search] = {word: word for word in get_args(Search)}


@dataclass(frozen=True)
class PoseSource:
    """Where poses come from.

    Attributes:
        identity: Changes with the source, and with any pose that was taken from elsewhere.
        taken: Poses of another run or file, row by row those of the particles.
    """

    identity: str
    taken: Poses | None = None

    @property
    def needs_given(self) -> bool:
        """Whether the particle file must have poses."""
        return self.identity in (GIVEN, "refine")


def pose_source(how: str, stack: ParticleStack) -> PoseSource:
    """What ``given``, ``refine``, ``abinit`` or the path of a run's folder or particle file stands for."""
    if how in WORDS:
        return PoseSource(how)
    taken = _taken(Path(how), stack)
    digest = hashlib.blake2b(digest_size=6)
    for tensor in vars(taken).values():
        digest.update(tensor.numpy().tobytes())
    return PoseSource(f"taken ({digest.hexdigest()})", taken)


def keep_taken(source: PoseSource, run: Run) -> None:
    """Keep poses of another run or file in this one."""
    taken = source.taken
    if taken is not None:
        remembered(_stage(run), {"source": source.identity}, lambda: dict(vars(taken)))


def posed(stack: ParticleStack, how: str, seed: int, run: Run) -> ParticleStack:
    """The particles with the poses that were asked for, found once per run."""
    if how == GIVEN:
        return stack
    if how in _SEARCHES:
        identity = {"search": how, "seed": seed, "config": settings(_rule(seed))}
        kept = remembered(_stage(run), identity, _finder(stack, _SEARCHES[how], seed, run))
    else:
        kept, _ = _stage(run).load_result()
    poses = Poses(kept["rotation"], kept["shift"])
    return replace(stack, poses=poses, has_poses=True, poses_found=True)


def _stage(run: Run) -> Run:
    return run.stage("poses")


def _finder(stack: ParticleStack, how: Search, seed: int, run: Run) -> Callable[[], dict[str, Tensor]]:
    def found() -> dict[str, Tensor]:
        result = _searched(stack, how, seed, _stage(run))
        if is_main():
            write_json(run.root / "poses.json", _facts(result, stack))
        return dict(vars(result.poses))

    return found


def _searched(stack: ParticleStack, how: Search, seed: int, run: Run) -> Posed:
    """Poses in one map; where there were none, then those found together with the particles' shapes."""
    rule = _rule(seed)
    result = find_poses(stack, how, rule.poses, seed, run)
    if how == "refine":
        return result
    refined, poses, _ = poses_and_modes(result.refined, stack.halves(seed), rule, run)
    return replace(result, refined=replace(refined, fit=replace(refined.fit, poses=poses)))


def _rule(seed: int) -> ShapeRule:
    return ShapeRule(PoseConfig(), ModeConfig(), SeveralConfig(), seed)


def _facts(found: Posed, stack: ParticleStack) -> dict[str, Any]:
    """What is known of the poses' soundness."""
    facts: dict[str, Any] = {"rounds": found.refined.log, "fsc": found.refined.halves.fsc.tolist()}
    if found.start is not None:
        degrees = [math.degrees(angle) for angle in found.start.agreement]
        facts["starts"] = {"log_likelihood": found.start.scores, "degrees_from_the_best": degrees}
        facts["hand"] = "not determined: images of a molecule and of its mirror image are the same"
        return facts
    turned = geodesic_distance(found.poses.rotation, stack.poses.rotation)
    moved = (found.poses.shift - stack.poses.shift).norm(dim=1)
    facts["median_change"] = {"degrees": math.degrees(turned.median()), "angstrom": float(moved.median())}
    return facts


def _taken(path: Path, stack: ParticleStack) -> Poses:
    """Poses of a finished run or a particle file, in the order of the particles."""
    if path.is_dir():
        poses, metadata = _of_run(path)
    elif path.exists():
        metadata = read_metadata(path)
        if not metadata.has_poses:
            raise DataError("POSE-002", f"{path} has no poses, or they are all zero; name another file")
        poses = metadata.poses
    else:
        near = difflib.get_close_matches(str(path), WORDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it is {', '.join(WORDS)}, or a path that exists"
        raise DataError("POSE-010", f"poses from {path}: no such word, file or folder; {hint}")
    if len(poses) != len(stack):
        met = f"{path} has poses of {len(poses)} images, there are {len(stack)}"
        raise DataError("COUNT-001", f"{met}; are they of the same set?")
    if metadata is None or stack.metadata is None:
        return poses
    return poses[_matched(metadata, stack.metadata, path)]


def _of_run(folder: Path) -> tuple[Poses, Metadata | None]:
    if not (folder / "run.json").exists():
        raise DataError("POSE-010", f"poses from {folder}: not a run's folder; name a run or a particle file")
    if not (folder / "summary.json").exists():
        message = f"poses from {folder}: a run that has not finished"
        raise DataError("RUN-001", f"{message}; `morphem status {folder}` tells how far it is")
    tensors, _ = read_tensors(folder / "poses.safetensors")
    tables = sorted(folder.glob("particles.*"))
    return Poses(tensors["rotation"], tensors["shift"]), read_metadata(tables[0]) if tables else None


def _matched(there: Metadata, here: Metadata, path: Path) -> Int[Tensor, "n"]:
    """Row of ``there`` that is the image of each row of ``here``."""
    names, wanted = _names(there), _names(here)
    if np.array_equal(names, wanted):
        return torch.arange(len(here))
    rows = {name: row for row, name in enumerate(names)}
    strange = [name for name in wanted if name not in rows]
    if strange or len(rows) < len(names):
        met = f"{path} has no pose of {strange[0]}" if strange else f"{path} names images twice"
        raise DataError("POSE-012", f"{met} ({len(strange)} of {len(here)}); are they of the same set?")
    return torch.tensor([rows[name] for name in wanted])


def _names(metadata: Metadata) -> list[str]:
    """``3@stack.mrcs`` for every image, folders left out: programs write them differently."""
    files = [Path(name).name for name in metadata.files]
    places = zip(metadata.image_index.tolist(), metadata.file_index.tolist(), strict=True)
    return [f"{image + 1}@{files[file]}" for image, file in places]

"""From what a user states to an ensemble: a recipe by name, a structure with a motion, or maps."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from morphem.data.atoms import Atoms, read_atoms, read_models
from morphem.data.errors import DataError
from morphem.simulate.ensembles import AbstractEnsemble, Bodies, PointEnsemble
from morphem.simulate.molecules import (
    States,
    composition,
    frames,
    from_maps,
    read_trajectory,
    refuse_clashes,
    rigid,
    table,
    torsion,
)
from morphem.simulate.options import RECIPES, Motion, Scattering
from morphem.simulate.recipes import make

_MAPS = (".mrc", ".map", ".ccp4")


def build(
    sources: Sequence[str],
    motion: Motion = Motion(),
    scattering: Scattering = Scattering(),
    structures: Path | None = None,
) -> AbstractEnsemble:
    """The ensemble that is asked for.

    Args:
        sources: A recipe's name, a structure file, or map files.
        motion: Of a structure.
        scattering: Of its atoms.
        structures: Folder of structure files that recipes need.
    """
    first = Path(sources[0])
    if len(sources) == 1 and sources[0] in RECIPES:
        return make(sources[0], structures)
    if all(Path(source).suffix in _MAPS for source in sources):
        return from_maps(list(sources), name=first.stem)
    if len(sources) > 1:
        raise DataError(
            "ATOMS-003", f"{' '.join(sources)}: one recipe, one structure, or maps (.mrc) are needed"
        )
    if not first.suffix:
        raise DataError(
            "PATH-001", f"{first} is no recipe ({', '.join(RECIPES)}) and no structure or map file"
        )
    return _of_structure(first, motion, scattering)


def _of_structure(path: Path, motion: Motion, scattering: Scattering) -> AbstractEnsemble:
    if motion.trajectory is not None:
        return frames(*read_trajectory(motion.trajectory, path), scattering, path.stem)
    if not (motion.torsion or motion.table or motion.blocks) and len(read_models(path)) > 1:
        return frames(*read_trajectory(path), scattering, path.stem)
    atoms = read_atoms(path)
    atoms = atoms.subset(atoms.select(motion.select)) if motion.select else atoms
    if motion.torsion:
        return _turning(atoms, motion, scattering)
    if motion.table is not None:
        return _tabled(atoms, motion.table, scattering)
    if motion.blocks is not None:
        return _composed(atoms, motion.blocks, scattering)
    return rigid(atoms, scattering, path.stem)


def _turning(atoms: Atoms, motion: Motion, scattering: Scattering) -> PointEnsemble:
    words = motion.torsion.split(":")
    if len(words) != 4 or not words[1].lstrip("-").isdigit():
        raise DataError(
            "ATOMS-002", f"torsion {motion.torsion!r} is no bond; write chain:residue:atom:atom, H:235:CA:C"
        )
    chain, residue, first, second = words[0], int(words[1]), words[2], words[3]
    bond = atoms.one(chain, residue, first), atoms.one(chain, residue, second)
    low, high = np.deg2rad(motion.angles).tolist()
    steps = torch.arange(motion.steps) / max(motion.steps, 1) * (high - low) + low
    angles = steps if motion.steps else (low, high)
    return torsion(atoms, bond, atoms.select(motion.moving), angles, scattering, atoms.path.stem)


def _tabled(atoms: Atoms, path: Path, scattering: Scattering) -> PointEnsemble:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError("ATOMS-008", f"{path} is not a NumPy archive without pickles: {error}") from error
    missing = [name for name in ("rotation", "offset", "body") if name not in arrays]
    if missing:
        raise DataError("ATOMS-008", f"{path} has no {', '.join(missing)}; it holds {', '.join(arrays)}")
    states, bodies = arrays["rotation"].shape[:2]
    body = arrays["body"].astype(np.int64)
    if len(body) != len(atoms) or body.min() < 0 or body.max() >= bodies:
        met = f"{path}: body has {len(body)} entries from {body.min()} to {body.max()}"
        raise DataError("ATOMS-008", f"{met}; {len(atoms)} atoms ride on {bodies} bodies, counted from 0")
    _refuse_distortion(arrays["rotation"], path)
    poses = Bodies(
        torch.from_numpy(arrays["rotation"]).float(),
        torch.from_numpy(arrays["offset"]).float(),
        torch.from_numpy(arrays.get("presence", np.ones((states, bodies)))).float(),
    )
    refuse_clashes(atoms, torch.from_numpy(atoms.positions).float(), torch.from_numpy(body), poses)
    shares = torch.from_numpy(arrays["shares"]).float() if "shares" in arrays else None
    return table(atoms, body, poses, scattering, States(shares), path.stem)


def _refuse_distortion(rotation: np.ndarray, path: Path) -> None:
    """Rotations must be such."""
    product = rotation @ np.swapaxes(rotation, -1, -2)
    wrong = (np.abs(product - np.eye(3)).max((-2, -1)) > 1e-3) | (np.linalg.det(rotation) < 0)
    if wrong.any():
        state, body = np.argwhere(wrong)[0]
        raise DataError(
            "ATOMS-008", f"{path}: rotation of state {state}, body {body} is not a rotation matrix"
        )


def _composed(atoms: Atoms, path: Path, scattering: Scattering) -> PointEnsemble:
    try:
        asked = json.loads(path.read_text(encoding="utf-8"))
        blocks, missing = asked["blocks"], asked["missing"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError("ATOMS-008", f"{path} is not JSON with blocks and missing: {error}") from error
    return composition(
        atoms, blocks, [list(state) for state in missing], asked.get("counts"), scattering, path.stem
    )

"""Ensembles of a user's own molecules: a structure with a motion, a trajectory, or a series of maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.data.atoms import Atoms, read_models
from morphem.data.errors import DataError
from morphem.data.mrc import read_map
from morphem.simulate.atoms import AtomicMatter, electron_matter, gaussian_atoms
from morphem.simulate.ensembles import Bodies, Coordinate, PointEnsemble, moved
from morphem.simulate.maps import MapEnsemble
from morphem.simulate.motions import FramesMotion, TableMotion, Turning, turned
from morphem.simulate.options import Scattering

_JOINT = 10.0  # Å around a bond that turns: side chains there give way
_CLASH = 2.0  # Å between heavy atoms; only bonds are shorter, and those are there at rest


@dataclass(frozen=True)
class States:
    """What is known of discrete states beside where their bodies are.

    Attributes:
        shares: How often each is met; equally by default.
        keys: The coordinate of each; its number by default.
        coordinate: What the key means.
    """

    shares: Float[Tensor, "k"] | None = None
    keys: Float[Tensor, "k"] | None = None
    coordinate: Coordinate = Coordinate("state", "label")


def rigid(atoms: Atoms, scattering: Scattering = Scattering(), name: str = "rigid") -> PointEnsemble:
    """A molecule in one state."""
    one = Bodies(torch.eye(3)[None, None], torch.zeros(1, 1, 3), torch.ones(1, 1))
    return table(atoms, np.zeros(len(atoms), np.int64), one, scattering, name=name)


def torsion(
    atoms: Atoms,
    bond: tuple[int, int],
    moving: Bool[np.ndarray, "g"],
    angles: Float[Tensor, "k"] | tuple[float, float],
    scattering: Scattering = Scattering(),
    name: str = "torsion",
) -> PointEnsemble:
    """Atoms turn about a bond, by discrete angles or by any of a range.

    Args:
        atoms: At angle 0.
        bond: Its two atoms, by row; the turn is right-handed about the line from the first to the second.
        moving: Which atoms turn.
        angles: rad; equally frequent, or the two ends of a range that is met uniformly.
        scattering: Of the atoms.
        name: How to call the ensemble.

    Raises:
        DataError: If more atoms of the two bodies than at angle 0 come closer than 2 Å in any state.
    """
    centre = atoms.positions.mean(0)
    first, second = (atoms.positions[row] - centre for row in bond)
    axis = torch.from_numpy((second - first) / np.linalg.norm(second - first)).float()
    pivot, centres = torch.from_numpy(first).float(), torch.from_numpy(atoms.positions - centre).float()
    labels, matter = torch.from_numpy(moving.astype(np.int64)), _matter(atoms, scattering)
    if isinstance(angles, tuple):
        full = math.isclose(angles[1] - angles[0], 2 * math.pi)
        kind = Coordinate("angle (rad)", "circular" if full else "linear")
        motion = Turning(centres, labels, pivot, axis, *angles, coordinates=(kind,))
        tried = torch.linspace(*angles, 37)
    else:
        step = float(angles.diff().mean()) if len(angles) > 1 else 0.0
        full = math.isclose(step * len(angles), 2 * math.pi, rel_tol=1e-3)
        kind = Coordinate("angle (rad)", "circular" if full else "linear")
        poses = turned(pivot, axis, angles.float())
        motion = TableMotion(centres, labels, angles.float(), _equal(len(angles)), poses, (kind,))
        tried = angles.float()
    free = (centres - pivot).norm(dim=1) > _JOINT
    refuse_clashes(atoms, centres, torch.where(free, labels, -1), turned(pivot, axis, tried))
    return PointEnsemble(name, matter, motion)


def table(
    atoms: Atoms,
    labels: Int[np.ndarray, "g"],
    poses: Bodies,
    scattering: Scattering = Scattering(),
    states: States = States(),
    name: str = "table",
) -> PointEnsemble:
    """Rigid bodies in a table of poses, ``r = rotation @ r_file + offset`` in the frame of the file.

    Args:
        atoms: As they lie in the file.
        labels: Body, 0 … m − 1, of each atom.
        poses: Of each body in each state.
        scattering: Of the atoms.
        states: How often each is met, and how to call it.
        name: How to call the ensemble.
    """
    count = len(poses)
    share = _equal(count) if states.shares is None else states.shares / states.shares.sum()
    key = torch.arange(count).float() if states.keys is None else states.keys.float()
    centre = torch.from_numpy(atoms.positions.mean(0)).float()
    offset = poses.offset + torch.einsum("kmij,j->kmi", poses.rotation, centre) - centre
    centres = torch.from_numpy(atoms.positions).float() - centre
    placed = replace(poses, offset=offset)
    motion = TableMotion(centres, torch.from_numpy(labels), key, share, placed, (states.coordinate,))
    return PointEnsemble(name, _matter(atoms, scattering), motion)


def composition(
    atoms: Atoms,
    blocks: Mapping[str, str],
    missing: Sequence[Sequence[str]],
    counts: Sequence[float] | None = None,
    scattering: Scattering = Scattering(),
    name: str = "composition",
) -> PointEnsemble:
    """States that lack blocks of residues.

    Args:
        atoms: Of the complete molecule.
        blocks: A selection of atoms (``BA:1270-1646,BX``) by name; an atom belongs to the first that has it.
        missing: Names of the blocks that each state lacks.
        counts: How often each state is met; equally by default.
        scattering: Of the atoms.
        name: How to call the ensemble.
    """
    labels, names = np.zeros(len(atoms), np.int64), list(blocks)
    for k, block in reversed(list(enumerate(names, 1))):
        labels[atoms.select(blocks[block])] = k
    presence = torch.ones(len(missing), len(names) + 1)
    for state, absent in enumerate(missing):
        unknown = sorted(set(absent) - set(names))
        if unknown:
            met = f"state {state} lacks {', '.join(unknown)}, which no block is called"
            raise DataError("ATOMS-005", f"{met}; the blocks are {', '.join(names)}")
        presence[state, [names.index(block) + 1 for block in absent]] = 0
    if counts is not None and len(counts) != len(missing):
        raise DataError("ATOMS-005", f"{len(counts)} counts were given for {len(missing)} states")
    eye = torch.eye(3).repeat(*presence.shape, 1, 1)
    poses = Bodies(eye, torch.zeros(*presence.shape, 3), presence)
    shares = None if counts is None else torch.tensor(counts, dtype=torch.float32)
    return table(atoms, labels, poses, scattering, States(shares), name)


def frames(
    atoms: Atoms,
    positions: Float[np.ndarray, "k g 3"],
    scattering: Scattering = Scattering(),
    name: str = "trajectory",
) -> PointEnsemble:
    """Frames of a trajectory, equally frequent, centred on the atoms' mean position over all frames."""
    if positions.shape[1] != len(atoms):
        met = f"frames of {positions.shape[1]} atoms do not belong to {atoms.path} with {len(atoms)}"
        raise DataError("ATOMS-006", f"{met}; give the structure that the trajectory was made with")
    centred = torch.from_numpy(positions - positions.mean((0, 1))).float()
    motion = FramesMotion(centred, torch.full((len(atoms),), -1), _equal(len(centred)))
    return PointEnsemble(name, _matter(atoms, scattering), motion)


def read_trajectory(
    path: Path | str, structure: Path | str | None = None
) -> tuple[Atoms, Float[np.ndarray, "k g 3"]]:
    """Atoms and the positions (Å) of every frame: models of a PDB or mmCIF file, or what mdtraj reads.

    Args:
        path: ``.pdb``/``.cif`` with several models, or ``.xtc``, ``.dcd``, ``.trr``, … with ``structure``.
        structure: PDB file with the same atoms in the same order.
    """
    if structure is None:
        models = read_models(path)
        sizes = sorted({len(model) for model in models})
        if len(sizes) > 1:
            raise DataError("ATOMS-006", f"{path}: models of {sizes} atoms; all must have the same ones")
        return models[0], np.stack([model.positions for model in models])
    import mdtraj

    for file in (path, structure):
        if not Path(file).exists():
            raise DataError("PATH-001", f"{file} does not exist")
    read = mdtraj.load(str(path), top=str(structure))
    heavy = read.topology.select("not water and not element H")
    atoms = [read.topology.atom(row) for row in heavy]
    held = Atoms(
        path=Path(structure),
        positions=np.asarray(read.xyz[0, heavy], np.float64) * 10,  # nm
        element=np.array([atom.element.number for atom in atoms]),
        occupancy=np.ones(len(atoms)),
        chain=np.array([str(atom.residue.chain.index) for atom in atoms]),
        residue=np.array([atom.residue.resSeq for atom in atoms]),
        name=np.array([atom.name for atom in atoms]),
    )
    return held, np.asarray(read.xyz[:, heavy], np.float64) * 10


def from_maps(
    paths: Sequence[Path | str],
    shares: Sequence[float] | None = None,
    kind: Literal["linear", "label"] = "label",
    name: str = "maps",
) -> MapEnsemble:
    """States that are map files of one box and pixel size, in the order given."""
    volumes = [read_map(path) for path in paths]
    grids = {volume.grid for volume in volumes}
    if len(grids) != 1:
        met = ", ".join(
            f"{path}: {v.grid.box} px of {v.grid.pixel_size:g} Å"
            for path, v in zip(paths, volumes, strict=True)
        )
        raise DataError("BOX-001", f"maps of one box and pixel size are needed, met {met}")
    if shares is not None and len(shares) != len(paths):
        raise DataError("ATOMS-005", f"{len(shares)} shares were given for {len(paths)} maps")
    share = _equal(len(paths)) if shares is None else torch.tensor(shares).float() / sum(shares)
    pixel_size = volumes[0].grid.pixel_size
    return MapEnsemble(name, torch.stack([v.voxels for v in volumes]), pixel_size, share, kind)


def refuse_clashes(
    atoms: Atoms, centres: Float[Tensor, "g 3"], labels: Int[Tensor, "g"], poses: Bodies
) -> None:
    """Raise an error if bodies overlap in a state more than bonds between them do at rest."""
    rest = replace(poses, rotation=torch.eye(3).expand_as(poses.rotation), offset=0 * poses.offset)
    bonded = _contacts(*moved(centres, labels, rest[:1]), labels)
    for state in range(len(poses)):
        met = _contacts(*moved(centres, labels, poses[state : state + 1]), labels)
        if met > bonded:
            raise DataError(
                "ATOMS-007",
                f"{atoms.path}: in state {state} rigid bodies clash: {met} pairs of atoms are less than "
                f"{_CLASH:g} Å apart, {bonded} in the file; choose other states or other moving atoms",
            )


def _contacts(
    positions: Float[Tensor, "1 g 3"], presence: Float[Tensor, "1 g"], labels: Int[Tensor, "g"]
) -> int:
    """Pairs of atoms of different bodies that are too close; label −1 is not looked at."""
    from scipy.spatial import KDTree

    there = [(labels == body) & (presence[0] > 0) for body in labels.unique() if body >= 0]
    trees = [KDTree(positions[0][own].numpy()) for own in there if own.any()]
    pairs = [(tree, other) for k, tree in enumerate(trees) for other in trees[k + 1 :]]
    return sum(int(tree.count_neighbors(other, _CLASH)) for tree, other in pairs)


def _matter(atoms: Atoms, scattering: Scattering) -> AtomicMatter:
    """The atoms as scatterers."""
    if scattering.factors == "electron":
        return electron_matter(atoms, scattering.b_factor)
    blur = math.sqrt(scattering.b_factor / (8 * math.pi**2))
    return gaussian_atoms(atoms, math.hypot(scattering.sigma, blur))


def _equal(count: int) -> Float[Tensor, "k"]:
    return torch.full((count,), 1 / count)

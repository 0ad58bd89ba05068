"""Named benchmark sets, so that everybody means the same particles."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from morphem.data.atoms import Atoms, read_atoms
from morphem.data.errors import DataError
from morphem.simulate.ensembles import AbstractEnsemble, Bodies, Coordinate
from morphem.simulate.hinge import hinge
from morphem.simulate.molecules import States, composition, table, torsion
from morphem.simulate.motions import turned

_IGG = ("1hzh.pdb", "1hzh.cif")
_RIBOSOME = ("4v5a_70S_copyA.npz", "4v5a.cif", "4v5a.cif.gz")
_FIRST_COPY = "A*,B*"  # of the two 70S in the crystal; small subunit and tRNAs are A*, large subunit B*

# Blocks of the large subunit (E. coli numbering) that assemble late, and the states that lack them.
_BLOCKS = {
    "A": "BA:1270-1646,BX",
    "B": "BA:2093-2198,BC",
    "C": "BB,BG,BS,BZ,B0,B4,BA:2251-2336",
    "D": "BA:1827-1985,BT",
    "E": "BA:2420-2610,BQ,B6,B8",
    "F": "BA:1030-1125",
    "G": "BI,B1",
    "H": "BD,BA:1647-1826",
}
_ASSEMBLY = {
    "ABCDEFGH": 9076, "BCDEFGH": 14378, "BCDEFG": 23547, "BCDEF": 44366,
    "BDEFGH": 30647, "BDEF": 38500, "BCEF": 3915, "BEF": 3980,
    "BCDE": 12740, "BDE": 11975, "CDE": 17988, "DE": 5001,
    "BE": 35367, "E": 37448, "B": 40540, "": 5772,
}  # fmt: skip


def igg_1d(structures: Path | None) -> AbstractEnsemble:
    """IgG1 b12 whose Fab turns about the CA–C bond of heavy-chain residue 235: 100 states on a circle."""
    atoms = _structure(structures, _IGG)
    moving = atoms.select("L,H:1-234") | _beyond_the_bond(atoms, "H", 235)
    bond = atoms.one("H", 235, "CA"), atoms.one("H", 235, "C")
    angles = torch.arange(100) * (2 * math.pi / 100)
    return torsion(atoms, bond, moving, angles, name="igg-1d")


def igg_rl(structures: Path | None) -> AbstractEnsemble:
    """IgG1 b12 whose Fab moves freely on sampled linkers: 100 states without an order."""
    atoms = _structure(structures, ("igg1d_recipe.npz",))
    poses = _arrays(structures, "igg_rl_recipe.npz", ("R", "t", "fab", "link", "link_xyz"))
    labels = np.where(poses["fab"], 1, 0)
    count = len(poses["R"])
    rotation = torch.eye(3).repeat(count, 2, 1, 1)
    rotation[:, 1] = torch.from_numpy(poses["R"]).float()
    offset = torch.zeros(count, 2, 3)
    offset[:, 1] = torch.from_numpy(poses["t"]).float()
    kept = ~poses["link"]  # the linker is another one in each state; 47 of 10,576 atoms
    bodies = Bodies(rotation, offset, torch.ones(count, 2))
    return table(atoms.subset(kept), labels[kept], bodies, name="igg-rl")


def ribosembly(structures: Path | None) -> AbstractEnsemble:
    """A large ribosomal subunit in 16 states of assembly, as often as in CryoBench's set of that name."""
    ribosome = _structure(structures, _RIBOSOME)
    large = ribosome.subset(ribosome.select("B*"))
    missing, counts = [list(state) for state in _ASSEMBLY], list(_ASSEMBLY.values())
    return composition(large, _BLOCKS, missing, counts, name="ribosembly")


def ratchet(structures: Path | None, states: int = 3, shares: tuple[float, ...] = ()) -> AbstractEnsemble:
    """A ribosome whose small subunit turns by 0 to 10° about the axis through both subunits.

    Args:
        structures: Folder of the ribosome's file.
        states: How many, equally spaced.
        shares: Of each state; equal by default.
    """
    from scipy.spatial import KDTree

    ribosome = _structure(structures, _RIBOSOME)
    ribosome = ribosome.subset(ribosome.select(_FIRST_COPY))
    small = ribosome.select("A*")
    ours, theirs = ribosome.positions[small], ribosome.positions[~small]
    near, _ = KDTree(theirs).query(ours, distance_upper_bound=8.0)
    pivot = ours[np.isfinite(near)].mean(0)
    axis = ours.mean(0) - theirs.mean(0)
    angles = torch.linspace(0, math.radians(10), states)
    turn = turned(
        torch.from_numpy(pivot).float(), torch.from_numpy(axis / np.linalg.norm(axis)).float(), angles
    )
    share = torch.tensor(shares) if shares else None
    named = States(share, angles, Coordinate("angle (rad)", "linear"))
    return table(ribosome, small.astype(np.int64), turn, states=named, name="ratchet")


_MAKERS: dict[str, Callable[[Path | None], AbstractEnsemble]] = {
    "hinge": lambda structures: hinge(),
    "igg-1d": igg_1d,
    "igg-rl": igg_rl,
    "ribosembly": ribosembly,
    "ratchet": ratchet,
}


def make(recipe: str, structures: Path | None = None) -> AbstractEnsemble:
    """The molecule of a named benchmark set.

    Args:
        recipe: A name of ``morphem.simulate.options.RECIPES``.
        structures: Folder of structure files, for recipes that need one.
    """
    return _MAKERS[recipe](structures)


def _structure(folder: Path | None, names: tuple[str, ...]) -> Atoms:
    """The first of several files that is there."""
    if folder is None:
        raise DataError("PATH-001", f"this recipe needs {' or '.join(names)}; say where it is (--structures)")
    for name in names:
        if (folder / name).exists():
            return read_atoms(folder / name)
    raise DataError(
        "PATH-001", f"{folder} has no {' and no '.join(names)}; wwPDB and the docs tell where to get it"
    )


def _arrays(folder: Path | None, name: str, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of a recipe's own file."""
    if folder is None or not (folder / name).exists():
        raise DataError("PATH-001", f"this recipe needs {name}; say in which folder it is (--structures)")
    with np.load(folder / name, allow_pickle=False) as held:
        missing = [key for key in wanted if key not in held.files]
        if missing:
            raise DataError("ATOMS-003", f"{folder / name} has no {', '.join(missing)}")
        return {key: held[key] for key in wanted}


def _beyond_the_bond(atoms: Atoms, chain: str, residue: int) -> np.ndarray:
    """Atoms of a residue that turn with what precedes it about its CA–C bond."""
    return (atoms.chain == chain) & (atoms.residue == residue) & ~np.isin(atoms.name, ["CA", "C", "O"])

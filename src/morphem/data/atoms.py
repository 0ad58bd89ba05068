"""Atoms of a molecule, from PDB, mmCIF or NumPy files, and selections of them."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from morphem.data.errors import DataError

_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
_PART = re.compile(r"(?P<chain>[^:,\s]+)(:(?P<first>-?\d+)(-(?P<last>-?\d+))?)?")


@dataclass(frozen=True)
class Atoms:
    """Atoms of one model.

    Attributes:
        path: The file they came from.
        positions: Å, ``(x, y, z)``.
        element: Atomic numbers.
        occupancy: 0 to 1.
        chain: Name of each atom's chain.
        residue: Sequence number.
        name: Name within its residue, such as ``CA``.
    """

    path: Path
    positions: Float[np.ndarray, "g 3"]
    element: Int[np.ndarray, "g"]
    occupancy: Float[np.ndarray, "g"]
    chain: np.ndarray
    residue: Int[np.ndarray, "g"]
    name: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def select(self, text: str) -> Bool[np.ndarray, "g"]:
        """Atoms of ``L,H:1-234,B*``: chains, with a range of residues if one is given, in any number.

        Raises:
            DataError: For a chain that is not there, or a range without atoms.
        """
        chosen = np.zeros(len(self), bool)
        for part in text.replace(",", " ").split():
            chosen |= self._part(part)
        if not chosen.any():
            raise DataError("ATOMS-002", f"{self.path}: the selection {text!r} is empty")
        return chosen

    def one(self, chain: str, residue: int, name: str) -> int:
        """Which atom this is."""
        found = (self.chain == chain) & (self.residue == residue) & (self.name == name)
        if found.sum() != 1:
            where = f"atom {name} of residue {residue} in chain {chain}"
            raise DataError(
                "ATOMS-002", f"{self.path}: {found.sum()} atoms are {where}; exactly one is needed"
            )
        return int(found.argmax())

    def subset(self, chosen: Bool[np.ndarray, "g"]) -> Atoms:
        """Only these atoms."""
        kept = {key: value[chosen] for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        return Atoms(path=self.path, **kept)

    def _part(self, part: str) -> Bool[np.ndarray, "g"]:
        found = _PART.fullmatch(part)
        if found is None:
            raise DataError("ATOMS-002", f"selection {part!r} is none; write chains as H, ranges as H:1-234")
        chains = [chain for chain in np.unique(self.chain) if fnmatchcase(chain, found["chain"])]
        if not chains:
            known = " ".join(np.unique(self.chain))
            raise DataError("ATOMS-002", f"{self.path} has no chain {found['chain']}; its chains are {known}")
        chosen = np.isin(self.chain, chains)
        if found["first"]:
            first = int(found["first"])
            last = int(found["last"] or first)
            chosen &= (self.residue >= first) & (self.residue <= last)
        if not chosen.any():
            raise DataError("ATOMS-002", f"{self.path}: no atom is in {part}")
        return chosen


def read_atoms(path: Path | str) -> Atoms:
    """Atoms of the first model of a ``.pdb`` or ``.cif`` file (gzipped or not), or of a ``.npz``.

    Water and all but the first of alternative conformations are left out. A ``.npz`` holds ``xyz`` (Å) and
    ``Z``, and ``chain``, ``resnum``, ``atom`` where selections are to be made.
    """
    return read_models(path)[0]


def read_models(path: Path | str) -> list[Atoms]:
    """Every model of a structure file, in order; a ``.npz`` holds one."""
    path = Path(path)
    if not path.exists():
        raise DataError("PATH-001", f"{path} does not exist; a structure file (.pdb, .cif, .npz) is needed")
    if path.suffix == ".npz":
        models = [_from_numpy(path)]
    elif any(suffix in _SUFFIXES for suffix in path.suffixes):
        models = _from_gemmi(path)
    else:
        raise DataError(
            "ATOMS-003", f"{path}: {path.suffix or 'no suffix'} is no structure; use .pdb, .cif, .npz"
        )
    if not models or not len(models[0]):
        raise DataError("ATOMS-001", f"{path} holds no atoms; is it a map, or only a header?")
    return models


def _from_gemmi(path: Path) -> list[Atoms]:
    import gemmi

    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(
            "ATOMS-003", f"{path} is not a structure file that gemmi can read: {error}"
        ) from error
    structure.remove_alternative_conformations()
    structure.remove_waters()
    return [_of_model(path, model) for model in structure]


def _of_model(path: Path, model: object) -> Atoms:
    rows = [
        (atom.pos.tolist(), atom.element.atomic_number, atom.occ, chain.name, residue.seqid.num, atom.name)
        for chain in model  # pyright: ignore[reportGeneralTypeIssues]
        for residue in chain
        for atom in residue
    ]
    columns = list(zip(*rows, strict=True)) or [[]] * 6
    return _atoms(path, *columns)


def _from_numpy(path: Path) -> Atoms:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError("ATOMS-003", f"{path} is not a NumPy archive without pickles: {error}") from error
    missing = [name for name in ("xyz", "Z") if name not in held]
    if missing:
        raise DataError("ATOMS-003", f"{path} has no {' and no '.join(missing)}; it holds {', '.join(held)}")
    count = len(held["xyz"])
    return _atoms(
        path,
        held["xyz"],
        held["Z"],
        held.get("occupancy", np.ones(count)),
        held.get("chain", np.full(count, "A")),
        held.get("resnum", np.arange(count)),
        held.get("atom", np.full(count, "")),
    )


def _atoms(path: Path, *columns: object) -> Atoms:
    positions, element, occupancy, chain, residue, name = columns
    return Atoms(
        path=path,
        positions=np.asarray(positions, np.float64).reshape(-1, 3),
        element=np.asarray(element, np.int64),
        occupancy=np.asarray(occupancy, np.float64),
        chain=np.asarray(chain, np.str_),
        residue=np.asarray(residue, np.int64),
        name=np.asarray(name, np.str_),
    )

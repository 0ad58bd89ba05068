"""Structures are read alike from every format, and what is wrong with one is named."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from morphem.data.atoms import read_atoms, read_models
from morphem.data.errors import DataError

PDB = """\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00  0.00           N
ATOM      2  CA AALA A   1      11.639   6.071  -5.147  0.60  0.00           C
ATOM      3  CA BALA A   1      12.639   6.071  -5.147  0.40  0.00           C
ATOM      4  CA  GLY B   7       1.000   2.000   3.000  0.50  0.00           C
HETATM    5 ZN    ZN B   8       4.000   5.000   6.000  1.00  0.00          ZN
HETATM    6  O   HOH W   1       9.000   9.000   9.000  1.00  0.00           O
END
"""


@pytest.fixture
def pdb(tmp_path: Path) -> Path:
    path = tmp_path / "small.pdb"
    path.write_text(PDB)
    return path


def test_a_pdb_file_gives_atoms_without_water_and_second_conformations(pdb: Path):
    atoms = read_atoms(pdb)
    assert atoms.element.tolist() == [7, 6, 6, 30]
    assert atoms.chain.tolist() == ["A", "A", "B", "B"]
    assert atoms.residue.tolist() == [1, 1, 7, 8]
    assert atoms.name.tolist() == ["N", "CA", "CA", "ZN"]
    assert atoms.occupancy.tolist() == pytest.approx([1.0, 0.6, 0.5, 1.0])
    assert atoms.positions[2].tolist() == [1.0, 2.0, 3.0]


def test_mmcif_and_numpy_say_the_same(pdb: Path, tmp_path: Path):
    atoms = read_atoms(pdb)
    structure = gemmi.read_structure(str(pdb))
    structure.setup_entities()
    structure.make_mmcif_document().write_file(str(tmp_path / "small.cif"))
    held = {"xyz": atoms.positions, "Z": atoms.element, "occupancy": atoms.occupancy}
    np.savez(tmp_path / "small.npz", **held, chain=atoms.chain, resnum=atoms.residue, atom=atoms.name)
    for name in ("small.cif", "small.npz"):
        other = read_atoms(tmp_path / name)
        assert np.array_equal(other.element, atoms.element)
        assert np.array_equal(other.name, atoms.name)
        np.testing.assert_allclose(other.positions, atoms.positions, atol=1e-3)


def test_every_model_of_a_file_is_read(tmp_path: Path):
    body = PDB.replace("END\n", "")
    path = tmp_path / "two.pdb"
    path.write_text(f"MODEL 1\n{body}ENDMDL\nMODEL 2\n{body.replace('11.104', '21.104')}ENDMDL\nEND\n")
    first, second = read_models(path)
    assert second.positions[0, 0] - first.positions[0, 0] == pytest.approx(10)


@pytest.mark.parametrize(
    ("text", "rows"),
    [("A", [0, 1]), ("B:8", [3]), ("A,B:7-7", [0, 1, 2]), ("A B", [0, 1, 2, 3]), ("?:1-7", [0, 1, 2])],
)
def test_a_selection_names_chains_and_ranges(pdb: Path, text: str, rows: list[int]):
    assert np.flatnonzero(read_atoms(pdb).select(text)).tolist() == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Q", "no chain Q; its chains are A B"),
        ("A:5-9", "no atom is in A:5-9"),
        ("A::", "is none"),
        ("", "empty"),
    ],
)
def test_a_selection_of_nothing_is_refused_and_says_what_there_is(pdb: Path, text: str, said: str):
    with pytest.raises(DataError, match=said):
        read_atoms(pdb).select(text)


def test_one_atom_must_be_one(pdb: Path):
    atoms = read_atoms(pdb)
    assert atoms.one("B", 7, "CA") == 2
    with pytest.raises(DataError, match="0 atoms are atom CB of residue 1 in chain A"):
        atoms.one("A", 1, "CB")


def test_files_that_are_no_structures_are_refused(tmp_path: Path):
    (tmp_path / "empty.pdb").write_text("HEADER    NOTHING\nEND\n")
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "map.mrc").write_bytes(b"")
    for name, said in (
        ("empty.pdb", "E-ATOMS-001"),
        ("text.npz", "E-ATOMS-003"),
        ("other.npz", "has no xyz and no Z; it holds a"),
        ("map.mrc", "map.mrc: .mrc is no structure"),
        ("absent.pdb", "does not exist"),
    ):
        with pytest.raises(DataError, match=said):
            read_atoms(tmp_path / name)

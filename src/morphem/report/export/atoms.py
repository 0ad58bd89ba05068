"""A Gaussian mixture as mmCIF: Gaussians are pseudo-atoms, parts chains, states models."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import gemmi
import torch
from jaxtyping import Float
from torch import Tensor

from morphem import __version__
from morphem.data.atomic import atomic_path
from morphem.report.export.mixtures import Beads

_LETTERS = ascii_uppercase + ascii_lowercase
_SITE = {
    "group_PDB": "HETATM",
    "id": "",
    "type_symbol": "C",  # of no meaning; programs want one
    "label_atom_id": "C",
    "label_alt_id": ".",
    "label_comp_id": "UNL",  # an unknown ligand: no program looks for its bonds
    "label_asym_id": "",
    "label_entity_id": "1",
    "label_seq_id": ".",
    "auth_seq_id": "",
    "auth_asym_id": "",
    "Cartn_x": "",
    "Cartn_y": "",
    "Cartn_z": "",
    "occupancy": "",
    "B_iso_or_equiv": "",
    "pdbx_PDB_model_num": "",
}


def write_cif(beads: Beads, name: str, corner: Float[Tensor, "3"], out: Path) -> Path:
    """Write Gaussians as pseudo-atoms, whole or not at all.

    Occupancy is the amplitude in that state, of the brightest of all; the B factor is how far the Gaussian
    travels along the first principal component, from its 5 % to its 95 % quantile, in Å (not Å²). Standard
    deviations (Å), parts and travel also stand in a table of their own, ``_morphem_gaussian``.

    Args:
        beads: The Gaussians.
        name: Of the data block.
        corner: Where the molecule's origin lies in the maps' coordinates, Å.
        out: Where to.
    """
    document = gemmi.cif.Document()
    block = document.add_new_block("".join(c if c.isalnum() or c in "_-" else "_" for c in name))
    block.set_pair("_entry.id", gemmi.cif.quote(name))
    block.set_pair("_software.name", "morphem")
    block.set_pair("_software.version", gemmi.cif.quote(__version__))
    parts = beads.part.tolist()
    chains = {part: chain_name(part) for part in sorted(set(parts))}
    block.set_pair("_entity.id", "1")
    block.set_pair("_entity.type", "non-polymer")
    asym = block.init_loop("_struct_asym.", ["id", "entity_id"])
    for chain in chains.values():
        asym.add_row([chain, "1"])
    _write_gaussians(block, beads)
    labels = [chains[part] for part in parts]
    sites: dict[str, list[str]] = {column: [] for column in _SITE}
    for model in range(len(beads.centres)):
        for column, values in _sites(beads, model, labels, corner).items():
            sites[column] += values
    block.init_loop("_atom_site.", list(sites)).set_all_values(list(sites.values()))
    with atomic_path(out) as temporary:
        document.write_file(str(temporary))
    return out


def chain_name(part: int) -> str:
    """``A`` for part 1, ``B`` for part 2, …, then two letters."""
    if part <= len(_LETTERS):
        return _LETTERS[part - 1]
    names = ["".join(pair) for pair in product(_LETTERS, repeat=2)]
    return names[(part - 1 - len(_LETTERS)) % len(names)]


def _write_gaussians(block: gemmi.cif.Block, beads: Beads) -> None:
    columns = ["id", "part", "standard_deviation", "travel"]
    block.init_loop("_morphem_gaussian.", columns).set_all_values(
        [
            [str(i) for i in range(1, len(beads.part) + 1)],
            [str(part) for part in beads.part.tolist()],
            _words(beads.scales, 4),
            _words(beads.travel, 3),
        ]
    )


def _sites(beads: Beads, model: int, labels: list[str], corner: Float[Tensor, "3"]) -> dict[str, list[str]]:
    """Columns of one state's atoms."""
    count = len(labels)
    x, y, z = (beads.centres[model] + corner).T
    own = [str(i) for i in range(1, count + 1)]
    columns = {column: [value] * count for column, value in _SITE.items()}
    columns |= {
        "id": [str(model * count + i) for i in range(1, count + 1)],
        "label_asym_id": labels,
        "auth_asym_id": labels,
        "auth_seq_id": own,
        "Cartn_x": _words(x, 3),
        "Cartn_y": _words(y, 3),
        "Cartn_z": _words(z, 3),
        "occupancy": _words(beads.amplitudes[model], 4),
        "B_iso_or_equiv": _words(beads.travel, 3),
        "pdbx_PDB_model_num": [str(model + 1)] * count,
    }
    return columns


def _words(values: Float[Tensor, "g"], digits: int) -> list[str]:
    return [f"{value:.{digits}f}" for value in torch.nan_to_num(values).tolist()]

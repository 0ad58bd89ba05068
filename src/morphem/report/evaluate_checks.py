"""What results of another program must agree with before they are held against a truth."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.metadata import Metadata
from morphem.data.mrc import read_header
from morphem.engine.files import read_json, write_json
from morphem.simulate.datasets import identity
from morphem.simulate.ensembles import Coordinate
from morphem.simulate.particles import Truth
from morphem.simulate.true_maps import LANDMARKS


def note_dataset(table: Path, truth: Truth) -> None:
    """Write beside a table, as ``NAME.json``, which set its particles are of."""
    write_json(table.with_suffix(".json"), {"dataset": identity(truth)})


def refuse_another_dataset(table: Path, truth: Truth) -> None:
    """Raise an error if the note beside a table tells of another set than the truth's."""
    note = table.with_suffix(".json")
    if note.exists() and read_json(note).get("dataset") not in (None, identity(truth)):
        met = f"{table} was planned for another simulated set ({note.name} tells)"
        raise DataError("TRUTH-004", f"{met}; give that one (--truth), or plan anew and make the maps again")


def refuse_other_extents(files: Sequence[Path], grid: Grid) -> None:
    """Raise an error for a map over another extent than the set's; warn of those that do not say."""
    silent = []
    for path in dict.fromkeys(files):
        header = read_header(path)
        box, pixel_size = header.shape[-1], header.cell[0]
        if pixel_size == 0 or (pixel_size == 1 and box == grid.box):  # written by who was not told
            silent += [path] if grid.pixel_size != 1 else []
        elif not math.isclose(box * pixel_size, grid.extent, rel_tol=0.005):
            met = f"{path} spans {box} × {pixel_size:g} = {box * pixel_size:g} Å, the set {grid.extent:g} Å"
            raise DataError("BOX-001", f"{met}; crop or pad the map to the extent of the set's images")
    if silent:
        met = f"{len(silent)} of {len(files)} maps ({silent[0].name} …) have a header of 1 Å a pixel or none"
        told = f"{met}; taken as spanning the set's {grid.extent:g} Å"
        warnings.warn(told, MetadataWarning, stacklevel=2)


def refuse_unknown_states(table: Path, states: Float[Tensor, "m q"], truth: Truth) -> None:
    """Raise an error for a state that no particle of the population can be in."""
    landmarks, _ = truth.ensemble.landmarks(LANDMARKS)
    met = torch.cat([landmarks, truth.state])
    for column, coordinate in enumerate(truth.ensemble.coordinates):
        own = met[:, column].unique()
        given = states[:, column]
        away = given[_beyond(given, own, coordinate, len(own) <= len(landmarks))]
        if len(away):
            known = ", ".join(f"{value:.4g}" for value in own[:4].tolist())
            known = f"{known}, …, {float(own[-1]):.4g}" if len(own) > 4 else known
            said = f"{table} names {coordinate.name} {float(away[0]):g}, the set has {known}"
            raise DataError("MAPS-002", f"{said}; write states as truth/dataset.json does, angles in rad")


def refuse_other_latents(
    table: Path, particles: Int[Tensor, "m"], latents: Float[Tensor, "p z"] | None
) -> None:
    """Raise an error if maps were planned at other latents than those that lie beside them."""
    planned = table.with_suffix(".npy")
    if latents is None or not planned.exists():
        return
    at = np.load(planned, allow_pickle=False)
    if at.shape != (len(particles), latents.shape[1]) or not np.allclose(
        at, latents[particles].numpy(), rtol=1e-4, atol=1e-6
    ):
        met = f"{planned.name} holds other latents of the particles in {table.name} than {table.parent} has"
        raise DataError("MAPS-003", f"{met}; were the maps made of another epoch? Plan and make them again")


def refuse_other_images(path: Path, found: Metadata, own: Metadata) -> None:
    """Raise an error if a particle file does not list the images of the set, in its order."""
    differ = np.flatnonzero(found.image_index != own.image_index)
    if len(differ):
        row = int(differ[0])
        met = f"{path}: row {row} is image {found.image_index[row] + 1}, that of the set's particle file "
        fix = "sort the rows as there; poses of another order would be taken for errors"
        raise DataError("MAPS-003", f"{met}is image {own.image_index[row] + 1}; {fix}")


def _beyond(
    given: Float[Tensor, "m"], own: Float[Tensor, "k"], coordinate: Coordinate, discrete: bool
) -> Tensor:
    """Which values are not among the known ones, or outside of their range by a twentieth of it."""
    if coordinate.kind == "circular":
        turns = given.abs() > 2 * math.pi + 1e-3
    else:
        slack = (own[-1] - own[0]) / 20 + 1e-6
        turns = (given < own[0] - slack) | (given > own[-1] + slack)
    if not discrete:
        return turns
    away = given[:, None] - own
    if coordinate.kind == "circular":
        away = torch.remainder(away + math.pi, 2 * math.pi) - math.pi
    step = float(own.diff().min()) if len(own) > 1 else 1.0
    return turns | (away.abs().amin(1) > step / 10)

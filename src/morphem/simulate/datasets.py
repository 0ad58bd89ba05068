"""Simulated particle sets on disk, with their truth beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.rotations import to_euler
from morphem.core.types import Poses, Volume
from morphem.data.atomic import atomic_path
from morphem.data.mrc import write_map, write_stack
from morphem.physics.masks import mask_from_map
from morphem.simulate.ensembles import AbstractEnsemble
from morphem.simulate.files import load_ensemble, save_ensemble
from morphem.simulate.particles import (
    Conditions,
    Truth,
    known_truth,
    photograph,
    reported_optics,
    reported_poses,
)

LANDMARKS = 13  # states along the motion of which maps are written
_BLOCK = 256  # images made at a time


def write_dataset(
    folder: Path | str,
    ensemble: AbstractEnsemble,
    n: int,
    grid: Grid,
    seed: int = 0,
    conditions: Conditions = Conditions(),
) -> Path:
    """Write ``particles.mrcs``, ``truth/`` and, last, ``particles.star``, whose path is returned.

    ``truth/dataset.json`` holds every parameter; from it alone :func:`read_truth` makes the truth again.
    Beside it lie exact maps of states across the population, in units of the noise, and a mask around them
    all. The star file is RELION 3.1's, with the truth of each row in ``_morphemTrue…`` columns.
    """
    folder = Path(folder)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    truth = known_truth(ensemble, torch.arange(n), grid, seed, conditions)
    write_stack(folder / "particles.mrcs", _images(truth), grid)
    _write_truth(folder / "truth", truth)
    with atomic_path(folder / "particles.star") as temporary:
        temporary.write_text(_star(truth), encoding="utf-8")
    return folder / "particles.star"


def read_truth(folder: Path | str) -> Truth:
    """Truth of the particles that :func:`write_dataset` left in a folder."""
    record = json.loads((Path(folder) / "truth" / "dataset.json").read_text(encoding="utf-8"))
    ensemble = load_ensemble(Path(folder) / "truth" / "ensemble.safetensors")
    grid, conditions = Grid(**record["grid"]), Conditions(**record["conditions"])
    return known_truth(ensemble, torch.arange(record["images"]), grid, record["seed"], conditions)


def true_maps(truth: Truth, states: Float[Tensor, "k q"]) -> Float[Tensor, "k d d d"]:
    """Exact map of each state."""
    return torch.stack([truth.volume(state).voxels for state in states])


def common_mask(maps: Float[Tensor, "k d d d"], grid: Grid) -> Float[Tensor, "d d d"]:
    """CryoBench's mask: all states at 2 % of the maximum, 2 pixels wider, a cosine edge of 6 pixels."""
    union = Volume(maps.amax(0), grid)
    pixel = grid.pixel_size
    return mask_from_map(union, 0.02 * float(union.voxels.max()), 2 * pixel, 6 * pixel)


def _images(truth: Truth) -> Iterator[Float[Tensor, "_ d d"]]:
    for rows in torch.arange(len(truth)).split(_BLOCK):
        yield photograph(truth[rows])


def _write_truth(folder: Path, truth: Truth) -> None:
    states, shares = truth.ensemble.landmarks(LANDMARKS)
    maps = true_maps(truth, states)
    mask = common_mask(maps, truth.grid)
    files = [f"state{k:02d}.mrc" for k in range(len(states))]
    for file, voxels in zip(files, maps, strict=True):
        write_map(folder / file, Volume(voxels, truth.grid))
    write_map(folder / "mask.mrc", Volume(mask, truth.grid))
    save_ensemble(truth.ensemble, folder / "ensemble.safetensors")
    record = {
        "ensemble": truth.ensemble.name,
        "coordinates": [asdict(coordinate) for coordinate in truth.ensemble.coordinates],
        "images": len(truth),
        "grid": asdict(truth.grid),
        "seed": truth.seed,
        "conditions": asdict(truth.conditions),
        "unit": truth.unit,
        "mask_fraction": float(mask.mean()),
        "maps": [
            {"file": file, "state": state, "share": share}
            for file, state, share in zip(files, states.tolist(), shares.tolist(), strict=True)
        ],
    }
    with atomic_path(folder / "dataset.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _star(truth: Truth) -> str:
    """RELION 3.1 tables of one optics group."""
    seen, grid = truth.conditions, truth.grid
    optics = {
        "rlnOpticsGroup": "1",
        "rlnOpticsGroupName": "simulated",
        "rlnImagePixelSize": f"{grid.pixel_size:.6f}",
        "rlnImageSize": str(grid.box),
        "rlnImageDimensionality": "2",
        "rlnVoltage": f"{seen.voltage_kv:.6f}",
        "rlnSphericalAberration": f"{seen.cs_mm:.6f}",
        "rlnAmplitudeContrast": f"{seen.amplitude_contrast:.6f}",
    }
    columns = {
        "rlnImageName": [f"{i + 1:06d}@particles.mrcs" for i in range(len(truth))],
        "rlnOpticsGroup": ["1"] * len(truth),
        "rlnRandomSubset": [str(i % 2 + 1) for i in truth.number.tolist()],
        **{name: [f"{value:.6f}" for value in column.tolist()] for name, column in _numbers(truth).items()},
    }
    return _table("optics", {name: [word] for name, word in optics.items()}) + _table("particles", columns)


def _numbers(truth: Truth) -> dict[str, Float[Tensor, "n"]]:
    """Columns of numbers in RELION's units and signs; degrees, and the shift that centres the particle."""
    optics = reported_optics(truth)
    columns = {
        "rlnDefocusU": optics.defocus_u,
        "rlnDefocusV": optics.defocus_v,
        "rlnDefocusAngle": torch.rad2deg(optics.astigmatism),
        "rlnCtfBfactor": optics.b_factor,
        "rlnPhaseShift": torch.rad2deg(optics.phase_shift),
    }
    columns |= {f"rln{name}": column for name, column in _pose_columns(reported_poses(truth)).items()}
    columns |= {f"morphemTrue{name}": column for name, column in _pose_columns(truth.poses).items()}
    columns |= {f"morphemTrueState{k}": column for k, column in enumerate(truth.state.T, 1)}
    columns["morphemTrueContrast"] = truth.optics.scale * truth.intact
    return columns


def _pose_columns(poses: Poses) -> dict[str, Float[Tensor, "n"]]:
    rot, tilt, psi = torch.rad2deg(to_euler(poses.rotation.double())).T
    x, y = -poses.shift.T
    return {"AngleRot": rot, "AngleTilt": tilt, "AnglePsi": psi, "OriginXAngst": x, "OriginYAngst": y}


def _table(name: str, columns: dict[str, list[str]]) -> str:
    head = "".join(f"_{label} #{k}\n" for k, label in enumerate(columns, 1))
    rows = "".join(" ".join(row) + "\n" for row in zip(*columns.values(), strict=True))
    return f"\n# version 30001\n\ndata_{name}\n\nloop_\n{head}{rows}\n"

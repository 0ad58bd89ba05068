"""Simulated particle sets on disk, with their truth beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Optics, Poses
from morphem.data.atomic import atomic_path
from morphem.data.errors import DataError
from morphem.simulate.ensembles import AbstractEnsemble
from morphem.simulate.files import ensemble_bytes, load_ensemble, save_ensemble
from morphem.simulate.options import Conditions
from morphem.simulate.particles import (
    NoiseSpectra,
    Truth,
    calibration,
    known_truth,
    measured_unit,
    spectral_snr,
)
from morphem.simulate.semi_real import Rows, onto
from morphem.simulate.star_text import write_star
from morphem.simulate.true_maps import LANDMARKS
from morphem.simulate.writing import make_files, state_file

_SCHEMA = 2
_SAMPLE = 256  # images of which the spectral SNR is the mean


def plan(
    ensemble: AbstractEnsemble,
    n: int,
    grid: Grid,
    seed: int = 0,
    conditions: Conditions = Conditions(),
    rows: Rows | None = None,
) -> Truth:
    """Truth of images 0 … n − 1, on the rows of a particle file if they are given; no image is kept."""
    sample = calibration(ensemble, grid, seed, conditions)
    unit = measured_unit(sample if rows is None else onto(sample, rows))
    truth = known_truth(ensemble, torch.arange(n), grid, seed, conditions, unit)
    return truth if rows is None else onto(truth, rows)


def write_dataset(
    folder: Path | str, truth: Truth, workers: int = 1, told: Callable[[int], None] = lambda images: None
) -> Path:
    """Write ``truth/``, ``particles.mrcs`` and, last, ``particles.star``, whose path is returned.

    ``truth/`` holds every parameter (``dataset.json``), the molecule (``ensemble.safetensors``), exact maps
    of states in units of the noise, and a mask around them all; :func:`read_truth` needs nothing else.
    The star file is RELION 3.1's, with the truth of each row in ``_morphemTrue…`` columns. The same call goes
    on where another was stopped.

    Args:
        folder: Where to; it may hold nothing but the same data set.
        truth: As :func:`plan` makes it.
        workers: Processes that make images.
        told: Called with how many images there are, now and then.

    Raises:
        DataError: If the folder holds another data set.
    """
    folder = Path(folder)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    _begin(folder, truth)
    make_files(folder, truth, workers, told)
    write_star(truth, folder / "particles.star")
    return folder / "particles.star"


def read_truth(folder: Path | str) -> Truth:
    """Truth of the particles that :func:`write_dataset` left in a folder."""
    record = read_record(folder)
    ensemble = load_ensemble(Path(folder) / "truth" / "ensemble.safetensors")
    grid, conditions = Grid(**record["grid"]), Conditions(**record["conditions"])
    numbers = torch.arange(record["images"])
    truth = known_truth(ensemble, numbers, grid, record["seed"], conditions, record["unit"])
    rows = Path(folder) / "truth" / "rows.safetensors"
    return _with_rows(truth, rows, record["source"]) if record["source"] else truth


def read_record(folder: Path | str) -> dict[str, Any]:
    """Parameters of a data set."""
    path = Path(folder) / "truth" / "dataset.json"
    if not path.exists():
        there = "the folder is empty or missing" if not Path(folder).exists() else "it was not simulated"
        fix = "give the folder that `morphem simulate` wrote"
        raise DataError("TRUTH-002", f"{folder} has no truth/dataset.json: {there}; {fix}")
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("schema") != _SCHEMA:
        met = f"{path} is of schema {record.get('schema')}, this version reads {_SCHEMA}"
        raise DataError("TRUTH-003", f"{met}; simulate the set again")
    return record


def identity(truth: Truth) -> str:
    """Hash of all that the images depend on."""
    digest = hashlib.sha256(ensemble_bytes(truth.ensemble))
    asked = (asdict(truth.grid), asdict(truth.conditions), truth.seed, truth.source)
    digest.update(json.dumps(asked).encode() + truth.number.numpy().tobytes())
    if truth.source:
        for tensor in _row_tensors(truth).values():
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _begin(folder: Path, truth: Truth) -> None:
    """Write what the files are made from, or find that it is there already."""
    path, own = folder / "truth" / "dataset.json", identity(truth)
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")).get("identity") != own:
            fix = "choose another folder (-o), or remove this one"
            raise DataError("PATH-004", f"{folder} holds another simulated data set; {fix}")
        return
    if (folder / "particles.star").exists() or (folder / "particles.mrcs").exists():
        raise DataError("PATH-004", f"{folder} holds particles already; choose another folder (-o)")
    save_ensemble(truth.ensemble, folder / "truth" / "ensemble.safetensors")
    if truth.source:
        _save_rows(truth, folder / "truth" / "rows.safetensors")
    record = _record(truth) | {"identity": own}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _record(truth: Truth) -> dict[str, Any]:
    states, shares = truth.ensemble.landmarks(LANDMARKS)
    some = torch.linspace(0, len(truth) - 1, min(len(truth), _SAMPLE)).long()
    return {
        "schema": _SCHEMA,
        "ensemble": truth.ensemble.name,
        "coordinates": [asdict(coordinate) for coordinate in truth.ensemble.coordinates],
        "images": len(truth),
        "grid": asdict(truth.grid),
        "seed": truth.seed,
        "conditions": asdict(truth.conditions),
        "source": truth.source,
        "unit": truth.unit,
        "spectral_snr": [round(value, 6) for value in spectral_snr(truth[some]).tolist()],
        "maps": [
            {"file": state_file(k), "state": state, "share": share}
            for k, (state, share) in enumerate(zip(states.tolist(), shares.tolist(), strict=True))
        ],
    }


def _row_tensors(truth: Truth) -> dict[str, Tensor]:
    """What a particle file decided of each image."""
    spectra = {} if truth.noise is None else {"noise": truth.noise.by_group}
    optics = {f"optics.{name}": column for name, column in vars(truth.optics).items()}
    poses = {f"poses.{name}": column for name, column in vars(truth.poses).items()}
    return {**spectra, **optics, **poses, "group": truth.group}


def _save_rows(truth: Truth, path: Path) -> None:
    with atomic_path(path) as temporary:
        own = {name: tensor.clone().contiguous() for name, tensor in _row_tensors(truth).items()}
        temporary.write_bytes(safetensors.torch.save(own))


def _with_rows(truth: Truth, path: Path, source: str) -> Truth:
    held = safetensors.torch.load_file(path)
    optics = Optics(**{f.name: held[f"optics.{f.name}"] for f in fields(Optics)})
    poses = Poses(**{f.name: held[f"poses.{f.name}"] for f in fields(Poses)})
    noise = NoiseSpectra(held["noise"]) if "noise" in held else None
    return replace(truth, optics=optics, poses=poses, group=held["group"], noise=noise, source=source)

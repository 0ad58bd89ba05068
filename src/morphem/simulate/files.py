"""Ensembles as tensors and words, so that a data set needs nothing but itself to be judged by."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from morphem.data.atomic import atomic_path
from morphem.data.errors import DataError
from morphem.simulate.atoms import AtomicMatter
from morphem.simulate.ensembles import AbstractEnsemble, Bodies, Coordinate, PointEnsemble
from morphem.simulate.hinge import HingeMotion
from morphem.simulate.maps import MapEnsemble
from morphem.simulate.matter import GaussianMatter
from morphem.simulate.motions import FramesMotion, TableMotion, Turning

_KINDS = {
    kind.__name__: kind
    for kind in (
        *(PointEnsemble, MapEnsemble, GaussianMatter, AtomicMatter),
        *(HingeMotion, TableMotion, Turning, FramesMotion, Bodies, Coordinate),
    )
}


def save_ensemble(ensemble: AbstractEnsemble, path: Path) -> None:
    """Write an ensemble as ``.safetensors`` with its structure as JSON in the header."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(ensemble_bytes(ensemble))


def ensemble_bytes(ensemble: AbstractEnsemble) -> bytes:
    """Content of the file of an ensemble; the same for the same ensemble."""
    tensors: dict[str, Tensor] = {}
    record = _packed(ensemble, "", tensors)
    own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(own, {"ensemble": json.dumps(record)})


def load_ensemble(path: Path) -> AbstractEnsemble:
    """What :func:`save_ensemble` wrote."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            record = json.loads((file.metadata() or {})["ensemble"])
        return _unpacked(record, tensors)
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise DataError("TRUTH-001", f"{path} does not hold an ensemble ({error}); simulate again") from error


def _packed(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of nested records; their tensors go to ``tensors`` under their path."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if is_dataclass(value):
        inner = {f.name: _packed(getattr(value, f.name), f"{path}/{f.name}", tensors) for f in fields(value)}
        return {"kind": type(value).__name__, "fields": inner}
    if isinstance(value, tuple):
        return {"tuple": [_packed(one, f"{path}/{k}", tensors) for k, one in enumerate(value)]}
    return value


def _unpacked(record: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(record, dict):
        return record
    if "tensor" in record:
        return tensors[record["tensor"]]
    if "tuple" in record:
        return tuple(_unpacked(one, tensors) for one in record["tuple"])
    return _KINDS[record["kind"]](**{name: _unpacked(one, tensors) for name, one in record["fields"].items()})

"""Files of tensors with a record beside them, on disk whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from morphem.data.atomic import atomic_path


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by ``content``; after a crash at any moment the old or the new is there, whole."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else the rename itself may be lost with the power
    finally:
        os.close(folder)


def write_json(path: Path, record: Any) -> None:
    """Replace a JSON file."""
    write_bytes(path, (json.dumps(record, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_tensors(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Replace a safetensors file; ``record`` is JSON in its header."""
    # a copy each: safetensors refuses tensors that share memory
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(own, {"record": json.dumps(record)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record of a file, in memory of their own."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads((file.metadata() or {})["record"])

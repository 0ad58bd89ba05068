"""What makes a run this run and no other: settings and particles, field by field."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from morphem.core.types import PerParticle
from morphem.data.stack import ParticleStack

_LOOKED_AT = 16  # images


class ResumeError(ValueError):
    """A folder that holds another run than the one that was asked for."""

    def __init__(self, message: str) -> None:
        super().__init__(f"E-RESUME-001 {message}")


def settings(config: Any) -> Any:
    """A configuration as JSON would hold it; fields that do not change the result are left out."""
    if is_dataclass(config) and not isinstance(config, type):
        kept = [each.name for each in fields(config) if each.metadata.get("changes_result", True)]
        return {name: settings(getattr(config, name)) for name in kept}
    if isinstance(config, dict):
        return {str(name): settings(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [settings(value) for value in config]
    return config if isinstance(config, str | int | float | bool | None) else str(config)


def fingerprint(stack: ParticleStack) -> dict[str, Any]:
    """Hashes of what is known of every image, and of the images of a few rows."""
    n = len(stack)
    rows = torch.linspace(0, n - 1, min(n, _LOOKED_AT)).long()
    return {
        "images": n,
        "box": stack.grid.box,
        "pixel_size": stack.grid.pixel_size,
        "poses": _digest(stack.poses),
        "optics": _digest(stack.optics),
        "particle": _digest(stack.particle),
        "grey_values": _digest(stack.images.read(rows)),
    }


def method_name(record: dict[str, Any]) -> str:
    """Name of a run's method, as in ``morphem reconstruct NAME``; empty if its record tells none."""
    words = str(record.get("identity", {}).get("method", "")).split(".")
    # settings of a method lie in its module, or in one of its package
    return words[2] if words[:2] == ["morphem", "methods"] else ".".join(words[:-1])


def refuse_change(old: dict[str, Any], new: dict[str, Any], where: str) -> None:
    """Raise an error that names the first fields in which two identities differ."""
    before, after = _flat(old), _flat(json.loads(json.dumps(new)))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not names:
        return
    changes = [f"{name} was {before.get(name)}, is now {after.get(name)}" for name in names[:3]]
    more = f" (and {len(names) - 3} more)" if len(names) > 3 else ""
    fix = "give the old settings to go on, another folder (-o), or --overwrite to start anew"
    raise ResumeError(f"{where} holds another run: {'; '.join(changes)}{more}; {fix}")


def _flat(record: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(record, dict):
        return {prefix.removesuffix("."): record}
    return {
        key: value
        for name, inner in record.items()
        for key, value in _flat(inner, f"{prefix}{name}.").items()
    }


def _digest(record: PerParticle | Tensor) -> str:
    """Twelve hexadecimal digits that change with any value."""
    digest = hashlib.blake2b(digest_size=6)
    tensors = [record] if isinstance(record, Tensor) else vars(record).values()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

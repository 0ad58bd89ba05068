"""Values and arrays as the record of a scene holds them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


def reference(name: str, array: np.ndarray) -> dict[str, Any]:
    """An array as the record refers to it."""
    return {"name": name, "kind": array.dtype.name, "shape": list(array.shape)}


def scene_map(arrays: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    """``SceneMap`` of a map whose bytes, and labels if there are any, are among the arrays."""
    labels = f"{name}-labels"
    return {
        "voxels": reference(name, arrays[name]),
        "labels": reference(labels, arrays[labels]) if labels in arrays else None,
    }


def plain(value: Any) -> Any:
    """A record as JSON can hold it: six digits, no infinity, nothing that is not a number."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value

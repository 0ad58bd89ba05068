"""Answers that hold arrays: a JSON header and the arrays' bytes, as ``web/src/scene.ts`` declares them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

_KINDS = {"uint8": "<u1", "int32": "<i4", "float32": "<f4"}
_ALIGNED = 4  # bytes


def reference(name: str, array: np.ndarray) -> dict[str, Any]:
    """``ArrayReference``: what a page must know to read an array's bytes."""
    return {"name": name, "kind": array.dtype.name, "shape": list(array.shape)}


def array_bytes(array: np.ndarray) -> bytes:
    """Numbers of an array, little-endian and in C order.

    Raises:
        ValueError: If they are not uint8, int32 or float32.
    """
    if array.dtype.name not in _KINDS:
        raise ValueError(f"an array of {array.dtype} has no place in a page; make it {', '.join(_KINDS)}")
    return np.ascontiguousarray(array, _KINDS[array.dtype.name]).tobytes()


def packet(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Length of the header (uint32), the header with a reference to each array, and the arrays.

    The header is padded with spaces, arrays with zeros, to a multiple of four bytes.
    """
    references = [reference(name, array) for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": references}, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    parts = [struct.pack("<I", len(text)), text]
    for array in arrays.values():
        content = array_bytes(array)
        parts += [content, bytes(-len(content) % _ALIGNED)]
    return b"".join(parts)

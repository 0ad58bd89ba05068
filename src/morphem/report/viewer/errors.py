"""Questions that are asked well and still have no answer."""

from __future__ import annotations


class ConflictError(ValueError):
    """What was asked for cannot be had as things are; nothing is wrong with the question."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"E-{code} {message}")

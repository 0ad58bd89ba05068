"""What a reader says when a file cannot be used, or is not used in full."""

from __future__ import annotations


class DataError(ValueError):
    """A file that cannot be read as particles; ``code`` is a stable key to the documentation.

    The message says what was met, where, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"E-{code} {message}")
        self.code = code


class MetadataWarning(UserWarning):
    """Something in a particle file that the model leaves out, or had to assume."""

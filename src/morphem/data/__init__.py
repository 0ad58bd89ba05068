"""Files and words: particle sets, maps, and the units of other programs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from morphem.data.errors import DataError, MetadataWarning

if TYPE_CHECKING:
    from morphem.data.metadata import Metadata, MetadataOptions, read_metadata, write_metadata
    from morphem.data.mrc import read_map, write_map
    from morphem.data.stack import ParticleStack, open_stack

__all__ = [
    "DataError",
    "Metadata",
    "MetadataOptions",
    "MetadataWarning",
    "ParticleStack",
    "open_stack",
    "read_map",
    "read_metadata",
    "write_map",
    "write_metadata",
]

_HOMES = {
    "metadata": ("Metadata", "MetadataOptions", "read_metadata", "write_metadata"),
    "mrc": ("read_map", "write_map"),
    "stack": ("ParticleStack", "open_stack"),
}


def __getattr__(name: str) -> object:
    """A public name, its module imported when it is first asked for: an error alone needs no torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"morphem.data.{module}"), name)
    raise AttributeError(f"module morphem.data has no attribute {name!r}")

"""Files and words: particle sets, maps, and the units of other programs."""

from __future__ import annotations

from morphem.data.errors import DataError, MetadataWarning

__all__ = ["DataError", "MetadataWarning"]

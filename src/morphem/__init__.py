"""Morphem finds the moving and missing parts of molecules in cryo-electron microscopy."""

from __future__ import annotations

__version__ = "0.1.0"

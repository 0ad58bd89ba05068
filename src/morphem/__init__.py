"""Morphem finds the moving and missing parts of molecules in cryo-electron microscopy.

    import morphem

    stack = morphem.open("particles.star")
    morphem.check(stack).findings
    found = morphem.reconstruct("cryospire", stack, out="run")
    found.volume(found.latents[0])

Names are imported when first used: ``import morphem`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morphem.data.stack import open_stack as open
    from morphem.report.api import load, reconstruct
    from morphem.report.check import check_particles as check

__version__ = "0.1.0"
__all__ = ["check", "load", "open", "reconstruct"]

_HOMES = {
    "check": ("morphem.report.check", "check_particles"),
    "load": ("morphem.report.api", "load"),
    "open": ("morphem.data.stack", "open_stack"),
    "reconstruct": ("morphem.report.api", "reconstruct"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]

"""The methods by name; none is imported before it is asked for.

A method is a module with a frozen dataclass ``Config``, a function ``reconstruct(stack, config, run)``
and, if it likes, ``PRESETS``, ready-made configurations by name, and ``NEEDS_POSES = False`` where particles
without poses will do. Other packages add theirs through the entry point group ``morphem.methods``.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType


@dataclass(frozen=True)
class Entry:
    """A method that can be asked for.

    Attributes:
        name: What users type.
        summary: One line for the list of methods.
        module: Where it lives; ``morphem.methods.<name>`` unless another package brings it.
    """

    name: str
    summary: str
    module: str = ""


BUILT_IN = (
    Entry("backprojection", "One map at the given poses: half maps, their FSC, Wiener filter."),
    Entry("cryofire", "Poses, latents and maps from images alone, no pose given."),
    Entry("cryospire", "Rigid parts, a latent for every particle, and a map for any latent."),
)


def registry() -> dict[str, Entry]:
    """Every method at hand, in the order in which help lists them."""
    entries = {entry.name: entry for entry in BUILT_IN}
    for point in entry_points(group="morphem.methods"):
        if point.name in entries:
            raise ValueError(f"two packages bring a method named {point.name}: uninstall one ({point.value})")
        entries[point.name] = Entry(point.name, f"From {point.value}.", point.value)
    return entries


def load_method(name: str) -> ModuleType:
    """The module of a method; a name that is not there is answered with the nearest that is."""
    entries = registry()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(entries)}"
        raise ValueError(f"no method is called {name}; {hint}")
    module = importlib.import_module(entries[name].module or f"morphem.methods.{name}")
    missing = [word for word in ("Config", "reconstruct") if not hasattr(module, word)]
    if missing:
        raise ValueError(f"{module.__name__} is not a method: it lacks {' and '.join(missing)}")
    return module

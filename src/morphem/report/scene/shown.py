"""A result that a page can show, whichever program found it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.grid import Grid
from morphem.core.types import Poses, Volume
from morphem.data.stack import ParticleStack


@dataclass(frozen=True)
class Column:
    """One value for each particle.

    Attributes:
        name: In expressions and files.
        label: For people.
        values: Numbers [p] (NaN = unknown), or codes [p] into ``categories`` (-1 = unknown).
        unit: Empty where there is none.
        categories: Names of the codes; empty for numbers.
    """

    name: str
    label: str
    values: np.ndarray
    unit: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class FixedMap:
    """A map that another program wrote, and the latent that it is of, if that is known."""

    name: str
    volume: Volume
    latent: Float[Tensor, "z"] | None = None


@dataclass(frozen=True)
class Shown:
    """What is known of a result.

    Attributes:
        title: Name of its folder.
        subtitle: Program, method and preset in words.
        latents: One row per particle, of any width (also 0).
        grid: Of the maps; None where there are none.
        decode: The density of a latent; None where it cannot be computed here.
        sample: The same on a coarser grid of the same extent, where that is cheaper than to crop it.
        label: Number of the part, from 1, in each voxel of a latent's density, 0 outside; None without parts.
        fixed: Maps that were found rather than computed.
        columns: What else is known of each particle.
        stack: The images, where they are at hand; rows belong to particles by ``stack.particle``.
        poses: Of the images of ``stack``.
        summary: Label and value pairs.
        commands: Purpose and command pairs.
        record: What the method's own files say, unchanged: ``history``, ``parts``, ``fsc``, ``provenance``.
    """

    title: str
    subtitle: str
    latents: Float[Tensor, "p z"]
    grid: Grid | None = None
    decode: Callable[[Float[Tensor, "z"]], Volume] | None = None
    label: Callable[[Float[Tensor, "z"], Grid], Int[Tensor, "d d d"]] | None = None
    fixed: tuple[FixedMap, ...] = ()
    columns: tuple[Column, ...] = ()
    stack: ParticleStack | None = None
    poses: Poses | None = None
    summary: tuple[tuple[str, str], ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    record: dict[str, object] = field(default_factory=dict)
    sample: Callable[[Float[Tensor, "z"], Grid], Volume] | None = None

"""The maps of a scene before they are bytes: decoded, no finer than they will be shown."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.types import Volume
from morphem.report.scene.frame import Frame, encode, encode_labels, frame_of
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.shown import Shown
from morphem.report.scene.states import Axes, Line, States, nearest

_SAMPLED = 5  # maps from which the size of all is reckoned
_SAFETY = 1.04  # on that
_COARSEST = 32  # voxels
_LEVEL = 6  # of gzip


@dataclass(frozen=True)
class Exhibit:
    """A map to be shown.

    Attributes:
        name: Of its array.
        volume: The map.
        latent: Where it was decoded; None for a map that was found.
    """

    name: str
    volume: Volume
    latent: Float[Tensor, "z"] | None = None


@dataclass(frozen=True)
class Exhibits:
    """All maps of a scene.

    Attributes:
        mean: Of the mean latent; None where it cannot be computed.
        states: In the order of their numbers.
        lines: Steps along each principal component.
        found: States and the particles nearest to each; None for maps of which no latent is known.
    """

    mean: Exhibit | None
    states: tuple[Exhibit, ...]
    lines: tuple[tuple[Line, tuple[Exhibit, ...]], ...]
    found: States | None

    def all(self) -> list[Exhibit]:
        """Every map once."""
        mean = [] if self.mean is None else [self.mean]
        steps = [each for _, exhibits in self.lines for each in exhibits]
        return list({each.name: each for each in [*mean, *self.states, *steps]}.values())

    def coarser(self, box: int) -> Exhibits:
        """The same maps on at most ``box`` voxels a side."""
        small = {each.name: replace(each, volume=coarser(each.volume, box)) for each in self.all()}
        return replace(
            self,
            mean=None if self.mean is None else small[self.mean.name],
            states=tuple(small[each.name] for each in self.states),
            lines=tuple((line, tuple(small[each.name] for each in steps)) for line, steps in self.lines),
        )


def exhibits_of(
    shown: Shown,
    states: States | None,
    axes: Axes | None,
    options: SceneOptions,
    tell: Callable[[str], None],
) -> Exhibits:
    """Decode what a page shows; maps that were found come after the states."""
    fixed = tuple(
        Exhibit(f"map-{k + 1}", coarser(each.volume, options.box), each.latent)
        for k, each in enumerate(shown.fixed)
    )
    if shown.decode is None or states is None:
        return Exhibits(None, fixed, (), _of_fixed(shown))
    decoded = tuple(
        Exhibit(f"state-{k + 1}", map_at(shown, z, options.box), z) for k, z in enumerate(states.latents)
    )
    tell(f"{len(decoded)} state{'s' * (len(decoded) > 1)} decoded")
    if shown.latents.shape[1] == 0:
        return Exhibits(decoded[0], (*decoded, *fixed), (), states)
    middle = shown.latents.mean(0)
    mean = Exhibit("mean", map_at(shown, middle, options.box), middle)
    lines = []
    for line in axes.lines if axes else ():
        steps = enumerate(line.latents)
        names = ((f"pc{line.number}-{k + 1:02d}", z) for k, z in steps)
        lines.append((line, tuple(Exhibit(name, map_at(shown, z, options.box), z) for name, z in names)))
        tell(f"principal component {line.number} decoded")
    return Exhibits(mean, (*decoded, *fixed), tuple(lines), states)


def map_at(shown: Shown, z: Float[Tensor, "z"], box: int) -> Volume:
    """Density of a latent on at most ``box`` voxels a side."""
    if shown.decode is None or shown.grid is None:
        raise ValueError(f"{shown.title} holds no decoder; only the maps in it can be shown")
    small = min(box - box % 2, shown.grid.box)
    if shown.sample is not None:
        return shown.sample(z, shown.grid.resized(small))
    return coarser(shown.decode(z), small)


def coarser(volume: Volume, box: int) -> Volume:
    """A map Fourier-cropped to at most ``box`` voxels a side, on the CPU."""
    small = min(box - box % 2, volume.grid.box)
    voxels = resize_map(volume.voxels.detach().cpu().float(), small)
    return Volume(voxels, volume.grid.resized(small))


def arrays_of(shown: Shown, exhibit: Exhibit, frame: Frame) -> dict[str, np.ndarray]:
    """Bytes of a map, and of the labels of its parts where there are parts: ``NAME`` and ``NAME-labels``."""
    arrays = {exhibit.name: encode(exhibit.volume, frame)}
    if shown.label is not None and exhibit.latent is not None:
        labels = shown.label(exhibit.latent, frame.grid)
        arrays[f"{exhibit.name}-labels"] = encode_labels(labels, frame)
    return arrays


def fitted(shown: Shown, exhibits: Exhibits, budget: float) -> tuple[Exhibits, Frame] | None:
    """Maps coarse enough that all of them take ``budget`` bytes in a page, and their frame; None of no map.

    The size is reckoned from a few of them; nothing is made coarser than 32 voxels.
    """
    every = exhibits.all()
    if not every:
        return None
    some = every[:: -(-len(every) // _SAMPLED)]
    box = some[0].volume.grid.box
    while box > _COARSEST:
        few = [replace(each, volume=coarser(each.volume, box)) for each in some]
        frame = frame_of([each.volume for each in few], box)
        taken = sum(packed_size(array) for each in few for array in arrays_of(shown, each, frame).values())
        whole = _SAFETY * taken * len(every) / len(some)
        if whole <= budget:
            break
        smaller = box * (max(budget, 1.0) / whole) ** (1 / 3)
        box = max(_COARSEST, min(box - 2, 2 * int(smaller / 2)))
    small = exhibits.coarser(box)
    return small, frame_of([each.volume for each in small.all()], box)


def packed(array: np.ndarray) -> str:
    """An array as a page holds it: base64 of gzip of its bytes, little-endian."""
    return base64.b64encode(gzip.compress(_little(array).tobytes(), _LEVEL, mtime=0)).decode()


def packed_size(array: np.ndarray) -> int:
    """Bytes of that."""
    return -(-len(gzip.compress(_little(array).tobytes(), _LEVEL, mtime=0)) // 3) * 4


def _little(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _of_fixed(shown: Shown) -> States | None:
    """Particles nearest to maps whose latents are known."""
    places = [each.latent for each in shown.fixed if each.latent is not None]
    if not places or len(places) < len(shown.fixed) or shown.latents.shape[1] == 0:
        return None
    points = torch.stack(places)
    return States(_names(shown), points, nearest(shown.latents, points))


def _names(shown: Shown) -> tuple[str, ...]:
    return tuple(each.name for each in shown.fixed)

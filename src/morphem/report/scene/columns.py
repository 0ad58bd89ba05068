"""What is known of each particle, as columns: latents, states, poses, optics, and what its file says."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import to_euler
from morphem.core.types import Optics, Poses
from morphem.data.cs import CsSource
from morphem.data.errors import DataError
from morphem.data.record import Metadata
from morphem.data.relion import RelionSource, image_table
from morphem.data.star import StarTable
from morphem.report.scene.shown import Column, Shown
from morphem.report.scene.states import Axes, States, axes_of, states_of

CLUSTERS = 20  # smaller groups than states, from which subsets are put together
_PER_CLUSTER = 50  # particles
_CATEGORIES = 60  # names that a column of categories has at most
_EXTRA = 24  # columns that are taken from a particle file, at most
_KNOWN = (
    "rlnImageName",
    "rlnAngle",
    "rlnOrigin",
    "rlnDefocus",
    "rlnOpticsGroup",
    "rlnRandomSubset",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImageSize",
    "rlnImagePixelSize",
    "morphemLatent",
    "uid",
    "blob/",
    "ctf/",
    "alignments",
    "location/center",
)  # beginnings of what columns of ours tell, or what tells nothing of a particle


def columns_of(shown: Shown, states: int = 0) -> tuple[Column, ...]:
    """All columns of a result, as on a page: components, latents, state, cluster, what it came with.

    Args:
        shown: The result.
        states: As :func:`morphem.report.scene.states.states_of` takes them.
    """
    return told_columns(shown, axes_of(shown.latents, 2), states_of(shown.latents, states))


def told_columns(shown: Shown, axes: Axes | None, states: States | None) -> tuple[Column, ...]:
    """Likewise, where components and states are known."""
    columns = [] if axes is None else component_columns(axes)
    columns += [
        Column(f"z{k + 1}", f"latent {k + 1}", values.numpy().astype(np.float32))
        for k, values in enumerate(shown.latents.T)
    ]
    if axes is not None and states is not None:
        few = max(1, min(CLUSTERS, len(shown.latents) // _PER_CLUSTER))
        columns.append(_membership("state", "state", states))
        columns.append(_membership("cluster", "cluster", states_of(shown.latents, few)))
    ours = {column.name for column in columns}
    return (*columns, *(column for column in shown.columns if column.name not in ours))


def latent_names(shown: Shown) -> list[str]:
    """Columns that together are the latent, in the order of its numbers."""
    return [f"z{k + 1}" for k in range(shown.latents.shape[1])]


def component_columns(axes: Axes) -> list[Column]:
    """Coordinates along the principal components."""
    return [
        Column(f"PC{k + 1}", f"principal component {k + 1} ({100 * float(share):.0f} %)", values.numpy())
        for k, (values, share) in enumerate(zip(axes.values.T, axes.explained, strict=True))
    ]


def first_images(particle: Int[Tensor, "n"]) -> Int[Tensor, "p"]:
    """The first image of each particle; where tilts share a particle, it speaks for them."""
    count = int(particle.max()) + 1
    first = torch.full((count,), len(particle), dtype=torch.long)
    return first.scatter_reduce(0, particle, torch.arange(len(particle)), "amin")


def pose_columns(poses: Poses) -> tuple[Column, ...]:
    """Latitude and longitude of the view in the molecule's frame, in-plane angle, shift."""
    direction = poses.rotation[:, 2].double()
    latitude = torch.rad2deg(direction[:, 2].clamp(-1, 1).asin())
    longitude = torch.rad2deg(torch.atan2(direction[:, 1], direction[:, 0]))
    turn = torch.rad2deg(to_euler(poses.rotation.double())[:, 2])
    return (
        _number("view_latitude", "view: latitude", latitude, "°"),
        _number("view_longitude", "view: longitude", longitude, "°"),
        _number("in_plane", "in-plane angle", turn, "°"),
        _number("shift", "shift", poses.shift.norm(dim=1), "Å"),
        _number("shift_x", "shift along x", poses.shift[:, 0], "Å"),
        _number("shift_y", "shift along y", poses.shift[:, 1], "Å"),
    )


def optics_columns(optics: Optics) -> tuple[Column, ...]:
    """Mean defocus and astigmatism; phase shift where it differs between particles."""
    columns = [
        _number("defocus", "defocus", (optics.defocus_u + optics.defocus_v) / 2, "Å"),
        _number("astigmatism", "astigmatism", (optics.defocus_u - optics.defocus_v).abs(), "Å"),
        _number("phase_shift", "phase shift", torch.rad2deg(optics.phase_shift), "°"),
    ]
    return tuple(column for column in columns if np.ptp(column.values) > 0)


def set_columns(metadata: Metadata, rows: Int[np.ndarray, "p"]) -> tuple[Column, ...]:
    """Optics group and half set, where there are several."""
    columns = []
    if len(metadata.group_names) > 1:
        codes = metadata.group[rows].astype(np.int32)
        columns.append(Column("optics_group", "optics group", codes, categories=metadata.group_names))
    if len(np.unique(metadata.half[rows])) > 1:
        half = metadata.half[rows].astype(np.int32) - 1
        columns.append(Column("half", "half set", half, categories=("1", "2")))
    return tuple(columns)


def file_columns(metadata: Metadata, rows: Int[np.ndarray, "p"]) -> tuple[Column, ...]:
    """What else the particle file holds in numbers or few words, such as ``rlnClassNumber``.

    Columns that are the same throughout, and those of more than sixty names, tell nothing apart.
    """
    source, chosen = metadata.source, metadata.row[rows]
    if isinstance(source, RelionSource):
        table = image_table(source.star.unpack())
        labels = [label for label in table.labels if not label.startswith(_KNOWN)]
        found = (_of_star(table, label, chosen) for label in labels)
    elif isinstance(source, CsSource):
        names = [name for name in source.dataset.dtype.names or () if not name.startswith(_KNOWN)]
        flat = [name for name in names if source.dataset[name].ndim == 1]
        found = (_column(name, name, source.dataset[name][chosen]) for name in flat)
    else:
        return ()
    return tuple(column for column in found if column is not None)[:_EXTRA]


def spread_column(std: Float[np.ndarray, "p z"]) -> Column:
    """Posterior standard deviation of a latent, its numbers together (root of the sum of squares)."""
    return Column("std", "uncertainty of the latent", np.sqrt((std**2).sum(1)).astype(np.float32))


def _of_star(table: StarTable, label: str, rows: Int[np.ndarray, "p"]) -> Column | None:
    try:
        values = table.numbers(label)
    except DataError:  # words
        values = np.array(table.texts(label))
    return _column(label, label.removeprefix("rln"), values[rows])


def _column(name: str, label: str, values: np.ndarray) -> Column | None:
    """A column of numbers, of categories where there are few, or None where it tells nothing."""
    if values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        if not len(known) or np.ptp(known) == 0:
            return None
        if len(known) < len(numbers) or (known != np.round(known)).any():
            return Column(name, label, numbers.astype(np.float32))
        kinds, codes = np.unique(numbers, return_inverse=True)
        if len(kinds) > _CATEGORIES:
            return Column(name, label, numbers.astype(np.float32))
        return Column(name, label, codes.astype(np.int32), categories=tuple(f"{kind:.0f}" for kind in kinds))
    texts = values.astype(str)
    kinds, codes = np.unique(texts, return_inverse=True)
    if not 1 < len(kinds) <= _CATEGORIES:
        return None
    return Column(name, label, codes.astype(np.int32), categories=tuple(map(str, kinds)))


def _membership(name: str, label: str, states: States) -> Column:
    """Nearest state or cluster of each particle, most frequent first."""
    names = tuple(f"{name}_{k + 1}" for k in range(len(states.names)))
    return Column(name, label, states.member.numpy().astype(np.int32), categories=names)


def _number(name: str, label: str, values: Float[Tensor, "p"], unit: str) -> Column:
    return Column(name, label, values.numpy().astype(np.float32), unit)

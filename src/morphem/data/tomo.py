"""Tilt images of tomograms as metadata: several images of one particle, each with a pose of its own.

RELION 5 and WarpTools keep one row per particle and one table per tilt series; Warp and M also write
one row per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from morphem.core import rotations
from morphem.core.types import Optics, Poses
from morphem.data.companions import find_companion, require_companion
from morphem.data.errors import DataError
from morphem.data.mrc import read_header
from morphem.data.options import MetadataOptions
from morphem.data.record import AbstractSource, Metadata, dense
from morphem.data.relion import (
    StarColumns,
    as_optics,
    as_texts,
    image_table,
    optics_groups,
    optics_without_ctf,
    read_relion,
    star_columns,
    unmodelled_aberrations,
)
from morphem.data.star import PackedStar, StarFile, StarTable, read_star
from morphem.data.tilts import Tilts, read_tilts


@dataclass(frozen=True)
class TomoSource(AbstractSource):
    """A particle star file whose rows stand for several images each."""

    path: Path
    star: PackedStar

    def write(
        self, path: Path, rows: np.ndarray, columns: Mapping[str, np.ndarray], poses: Poses | None
    ) -> None:
        """Write the particles of the images ``rows``; of a column, the value of a particle's first image."""
        if poses is not None:
            message = f"{self.path} keeps one orientation per particle, so poses of tilts cannot be written"
            raise DataError("TOMO-003", f"{message} to it; write it without poses")
        first = np.sort(np.unique(rows, return_index=True)[1])
        texts = as_texts({name: np.asarray(values)[first] for name, values in columns.items()})
        star = self.star.unpack()
        star.write(path, image_table(star), rows[first], texts)


def read_tilt_rows(star: StarFile, table: StarTable, options: MetadataOptions) -> Metadata:
    """A Warp or M table with one row per tilt image; rows of one ``_rlnGroupName`` are one particle.

    Warp writes the decay by dose as a negative B factor, RELION as a positive one.
    """
    metadata = read_relion(star, table, options)
    groups: dict[str, int] = {}
    particle = np.array([groups.setdefault(name, len(groups)) for name in table.texts("rlnGroupName")])
    optics = replace(metadata.optics, b_factor=-metadata.optics.b_factor)
    return replace(metadata, particle=particle, optics=optics)


def has_tilt_rows(table: StarTable) -> bool:
    """Whether a table is Warp's: images grouped by name, and no positive B factor but negative ones."""
    if "rlnGroupName" not in table or "rlnCtfBfactor" not in table:
        return False
    b_factor = table.numbers("rlnCtfBfactor")
    return bool(b_factor.max(initial=0) <= 0 and b_factor.min(initial=0) < 0)


def read_optimisation_set(star: StarFile, options: MetadataOptions) -> Metadata:
    """The particles and tilt series that a RELION 5 optimisation set names."""
    table = next(table for table in star.tables if "rlnTomoParticlesFile" in table)
    named = {label: table.texts(label)[0] for label in table.labels}
    particles = require_companion(star.path, named["rlnTomoParticlesFile"], options.datadir)
    tomograms = options.tomograms
    if tomograms is None and "rlnTomoTomogramsFile" in named:
        tomograms = require_companion(star.path, named["rlnTomoTomogramsFile"], options.datadir)
    metadata = read_tomo(read_star(particles), replace(options, tomograms=tomograms))
    if not named.get("rlnTomoTrajectoriesFile"):
        return metadata
    return replace(metadata, unmodelled=(*metadata.unmodelled, "motion of particles between tilts"))


def read_tomo(star: StarFile, options: MetadataOptions) -> Metadata:
    """One row per visible tilt image of a RELION 5 or WarpTools particle table of 2-D stacks."""
    table = image_table(star)
    columns = star_columns(star, table)
    if columns.take("rlnImageDimensionality", 2).max() > 2:
        message = f"{star.path}: its images are pseudo-subtomograms, which are volumes"
        raise DataError("STAR-006", f"{message}; extract 2-D stacks instead (relion_tomo_subtomo --stack2d)")
    names = table.texts("rlnTomoName")
    tomograms = {name: k for k, name in enumerate(dict.fromkeys(names))}
    tilts = read_tilts(_tomograms_star(star, options), list(tomograms), options)
    tomogram = np.array([tomograms[name] for name in names])
    row, frame, image = _visible_images(star, table, np.diff(tilts.first)[tomogram], options)
    files = {name: k for k, name in enumerate(dict.fromkeys(table.texts("rlnImageName")))}
    file_index = np.array([files[name] for name in table.texts("rlnImageName")])
    view = _Views(columns, tilts, tomogram, row, tilts.first[tomogram[row]] + frame)
    rotation, shift = _poses(view)
    group, group_names = optics_groups(columns, tomogram)
    pixel_size = columns.require("rlnImagePixelSize", options.pixel_size, "PIX-001", "state pixel_size in Å")
    return Metadata(
        source=TomoSource(star.path, star.pack()),
        row=row,
        uid=None,
        files=tuple(files),
        file_index=file_index[row],
        image_index=image,
        rotation=rotation,
        shift=shift,
        optics=_optics(view, options),
        pixel_size=pixel_size[row],
        box=columns.take("rlnImageSize", 0).astype(np.int64)[row],
        group=group[row],
        group_names=group_names,
        particle=dense(row),
        half=columns.take("rlnRandomSubset", 0).astype(np.int64)[row],
        sign=np.ones(len(row)),
        premultiplied=columns.take("rlnCtfDataAreCtfPremultiplied", 0)[row] > 0,
        unmodelled=unmodelled_aberrations(columns),
    )


@dataclass(frozen=True)
class _Views:
    """Which particle (``row``) is seen in which ``tilt``, one entry per image."""

    columns: StarColumns
    tilts: Tilts
    tomogram: Int[np.ndarray, "m"]
    row: Int[np.ndarray, "n"]
    tilt: Int[np.ndarray, "n"]

    def rotation(self, *labels: str) -> Float[np.ndarray, "m 3 3"]:
        """Matrix of three Euler angles of each particle; the identity where there are none."""
        angles = np.stack([self.columns.take(label, 0) for label in labels])
        return rotations.from_euler(*torch.deg2rad(torch.from_numpy(angles))).numpy()

    def vectors(self, label: str, default: float = 0) -> Float[np.ndarray, "m 3"]:
        """Columns X, Y and Z of each particle."""
        return np.stack([self.columns.take(label.format(axis), default) for axis in "XYZ"], -1)


def _poses(view: _Views) -> tuple[Float[np.ndarray, "n 3 3"] | None, Float[np.ndarray, "n 2"] | None]:
    """Tilt after subtomogram after particle orientation; the 3-D origin offset seen in each tilt."""
    labels = [f"rln{kind}{name}" for kind in ("TomoSubtomogram", "Angle") for name in ("Rot", "Tilt", "Psi")]
    if not any(label in view.columns.particles for label in labels):
        return None, None
    to_tomogram = view.rotation(*labels[:3])
    offset = -(to_tomogram @ view.vectors("rlnOrigin{}Angst")[..., None])
    specimen_to_view = view.tilts.rotation[view.tilt]
    rotation = specimen_to_view @ (to_tomogram @ view.rotation(*labels[3:]))[view.row]
    return rotation, (specimen_to_view @ offset[view.row])[:, :2, 0]


def _optics(view: _Views, options: MetadataOptions) -> Optics:
    """Contrast transfer of each image; a particle above the tilt axis is closer to focus, or farther."""
    if not options.has_ctf:
        return optics_without_ctf(len(view.row))
    tilts, tomogram = view.tilts, view.tomogram[view.row]
    depth = (tilts.rotation[view.tilt] @ _position(view)[view.row][..., None])[:, 2, 0]
    values = {name: column[view.tilt] for name, column in tilts.columns.items()}
    values |= {name: column[tomogram] for name, column in tilts.settings.items() if name != "hand"}
    for name in ("defocus_u", "defocus_v"):
        values[name] = values[name] + tilts.settings["hand"][tomogram] * depth
    return as_optics(values)


def _position(view: _Views) -> Float[np.ndarray, "m 3"]:
    """Particles relative to the centre of their tomogram, Å; zero where the file does not say."""
    table = view.columns.particles
    if "rlnCenteredCoordinateXAngst" in table:
        return view.vectors("rlnCenteredCoordinate{}Angst")
    if "rlnCoordinateX" not in table:
        return np.zeros((len(table), 3))
    # WarpTools counts coordinates in image pixels, RELION in pixels of the tilt series
    is_warp = [name.endswith(".tomostar") for name in table.texts("rlnTomoName")]
    unbinned = view.columns.take("rlnTomoTiltSeriesPixelSize", 1)
    pixel_size = np.where(is_warp, view.columns.take("rlnImagePixelSize", 1), unbinned)
    centre = view.tilts.centre[view.tomogram] * unbinned[:, None]
    return view.vectors("rlnCoordinate{}") * pixel_size[:, None] - centre


def _visible_images(
    star: StarFile, table: StarTable, n_frames: Int[np.ndarray, "m"], options: MetadataOptions
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Row, frame and place in its stack of each visible image.

    RELION leaves invisible frames out of its stacks, WarpTools keeps them; the first stack decides.
    """
    visible = _visibility(table, n_frames)
    counts = np.array([flags.sum() for flags in visible])
    row = np.repeat(np.arange(len(table)), counts)
    frame = np.concatenate([np.flatnonzero(flags) for flags in visible])
    order = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    partial = np.flatnonzero(counts < n_frames)
    if len(partial) == 0:
        return row, frame, frame
    name = table.texts("rlnImageName")[partial[0]]
    stack = find_companion(star.path, name, options.datadir)
    stored = counts[partial[0]] if stack is None else read_header(stack).claimed
    if stored not in (n_frames[partial[0]], counts[partial[0]]):
        message = f"{stack} holds {stored} images, but {star.path} says that {counts[partial[0]]} are visible"
        raise DataError("COUNT-001", f"{message} of {n_frames[partial[0]]} tilts; is it of another job?")
    return row, frame, frame if stored == n_frames[partial[0]] else order


def _visibility(table: StarTable, n_frames: Int[np.ndarray, "m"]) -> list[np.ndarray]:
    """Whether each frame of each particle is visible."""
    if "rlnTomoVisibleFrames" not in table:
        return [np.ones(n, bool) for n in n_frames]
    visible = [np.array(text.strip("[]").split(",")) == "1" for text in table.texts("rlnTomoVisibleFrames")]
    for row, (flags, n) in enumerate(zip(visible, n_frames, strict=True)):
        if len(flags) != n:
            where = f"{table.path}, line {table.line_numbers[row]}"
            message = f"{where}: _rlnTomoVisibleFrames has {len(flags)} frames, the tilt series {n}"
            raise DataError("COUNT-001", f"{message}; do particles and tomograms belong together?")
    return visible


def _tomograms_star(star: StarFile, options: MetadataOptions) -> StarFile:
    """The tomogram file that was stated, or the only one beside the particle file."""
    if options.tomograms is not None:
        return read_star(require_companion(star.path, str(options.tomograms), options.datadir))
    beside = sorted(star.path.parent.glob("*tomograms.star"))
    if len(beside) == 1:
        return read_star(beside[0])
    met = f"{len(beside)} files *tomograms.star are" if beside else "no file *tomograms.star is"
    message = f"{star.path} has one row per particle of a tomogram; a tomograms star has the tilts, but {met}"
    raise DataError("TOMO-001", f"{message} beside it; open the optimisation set instead, or state tomograms")

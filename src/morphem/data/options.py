"""What the user states about a particle file, over and above the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MetadataOptions:
    """Files that belong to the particle file, and values that win over it."""

    datadir: Path | None = None
    """Folder to look in, before all others, for the stacks and files that the particle file names."""
    passthrough: tuple[Path, ...] = ()
    """cryoSPARC passthrough files, joined by uid; those beside the file are found unasked."""
    alignment_class: int | None = None
    """Class of alignments_class_k or alignments3D_multi to take poses of; default: the most probable."""
    tomograms: Path | None = None
    """RELION 5 tomograms.star, where no optimisation set names it."""
    poses: Path | None = None
    """cryoDRGN poses.pkl. For `reconstruct` also: refine (those of the file, made better first), abinit (from
    images alone), or a finished run's folder or another particle file of the same images."""
    ctf: Path | None = None
    """cryoDRGN ctf.pkl."""
    indices: Path | None = None
    """cryoDRGN ind.pkl: the images to keep."""
    pixel_size: float | None = None
    """Pixel size of the images, Å; wins over the file."""
    voltage_kv: float | None = None
    """Acceleration voltage, kV; wins over the file."""
    cs_mm: float | None = None
    """Spherical aberration, mm; wins over the file."""
    amplitude_contrast: float | None = None
    """Fraction, 0 to 1; wins over the file."""
    has_ctf: bool = True
    """Whether the images were filtered by a microscope; off for projections of a model."""
    allow_duplicates: bool = False
    """Accept the same image in several rows, as after symmetry expansion."""

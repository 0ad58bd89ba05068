"""Small finished runs on particle files of every kind, without running a method."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import Poses
from morphem.data.errors import MetadataWarning
from morphem.data.metadata import MetadataOptions
from morphem.data.mrc import write_stack
from morphem.data.stack import open_stack
from morphem.engine.reconstruction import Reconstruction, write_spread
from morphem.engine.run import open_run
from morphem.models.density import VoxelDensity
from morphem.models.gaussian_density import AnchoredMixture

BOX, PIXEL, LATENT = 16, 4.0, 3
STAR_HEAD = """# made by hand; this line must survive

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnImagePixelSize #3
_rlnImageSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
1 first   4.0 16 300 2.7 0.1
2 second  4.0 16 200 2.0 0.07

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnDefocusU #7
_rlnOpticsGroup #8
_rlnRandomSubset #9
_rlnClassNumber #10
_rlnComment #11
"""
STAR_TAIL = "\ndata_notes\n\n_kept  yes\n"


@dataclass(frozen=True)
class Settings:
    """Of no method."""

    seed: int = 0


def write_images(path: Path, count: int, box: int = BOX, seed: int = 0) -> None:
    """A stack of noise."""
    generator = torch.Generator().manual_seed(seed)
    write_stack(path, [torch.randn(count, box, box, generator=generator)], Grid(box, PIXEL))


def star_set(folder: Path, count: int = 12, box: int = BOX) -> Path:
    """Two stacks in a folder below the project, two optics groups, odd spacing and a quoted comment."""
    (folder / "Extract" / "job1").mkdir(parents=True)
    half = count // 2
    for k in (0, 1):
        write_images(folder / f"Extract/job1/mic{k}.mrcs", half, box, k)
    rng = np.random.default_rng(1)
    rows = []
    for i in range(count):
        rot, tilt, psi, x, y = rng.normal(size=5) * [90, 30, 90, 3, 3]
        name = f"{i % half + 1:06d}@Extract/job1/mic{i // half}.mrcs"
        rows.append(
            f"{name}   {rot:.7f} {tilt:.3f}\t{psi:.2f} {x:.4f} {y:.4f} {15000 + 7 * i}.125 "
            f'{i % 2 + 1} {i % 2 + 1} {i % 3 + 1} "row {i}"\n'
        )
    head = STAR_HEAD.replace(" 16 ", f" {box} ")
    (folder / "Refine").mkdir()
    path = folder / "Refine" / "particles.star"
    path.write_text(head + "".join(rows) + STAR_TAIL)
    return path


def cs_arrays(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A dataset of poses and CTF, and the passthrough with images, in another order and with more rows."""
    rng = np.random.default_rng(2)
    uid = rng.integers(2**63, 2**64, size=count, dtype=np.uint64)
    main = np.zeros(
        count,
        [
            ("uid", "<u8"),
            ("ctf/exp_group_id", "<u4"),
            ("ctf/accel_kv", "<f4"),
            ("ctf/cs_mm", "<f4"),
            ("ctf/amp_contrast", "<f4"),
            ("ctf/df1_A", "<f4"),
            ("ctf/df2_A", "<f4"),
            ("ctf/df_angle_rad", "<f4"),
            ("alignments3D/pose", "<f4", (3,)),
            ("alignments3D/shift", "<f4", (2,)),
            ("alignments3D/psize_A", "<f4"),
            ("alignments3D/split", "<u4"),
        ],
    )
    main["uid"], main["ctf/exp_group_id"] = uid, 1 + np.arange(count) % 2
    main["ctf/accel_kv"], main["ctf/cs_mm"], main["ctf/amp_contrast"] = 300, 2.7, 0.1
    main["ctf/df1_A"], main["ctf/df2_A"] = 15000 + np.arange(count), 14000 + np.arange(count)
    main["alignments3D/pose"] = rng.normal(size=(count, 3))
    main["alignments3D/shift"] = rng.normal(size=(count, 2))
    main["alignments3D/psize_A"], main["alignments3D/split"] = PIXEL, np.arange(count) % 2
    other = np.zeros(
        count + 1,
        [
            ("uid", "<u8"),
            ("blob/path", "S21"),
            ("blob/idx", "<u4"),
            ("blob/shape", "<u4", (2,)),
            ("blob/psize_A", "<f4"),
            ("blob/sign", "<f4"),
            ("location/center_x_frac", "<f4"),
        ],
    )
    order = rng.permutation(count + 1)
    other["uid"] = np.append(uid, np.uint64(7))[order]
    other["blob/path"], other["blob/idx"] = b">J1/extract/mic.mrc", np.append(np.arange(count), 0)[order]
    other["blob/shape"], other["blob/psize_A"], other["blob/sign"] = BOX, PIXEL, -1
    other["location/center_x_frac"] = rng.random(count + 1)
    return main, other


def save_cs(path: Path, array: np.ndarray) -> Path:
    """As cryoSPARC does."""
    with path.open("wb") as file:
        np.save(file, array)
    return path


def cs_set(folder: Path, count: int = 12) -> Path:
    """A refinement's particles in a cryoSPARC project: images are named by the passthrough alone."""
    for name in ("J1/extract", "J9"):
        (folder / name).mkdir(parents=True)
    write_images(folder / "J1/extract/mic.mrc", count)
    main, other = cs_arrays(count)
    save_cs(folder / "J9/J9_passthrough_particles.cs", other)
    return save_cs(folder / "J9/J9_particles.cs", main)


def mixture() -> AnchoredMixture:
    """Two parts: one at rest, one that moves with the latent."""
    torch.manual_seed(3)
    density = AnchoredMixture(40, 2, 4, LATENT, (8, 2), BOX * PIXEL)
    with torch.no_grad():
        density.offsets.uniform_(-0.1, 0.1)
        density.log_scales.fill_(float(np.log(0.05)))
        density.amplitudes.fill_(1.0)
        density.part[20:] = 1
        density.anchor_centres[0, 0], density.anchor_centres[1, 0] = -0.12, 0.12
        density.anchor_features.normal_()
        for parameter in density.motion.parameters():
            parameter.normal_(std=0.15)
    return density


def finished_run(
    folder: Path,
    path: Path,
    options: MetadataOptions | None = None,
    crop: int | None = None,
    density: str = "mixture",
    latent: int = LATENT,
) -> Path:
    """A run of no method on a particle file, finished; two groups of particles in its latents."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        stack = open_stack(path, options, crop)
    open_run(folder, Settings(), stack)
    generator = torch.Generator().manual_seed(4)
    count = stack.n_particles
    latents = 0.2 * torch.randn(count, latent, generator=generator)
    if latent:
        latents[:, 0] += torch.where(torch.arange(count) % 3 == 0, 2.0, -1.0)
        write_spread(folder, torch.eye(latent).expand(count, -1, -1) * 0.04)
    kind = mixture() if density == "mixture" else VoxelDensity(BOX, PIXEL)
    if isinstance(kind, VoxelDensity):
        kind.voxels.data[4:12, 5:11, 6:10] = 1.0
    rotation = random_rotations(len(stack), generator)
    poses = Poses(rotation, 2 * torch.randn(len(stack), 2, generator=generator))
    found = Reconstruction(poses, latents, kind, Grid(BOX, PIXEL))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".cs" or "Tomo" not in path.read_text(errors="replace"):
            found.save(folder, stack)
        else:
            # poses of tilts cannot be written back; a method that refines none keeps the file's
            Reconstruction(stack.poses, latents, kind, Grid(BOX, PIXEL)).save(folder, stack)
    return folder

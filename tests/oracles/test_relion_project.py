"""Projections made by relion_project, of a ribosome and of a point, at poses it wrote itself.

Files are read by starfile and mrcfile directly, so that nothing but the physics is judged.
"""

from __future__ import annotations

import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_euler
from morphem.core.types import Optics, Volume
from morphem.physics.imaging import form_image, phase_ramp
from morphem.physics.slices import central_slices


def column(table, name: str) -> torch.Tensor:
    return torch.tensor(np.array(table[name], dtype=np.float64))


def read_stack(path: Path) -> torch.Tensor:
    with mrcfile.open(path, permissive=True) as stack:
        return torch.from_numpy(np.array(stack.data, dtype=np.float64))


def poses(table) -> tuple[torch.Tensor, torch.Tensor]:
    angles = [torch.deg2rad(column(table, f"rlnAngle{name}")) for name in ("Rot", "Tilt", "Psi")]
    unit = "Angst" if "rlnOriginXAngst" in table else ""
    shift = -torch.stack([column(table, f"rlnOrigin{axis}{unit}") for axis in "XY"], -1)
    return from_euler(*angles), shift


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (x - x.mean((-2, -1), keepdim=True) for x in (a, b))
    return (a * b).sum((-2, -1)) / (a.norm(dim=(-2, -1)) * b.norm(dim=(-2, -1)))


def to_even_box(voxels: torch.Tensor) -> torch.Tensor:
    """The 65-voxel map on 64 voxels of the same extent, centre on centre: cut in Fourier space."""
    k, old, new = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (64, 65, 64))
    along = torch.exp(2j * math.pi * new[:, None] * k / 64) @ torch.exp(-2j * math.pi * k[:, None] * old / 65)
    for axis in range(3):
        voxels = torch.tensordot(along / 65, voxels.to(torch.complex128), dims=([1], [axis])).movedim(0, axis)
    return voxels.real


@pytest.fixture(scope="module")
def ribosome(shared_data) -> Volume:
    voxels = np.load(shared_data / "real/aspire/clean70SRibosome_vol.npy", allow_pickle=False)
    return Volume(to_even_box(torch.from_numpy(voxels)), Grid(64, 1.0))


@pytest.mark.parametrize("name", ["rln_proj_64_centered", "rln_proj_64_shifted"])
def test_a_ribosome_is_projected_as_by_relion(ribosome, shared_data, name):
    folder = shared_data / "real/aspire"
    rotation, shift = poses(starfile.read(folder / f"{name}.star", always_dict=True)["particles"])
    images = read_stack(folder / f"{name}.mrcs")
    found = to_real(central_slices(ribosome, rotation) * phase_ramp(shift, ribosome.grid))
    assert correlation(found, images).min() > 0.99995


@pytest.mark.parametrize("wrong", ["transposed", "mirrored", "shift negated", "shift swapped"])
def test_a_wrong_convention_does_not_pass(ribosome, shared_data, wrong):
    folder = shared_data / "real/aspire"
    table = starfile.read(folder / "rln_proj_64_shifted.star", always_dict=True)["particles"]
    rotation, shift = poses(table)
    images = read_stack(folder / "rln_proj_64_shifted.mrcs")
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    rotation = {"transposed": rotation.mT, "mirrored": rotation @ mirror}.get(wrong, rotation)
    shift = {"shift negated": -shift, "shift swapped": shift.flip(-1)}.get(wrong, shift)
    found = to_real(central_slices(ribosome, rotation) * phase_ramp(shift, ribosome.grid))
    assert correlation(found, images).mean() < 0.99


@pytest.fixture(scope="module")
def point(shared_data) -> Volume:
    return Volume(read_stack(shared_data / "real/simplecryoem/pointmass.mrc"), Grid(64, 3.54))


def optics(particles, groups) -> Optics:
    def group(name: str) -> torch.Tensor:
        return column(groups, name).expand(len(particles))

    return Optics(
        defocus_u=column(particles, "rlnDefocusU"),
        defocus_v=column(particles, "rlnDefocusV"),
        astigmatism=torch.deg2rad(column(particles, "rlnDefocusAngle")),
        voltage_kv=group("rlnVoltage"),
        cs_mm=group("rlnSphericalAberration"),
        amplitude_contrast=group("rlnAmplitudeContrast"),
        phase_shift=torch.deg2rad(column(particles, "rlnPhaseShift")),
        b_factor=column(particles, "rlnCtfBfactor"),
        scale=column(particles, "rlnCtfScalefactor"),
    )


def images_of(
    point: Volume, folder: Path, padding: int, **factors: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ours and relion_project's, both without the shell at Nyquist, of which it fills a part.

    ``factors`` multiply columns of the star file before we read it.
    """
    below = point.grid.shells() < point.grid.box // 2
    tables = starfile.read(folder / f"relion_proj_batch_pfac{padding}.star", always_dict=True)
    particles = tables["particles"]
    for name, factor in factors.items():
        particles[name] *= factor
    rotation, shift = poses(particles)
    projection = central_slices(point, rotation, padding)
    found = form_image(projection, optics(particles, tables["optics"]), shift, point.grid)
    theirs = to_fourier(read_stack(folder / f"relion_proj_batch_pfac{padding}.mrcs"))
    return to_real(found * below), to_real(theirs * below)


@pytest.mark.parametrize("padding", [2, 3])
def test_a_point_under_an_astigmatic_transfer_is_imaged_as_by_relion(point, shared_data, padding):
    found, theirs = images_of(point, shared_data / "real/simplecryoem", padding)
    assert correlation(found, theirs).min() > 0.99999  # same padding, hence the same interpolation
    # relion_project sums voxels where a projection here is an integral in Å
    assert torch.allclose(theirs * 3.54, found, atol=2e-3 * found.abs().max().item())


@pytest.mark.parametrize("column", ["rlnCtfScalefactor", "rlnDefocusAngle", "rlnOriginXAngst", "rlnAnglePsi"])
def test_an_image_with_one_sign_wrong_does_not_pass(point, shared_data, column):
    found, theirs = images_of(point, shared_data / "real/simplecryoem", 2, **{column: -1.0})
    assert correlation(found, theirs).mean() < 0.998

"""Atoms are summed as they should be, in images and maps, against sums written out in float64."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from morphem.core.fourier import to_fourier_3d, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import from_quaternion
from morphem.core.types import Frame
from morphem.data.atoms import Atoms
from morphem.data.errors import DataError
from morphem.simulate.atoms import AtomicMatter, electron_matter, gaussian_atoms
from morphem.simulate.gaussian_sums import exact_projections
from morphem.simulate.matter import GaussianMatter
from morphem.simulate.molecules import rigid

GRID = Grid(24, 3.0)
ELEMENTS = (6, 7, 8, 15, 16)


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    generator = np.random.default_rng(3)
    count = 60
    return Atoms(
        path=Path("made.pdb"),
        positions=generator.normal(0, 9, (count, 3)),
        element=np.array(ELEMENTS)[np.arange(count) % 5],
        occupancy=generator.uniform(0.5, 1, count),
        chain=np.full(count, "A"),
        residue=np.arange(count),
        name=np.full(count, "CA"),
    )


def _rotations(count: int) -> torch.Tensor:
    return from_quaternion(torch.randn(count, 4, generator=torch.Generator().manual_seed(1)))


def _summed(atoms: Atoms, there: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Every atom's wave at every frequency, with the tabulated factor of its element, in float64."""
    k = GRID.frequencies(dtype=torch.float64).numpy()
    out = np.zeros(k.shape[:2], complex)
    for position, number, weight in zip(atoms.positions, atoms.element, atoms.occupancy * there, strict=True):
        table = gemmi.Element(int(number)).c4322
        square = (k**2).sum(-1) / 4
        factor = sum(a * np.exp(-b * square) for a, b in zip(table.a, table.b, strict=True))
        out += weight * factor * np.exp(-2j * np.pi * (k @ (rotation @ position)[:2]))
    out[GRID.box // 2], out[:, -1] = 0, 0
    return out / GRID.pixel_size**2


def test_a_projection_is_the_sum_over_atoms(atoms: Atoms):
    there = np.where(np.arange(len(atoms)) % 7 == 0, 0.0, 1.0)  # some are absent
    matter, rotation = electron_matter(atoms), _rotations(3)
    positions = torch.from_numpy(atoms.positions).float().expand(3, -1, -1)
    presence = torch.from_numpy(there).float().expand(3, -1)
    found = matter.projections(positions, presence, rotation, GRID).numpy()
    expected = np.stack([_summed(atoms, there, r.double().numpy()) for r in rotation])
    assert np.abs(found - expected).max() < 3e-6 * np.abs(expected).max()  # float32 and the NUFFT's 1e-6


def test_atoms_of_one_element_need_no_partner(atoms: Atoms):
    alone = atoms.subset(atoms.element == 8)
    matter = electron_matter(alone)
    positions = torch.from_numpy(alone.positions).float()[None]
    found = matter.projections(positions, torch.ones(1, len(alone)), torch.eye(3)[None], GRID)[0].numpy()
    expected = _summed(alone, np.ones(len(alone)), np.eye(3))
    assert np.abs(found - expected).max() < 3e-6 * np.abs(expected).max()


def test_a_map_has_the_projections_as_its_central_slices(atoms: Atoms):
    """Along the axes, where slices of the voxels' transform lie on its grid."""
    matter = electron_matter(atoms, b_factor=40.0)
    positions, there = torch.from_numpy(atoms.positions).float(), torch.ones(len(atoms))
    spectrum = to_fourier_3d(matter.map(positions, there, GRID).voxels.double()) * GRID.pixel_size
    turns = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, -1, 0]]])
    image = matter.projections(positions.expand(2, -1, -1), there.expand(2, -1), turns, GRID)
    seen = [spectrum[0], spectrum[:, 0]]  # ky is the volume's y, then its z
    for one, other in zip(image, seen, strict=True):
        torch.testing.assert_close(one.to(other.dtype), other, atol=3e-6 * float(other.abs().max()), rtol=0)


def test_a_map_is_the_density_of_its_atoms(atoms: Atoms):
    """Wide Gaussian atoms, whose density needs no transform."""
    matter = gaussian_atoms(atoms, sigma=4.0)
    positions = torch.from_numpy(atoms.positions / 2)
    found = matter.map(positions, torch.ones(len(atoms)), GRID).voxels
    x = GRID.axis().double()
    z, y, x = torch.meshgrid(x, x, x, indexing="ij")
    away = torch.stack([x, y, z], -1)[..., None, :] - positions
    weight = matter.occupancy.double() / (2 * np.pi * 16) ** 1.5
    expected = (torch.exp(-away.square().sum(-1) / 32) * weight).sum(-1)
    torch.testing.assert_close(
        found, expected, atol=1e-4 * float(expected.max()), rtol=0
    )  # 1.5e-4 left at Nyquist


def test_gaussian_atoms_are_the_gaussians_of_the_closed_form(atoms: Atoms):
    sigma = 3.0
    matter, positions = gaussian_atoms(atoms, sigma), torch.from_numpy(atoms.positions).float()[None]
    rotation, there = _rotations(1), torch.ones(1, len(atoms))
    peak = matter.occupancy / (2 * torch.pi * sigma**2)
    twin = GaussianMatter(torch.full((len(atoms),), sigma), peak)
    expected = exact_projections(twin.mixture(positions, there), rotation, GRID)
    found = matter.projections(positions, there, rotation, GRID)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_a_b_factor_of_atoms_blurs_maps_and_images_alike(atoms: Atoms):
    sharp, blurred = electron_matter(atoms), electron_matter(atoms, b_factor=60.0)
    positions, there = torch.from_numpy(atoms.positions).float()[None], torch.ones(1, len(atoms))
    pair = [m.projections(positions, there, torch.eye(3)[None], GRID)[0] for m in (sharp, blurred)]
    envelope = torch.exp(-60.0 * GRID.frequencies().square().sum(-1) / 4)
    torch.testing.assert_close(pair[1], pair[0] * envelope, atol=1e-5 * float(pair[0].abs().max()), rtol=0)


def test_a_molecule_in_another_frame_is_the_molecule_moved(atoms: Atoms):
    molecule = rigid(atoms)
    turn, offset = _rotations(1)[0], torch.tensor([2.0, -3.0, 4.0])
    state = torch.zeros(1)
    moved = molecule.map(state, GRID, Frame(turn, offset))
    positions, there = molecule.points(state[None])
    expected = molecule.matter.map(positions[0] @ turn.T + offset, there[0], GRID)
    torch.testing.assert_close(moved.voxels, expected.voxels)


def test_an_element_without_factors_is_named(atoms: Atoms):
    strange = Atoms(**{**vars(atoms), "element": np.where(np.arange(60) < 2, [0, 118] * 30, atoms.element)})
    with pytest.raises(DataError, match=r"made\.pdb: no electron .* for atomic numbers 0, 118"):
        electron_matter(strange)


def test_the_cost_of_a_projection_grows_with_atoms_and_not_faster(atoms: Atoms):
    """Counted in what is handed to the transform: every atom once, absent ones not at all."""
    matter = electron_matter(atoms)
    rows = np.concatenate([own for own, _ in matter._pairs()])
    assert sorted(rows.tolist()) == list(range(len(atoms)))
    assert isinstance(matter, AtomicMatter)
    image = to_real(matter.projections(torch.zeros(1, 60, 3), torch.zeros(1, 60), torch.eye(3)[None], GRID))
    assert float(image.abs().max()) == 0

"""Bodies turn, travel, come and go as was asked, and what cannot be is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.fourier import to_fourier_3d
from morphem.core.grid import Grid
from morphem.core.rotations import from_quaternion, from_rotation_vector
from morphem.core.types import Frame, Volume
from morphem.data.atoms import Atoms
from morphem.data.errors import DataError
from morphem.data.mrc import write_map
from morphem.simulate.ensembles import Bodies
from morphem.simulate.files import load_ensemble, save_ensemble
from morphem.simulate.hinge import hinge
from morphem.simulate.maps import MapEnsemble
from morphem.simulate.molecules import (
    States,
    composition,
    frames,
    from_maps,
    refuse_clashes,
    rigid,
    table,
    torsion,
)

GRID = Grid(16, 5.0)


def _chain(spacing: float = 4.0) -> Atoms:
    """Twelve atoms along x; the last six are another chain and rise in y."""
    x = spacing * np.arange(12.0)
    y = np.where(np.arange(12) > 5, spacing * (np.arange(12) - 5), 0)
    return Atoms(
        path=Path("chain.pdb"),
        positions=np.stack([x, y, 0.3 * x], -1),
        element=np.full(12, 6),
        occupancy=np.ones(12),
        chain=np.array(["A"] * 6 + ["B"] * 6),
        residue=np.arange(12),
        name=np.full(12, "CA"),
    )


def test_a_torsion_turns_one_side_rigidly_about_the_bond():
    atoms, angles = _chain(), torch.tensor([0.0, 0.5, 2.0])
    molecule = torsion(atoms, (4, 5), atoms.select("B"), angles)
    before, after = (molecule.points(torch.tensor([[a]]))[0][0].double() for a in (0.0, 2.0))
    moving = torch.from_numpy(atoms.chain == "B")
    assert torch.equal(before[~moving], after[~moving])
    torch.testing.assert_close(
        torch.cdist(before[moving], before[moving]),
        torch.cdist(after[moving], after[moving]),
        atol=1e-4,
        rtol=0,
    )
    axis = torch.nn.functional.normalize(before[5] - before[4], dim=0)
    apart = [(part[moving] - before[4]) for part in (before, after)]
    apart = [part - (part @ axis)[:, None] * axis for part in apart]
    sine = torch.linalg.cross(apart[0], apart[1]) @ axis / apart[0].square().sum(1)
    torch.testing.assert_close(sine, torch.full_like(sine, math.sin(2.0)), atol=1e-4, rtol=0)  # right-handed


def test_steps_that_close_a_circle_are_circular_and_a_range_is_not():
    atoms = _chain()
    full = torsion(atoms, (4, 5), atoms.select("B"), torch.arange(8) * math.pi / 4)
    part = torsion(atoms, (4, 5), atoms.select("B"), (0.0, 1.0))
    assert [one.coordinates[0].kind for one in (full, part)] == ["circular", "linear"]
    drawn = part.states(torch.linspace(0, 1, 5)[:, None])
    torch.testing.assert_close(drawn[:, 0], torch.linspace(0, 1, 5))


def test_states_that_clash_are_named():
    folded = _chain(spacing=1.9)  # neighbours of a fold come closer than bonds are
    positions = np.array([[0, 0, 0], [20, 0, 0], [20, 20, 0], [0.5, 0.5, 30]], float)
    atoms = Atoms(
        **{**vars(folded.subset(np.arange(12) < 4)), "positions": positions, "chain": np.array(list("AAAB"))}
    )
    poses = Bodies(torch.eye(3).repeat(2, 2, 1, 1), torch.zeros(2, 2, 3), torch.ones(2, 2))
    poses.offset[1, 1, 2] = -29.5
    centres, labels = torch.from_numpy(positions).float(), torch.tensor([0, 0, 0, 1])
    with pytest.raises(DataError, match=r"state 1 rigid bodies clash: 1 pairs .* 0 in the file"):
        refuse_clashes(atoms, centres, labels, poses)
    refuse_clashes(atoms, centres, labels, poses[:1])


def test_a_table_moves_bodies_in_the_frame_of_the_file():
    atoms = _chain()
    turn = from_rotation_vector(torch.tensor([[0.3, -0.2, 0.9]]))[0]
    poses = Bodies(
        torch.stack([torch.eye(3), turn])[None], torch.tensor([[[0.0, 0, 0], [5, 6, 7]]]), torch.ones(1, 2)
    )
    molecule = table(atoms, np.array([0] * 6 + [1] * 6), poses, states=States(torch.tensor([1.0])))
    found, _ = molecule.points(torch.zeros(1, 1))
    positions = torch.from_numpy(atoms.positions).float()
    expected = torch.cat([positions[:6], positions[6:] @ turn.T + torch.tensor([5.0, 6, 7])])
    torch.testing.assert_close(found[0], expected - positions.mean(0), atol=1e-4, rtol=0)


def test_bodies_at_rest_and_their_poses_make_every_map():
    molecule = hinge()
    state = torch.tensor([[0.4, 1.0]])
    bodies = molecule.bodies(state)
    assert bodies is not None
    whole = sum(molecule.body_map(m, GRID).voxels for m in range(3))
    still = molecule.map(torch.tensor([0.0, 1.0]), GRID).voxels
    torch.testing.assert_close(whole, still, atol=1e-5 * float(still.max()), rtol=0)
    positions, _ = molecule.points(state)
    own = molecule.labels == 1
    placed = molecule.motion.rest()[own] @ bodies.rotation[0, 1].T + bodies.offset[0, 1]
    torch.testing.assert_close(positions[0][own], placed, atol=1e-4, rtol=0)


def test_a_composition_lacks_what_it_should_as_often_as_it_should():
    atoms = _chain()
    molecule = composition(atoms, {"x": "B:8-11", "y": "B"}, [["x"], ["x", "y"], []], [1, 1, 2])
    there = molecule.points(torch.tensor([[0.0], [1.0], [2.0]]))[1]
    assert there.sum(1).tolist() == [8, 6, 12]  # residues 6 and 7 belong to y alone
    states = molecule.states((torch.arange(4000)[:, None] + 0.5) / 4000)
    assert torch.bincount(states[:, 0].long()).tolist() == [1000, 1000, 2000]
    with pytest.raises(DataError, match="state 0 lacks z, which no block is called; the blocks are x, y"):
        composition(atoms, {"x": "B:8-11", "y": "B"}, [["z"]])
    with pytest.raises(DataError, match="2 counts were given for 1 states"):
        composition(atoms, {"x": "B"}, [["x"]], [1, 2])


def test_frames_are_met_in_order_and_every_point_moves_by_itself():
    atoms = _chain()
    path = atoms.positions + np.arange(5)[:, None, None] * np.random.default_rng(0).normal(size=(12, 3))
    molecule = frames(atoms, path)
    found, _ = molecule.points(torch.tensor([[3.0]]))
    expected = torch.from_numpy(path[3] - path.mean((0, 1))).float()
    torch.testing.assert_close(found[0], expected)
    assert molecule.bodies(torch.zeros(1, 1)) is None
    states, shares = molecule.landmarks(2)
    assert states[:, 0].tolist() == [0, 3]
    assert shares.tolist() == pytest.approx([0.4, 0.6])
    with pytest.raises(DataError, match=r"frames of 11 atoms do not belong to chain\.pdb with 12"):
        frames(atoms, path[:, :11])


def _blobs(count: int) -> torch.Tensor:
    """Smooth random maps that fade before the edge and before Nyquist."""
    noise = torch.randn(count, 16, 16, 16, generator=torch.Generator().manual_seed(2))
    r = GRID.axis()
    window = torch.exp(-(r[:, None, None] ** 2 + r[:, None] ** 2 + r**2) / (2 * 9.0**2))
    k = torch.fft.fftfreq(16)
    low = torch.exp(-(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) / (2 * 0.12**2))
    return torch.fft.ifftn(torch.fft.fftn(noise * window, dim=(1, 2, 3)) * low, dim=(1, 2, 3)).real


def test_a_slice_of_a_map_sums_every_voxel():
    voxels = _blobs(2)
    molecule = MapEnsemble("maps", voxels, 5.0, torch.tensor([0.5, 0.5]))
    rotation = from_quaternion(torch.randn(3, 4, generator=torch.Generator().manual_seed(5)))
    found = molecule.projections(torch.tensor([[1.0], [0.0], [1.0]]), rotation, GRID)
    r = GRID.axis().double()
    z, y, x = torch.meshgrid(r, r, r, indexing="ij")
    for image, turn, k in ((0, rotation[0], 1), (1, rotation[1], 0)):
        for row, column in ((1, 2), (14, 3), (0, 0)):
            plane = GRID.frequencies(dtype=torch.float64)[row, column]
            q = plane @ turn[:2].double()
            wave = torch.exp(-2j * math.pi * (x * q[0] + y * q[1] + z * q[2]))
            expected = complex((voxels[k] * wave).sum() * 5.0)
            assert abs(complex(found[image, row, column]) - expected) < 1e-4 * float(found.abs().max())


def test_a_map_in_another_frame_is_seen_as_from_another_side():
    molecule = MapEnsemble("maps", _blobs(1), 5.0, torch.ones(1))
    turn = from_quaternion(torch.randn(1, 4, generator=torch.Generator().manual_seed(6)))[0]
    placed = molecule.map(torch.zeros(1), GRID, Frame(turn, torch.zeros(3)))
    moved = MapEnsemble("moved", placed.voxels[None], 5.0, torch.ones(1))
    state, seen = (
        torch.zeros(1, 1),
        from_quaternion(torch.randn(1, 4, generator=torch.Generator().manual_seed(7))),
    )
    one, other = moved.projections(state, seen, GRID), molecule.projections(state, seen @ turn, GRID)
    assert float((one - other).norm() / other.norm()) < 0.02  # what reaches over the edge of the box


def test_a_map_on_its_own_grid_is_itself(tmp_path: Path):
    for k, voxels in enumerate(_blobs(2)):
        write_map(tmp_path / f"{k}.mrc", Volume(voxels, GRID))
    molecule = from_maps([tmp_path / "0.mrc", tmp_path / "1.mrc"], [3, 1])
    torch.testing.assert_close(molecule.map(torch.ones(1), GRID).voxels, _blobs(2)[1])
    assert molecule.shares.tolist() == pytest.approx([0.75, 0.25])
    spectrum = to_fourier_3d(_blobs(1)[0]) * 5.0
    image = molecule.projections(torch.zeros(1, 1), torch.eye(3)[None], GRID)[0]
    torch.testing.assert_close(
        image[:6, :6], spectrum[0, :6, :6], atol=1e-4 * float(spectrum.abs().max()), rtol=0
    )
    write_map(tmp_path / "other.mrc", Volume(torch.zeros(8, 8, 8), Grid(8, 5.0)))
    with pytest.raises(DataError, match=r"16 px of 5 Å, .*8 px of 5 Å"):
        from_maps([tmp_path / "0.mrc", tmp_path / "other.mrc"])


@pytest.mark.parametrize("kind", ["hinge", "rigid", "torsion", "range", "frames", "maps"])
def test_an_ensemble_survives_its_file(kind: str, tmp_path: Path):
    atoms = _chain()
    moving = atoms.select("B")
    ensemble = {
        "hinge": hinge,
        "rigid": lambda: rigid(atoms),
        "torsion": lambda: torsion(atoms, (4, 5), moving, torch.tensor([0.0, 1.0])),
        "range": lambda: torsion(atoms, (4, 5), moving, (0.0, 1.0)),
        "frames": lambda: frames(atoms, np.stack([atoms.positions, atoms.positions + 1])),
        "maps": lambda: MapEnsemble("maps", _blobs(2), 5.0, torch.tensor([0.5, 0.5])),
    }[kind]()
    save_ensemble(ensemble, tmp_path / "e.safetensors")
    again = load_ensemble(tmp_path / "e.safetensors")
    state = ensemble.states(torch.full((2, len(ensemble.coordinates)), 0.7))
    rotation = from_quaternion(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(again.projections(state, rotation, GRID), ensemble.projections(state, rotation, GRID))
    assert again.coordinates == ensemble.coordinates


def test_a_file_that_is_no_ensemble_is_named(tmp_path: Path):
    (tmp_path / "e.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match="does not hold an ensemble"):
        load_ensemble(tmp_path / "e.safetensors")

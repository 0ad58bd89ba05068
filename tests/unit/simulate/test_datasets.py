"""Data sets are the same however they are made: by one process or two, in one go or two, or on the fly."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from morphem.core.fourier import radial_mean, to_fourier
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.data.mrc import write_map
from morphem.data.stack import open_stack
from morphem.simulate import writing
from morphem.simulate.build import build
from morphem.simulate.datasets import plan, read_truth, write_dataset
from morphem.simulate.hinge import hinge
from morphem.simulate.options import RECIPES, TIERS, Conditions, Motion
from morphem.simulate.particles import Truth, photograph
from morphem.simulate.recipes import make
from morphem.simulate.semi_real import read_rows
from morphem.simulate.stack import simulated_stack

GRID = Grid(16, 16.0)
N = 1100  # five blocks


@pytest.fixture(scope="module")
def truth() -> Truth:
    return plan(hinge(), N, GRID, seed=2)


@pytest.fixture(scope="module")
def folder(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_dataset(folder, truth)
    return folder


def test_two_processes_make_the_same_files_as_one(truth: Truth, folder: Path, tmp_path: Path):
    write_dataset(tmp_path, truth, workers=2)
    for name in (
        "particles.mrcs",
        "particles.star",
        "truth/state000.mrc",
        "truth/mask.mrc",
        "truth/dataset.json",
    ):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_set_that_was_stopped_is_gone_on_with(
    truth: Truth, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[int] = []

    def stop_in_the_third_block(part: Truth) -> torch.Tensor:
        made.append(int(part.number[0]))
        if len(made) == 3:
            raise KeyboardInterrupt
        return photograph(part)

    monkeypatch.setattr(writing, "photograph", stop_in_the_third_block)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, truth)
    assert not (tmp_path / "particles.star").exists()
    assert not (tmp_path / "particles.mrcs").exists()
    write_dataset(tmp_path, truth)
    assert made == [0, 256, 512, 512, 768, 1024]  # nothing twice but what was not finished
    assert (tmp_path / "particles.mrcs").read_bytes() == (folder / "particles.mrcs").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["particles.mrcs", "particles.star", "truth"]


def test_a_finished_set_is_left_as_it_is(truth: Truth, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "photograph", None)
    before = (folder / "particles.mrcs").stat().st_mtime_ns
    write_dataset(folder, truth)
    assert (folder / "particles.mrcs").stat().st_mtime_ns == before


def test_another_set_in_the_folder_is_not_written_over(folder: Path, tmp_path: Path):
    with pytest.raises(DataError, match="holds another simulated data set"):
        write_dataset(folder, plan(hinge(), N, GRID, seed=3))
    (tmp_path / "particles.star").write_text("mine")
    with pytest.raises(DataError, match="holds particles already"):
        write_dataset(tmp_path, plan(hinge(), 4, GRID))


def test_images_made_as_they_are_read_are_those_on_disk(truth: Truth, folder: Path):
    made, written = simulated_stack(truth), open_stack(folder / "particles.star")
    rows = torch.tensor([1099, 3, 700])
    torch.testing.assert_close(made.read(rows).images, written.read(rows).images, atol=1e-5, rtol=0)
    assert torch.equal(made.half, written.half)
    torch.testing.assert_close(made.poses.shift, written.poses.shift, atol=1e-5, rtol=0)
    assert made.select(rows).images.name(0) == "simulated image 1099"
    assert made.images.fingerprint() != simulated_stack(plan(hinge(), N, GRID, seed=3)).images.fingerprint()


def test_one_image_of_many_costs_what_one_of_few_costs(monkeypatch: pytest.MonkeyPatch):
    """Counted in states that are projected: reading a row looks at no other."""
    seen: list[int] = []

    def noted(matter: object, positions: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(positions))
        return torch.zeros(len(positions), 16, 9, dtype=torch.complex64)

    for n in (50, 5000):
        stack = simulated_stack(plan(hinge(), n, GRID))
        kind = type(stack.images.truth.ensemble.matter)
        with monkeypatch.context() as patch:
            patch.setattr(
                kind,
                "projections",
                lambda self, p, *rest: seen.append(len(p)) or torch.zeros(len(p), 16, 9) + 0j,
            )
            stack.read(torch.tensor([n - 1]))
    assert seen == [1, 1]


def test_a_folder_without_truth_is_named(tmp_path: Path, folder: Path):
    with pytest.raises(DataError, match=r"has no truth/dataset\.json: it was not simulated"):
        read_truth(tmp_path)
    with pytest.raises(DataError, match="the folder is empty or missing"):
        read_truth(tmp_path / "absent")
    record = json.loads((folder / "truth" / "dataset.json").read_text())
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "dataset.json").write_text(json.dumps(record | {"schema": 1}))
    with pytest.raises(DataError, match="simulate the set again"):
        read_truth(tmp_path)


def test_readers_of_others_find_what_was_written(folder: Path, truth: Truth):
    tables = starfile.read(folder / "particles.star")
    assert list(tables) == ["optics", "particles"]
    assert len(tables["particles"]) == N
    assert tables["particles"]["rlnImageName"][41] == "000042@particles.mrcs"
    np.testing.assert_allclose(tables["particles"]["rlnDefocusU"], truth.optics.defocus_u, atol=0.01)
    with mrcfile.mmap(folder / "particles.mrcs") as stack:
        assert stack.is_image_stack()
        assert stack.data.shape == (N, 16, 16)
        assert float(stack.voxel_size.x) == pytest.approx(16.0)
        found = torch.from_numpy(np.array(stack.data[7]))
    torch.testing.assert_close(found, photograph(truth[torch.tensor([7])])[0], atol=1e-5, rtol=0)


def test_the_signal_to_noise_ratio_is_the_one_declared(folder: Path):
    record = json.loads((folder / "truth" / "dataset.json").read_text())
    truth = read_truth(folder)
    quiet = plan(truth.ensemble, 400, GRID, 2, Conditions(snr=1e6))
    ratio = photograph(quiet).var((-2, -1)).mean() / 1e6  # noise of variance 1 is nothing to it
    assert float(ratio) == pytest.approx(1, rel=0.05)
    shells = torch.tensor(record["spectral_snr"])
    clean = to_fourier(photograph(quiet)) * (0.1 / 1e6) ** 0.5
    expected = radial_mean(clean.abs().square(), GRID).mean(0) / 16**2
    torch.testing.assert_close(shells[1:6], expected[1:6], rtol=0.15, atol=0)


@pytest.fixture(scope="module")
def rows_of_others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A particle file of two optics groups with coloured noise, as if a microscope had made it."""
    folder = tmp_path_factory.mktemp("real")
    conditions = Conditions(snr=1e-3, noise_colour=30.0, log_defocus=9.4, voltage_kv=200.0)
    write_dataset(folder, plan(hinge(), 600, Grid(32, 8.0), 7, conditions))
    star = folder / "particles.star"
    text = star.read_text().replace("1 simulated ", "1 first ")
    head, _, rest = text.partition("1 first ")
    line, _, after = rest.partition("\n")
    lines = [f"{head}1 first {line}", f"2 second {line}"]
    body = after.splitlines()
    for k, row in enumerate(body):
        words = row.split()
        if len(words) > 8 and "@" in words[0] and int(words[0][:6]) > 400:
            body[k] = " ".join([words[0], "2", *words[2:]])
    star.write_text("\n".join(lines + body) + "\n")
    return star


def test_particles_can_be_put_on_the_rows_of_a_particle_file(rows_of_others: Path, tmp_path: Path):
    rows = read_rows(rows_of_others, measure_noise=True)
    truth = plan(hinge(), 500, rows.grid, 1, Conditions(snr=0.05), rows)
    star = write_dataset(tmp_path, truth)
    ours, theirs = open_stack(star), open_stack(rows_of_others)
    torch.testing.assert_close(ours.poses.rotation, theirs.poses.rotation[:500], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.poses.shift, theirs.poses.shift[:500], atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.optics.defocus_u, theirs.optics.defocus_u[:500], atol=0.01, rtol=0)
    assert torch.equal(ours.optics.voltage_kv, torch.full((500,), 200.0))
    assert torch.equal(ours.group, theirs.group[:500])
    again = read_truth(tmp_path)
    assert torch.equal(again.poses.rotation, truth.poses.rotation)
    assert torch.equal(photograph(again[torch.tensor([450])]), photograph(truth[torch.tensor([450])]))


def test_noise_has_the_spectrum_of_the_particle_files_background(rows_of_others: Path):
    rows = read_rows(rows_of_others, box=16, measure_noise=True)
    truth = plan(hinge(), 300, rows.grid, 1, Conditions(snr=1e-9), rows)
    assert rows.grid == Grid(16, 16.0)
    power = radial_mean(to_fourier(photograph(truth)).abs().square(), rows.grid).mean(0)
    expected = 30.0 ** -((6 - 2) / 16)  # shells 2 and 6, of 16 to their Nyquist
    assert float(power[6] / power[2]) == pytest.approx(expected, rel=0.15)
    assert float(photograph(truth).var()) == pytest.approx(1, rel=0.05)


def test_more_images_than_rows_and_unknown_boxes_are_refused(rows_of_others: Path):
    rows = read_rows(rows_of_others)
    with pytest.raises(ValueError, match="601 images asked for, the particle file has 600 rows"):
        plan(hinge(), 601, rows.grid, rows=rows)


def test_every_particle_file_at_hand_can_be_simulated_on(shared_data: Path):
    real = shared_data / "real"
    found = [*sorted(real.rglob("*.star"))[:12], *sorted(real.rglob("*.cs"))[:6]]
    simulated = 0
    for path in found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                rows = read_rows(path, box=16)
            except DataError:
                continue  # no particles, or a broken file, of which the reader's own tests speak
            images = photograph(plan(hinge(), min(4, len(rows)), rows.grid, rows=rows))
        assert bool(images.isfinite().all()), path
        simulated += 1
    assert simulated >= 5


def test_recipes_are_those_of_the_benchmark(shared_data: Path):
    structures = shared_data / "structures"
    known = np.load(structures / "igg1d_recipe.npz")
    molecule = make("igg-1d", structures)
    assert np.array_equal(molecule.labels.numpy() == 1, known["moving"])
    angle = np.deg2rad(known["angles_deg"][30])
    axis, x = known["axis_dir"], known["xyz"].astype(float)
    away = x[known["moving"]] - known["axis_point"]
    turned = (
        away * np.cos(angle)
        + np.cross(axis, away) * np.sin(angle)
        + np.outer(away @ axis, axis) * (1 - np.cos(angle))
    )
    expected = x.copy()
    expected[known["moving"]] = turned + known["axis_point"]
    found, _ = molecule.points(torch.tensor([[angle]], dtype=torch.float32))
    np.testing.assert_allclose(found[0], expected - x.mean(0), atol=2e-4)  # float32 angles, 100 Å out
    assert molecule.coordinates[0].kind == "circular"
    states, shares = molecule.landmarks(5)
    assert len(states) == 100
    assert float(shares.sum()) == pytest.approx(1)


def test_the_assembling_ribosome_has_its_blocks_and_counts(shared_data: Path):
    structures = shared_data / "structures"
    stated = json.loads((structures / "ribosembly_like_states.json").read_text())
    molecule = make("ribosembly", structures)
    _, shares = molecule.landmarks(1)
    counts = torch.tensor(stated["counts"]).float()
    torch.testing.assert_close(shares, counts / counts.sum())
    _, there = molecule.points(torch.tensor([[0.0], [13.0], [15.0]]))
    assert there[2].min() == 1
    assert float(there[0].sum()) < float(there[1].sum()) < float(there[2].sum()) == 89303
    ratcheting = make("ratchet", structures)
    still, most = (ratcheting.points(torch.tensor([[a]]))[0][0] for a in (0.0, float(np.deg2rad(10))))
    assert torch.equal(still[ratcheting.labels == 0], most[ratcheting.labels == 0])
    assert 10 < float((still - most).norm(dim=1).max()) < 30


def test_what_a_recipe_needs_is_said(tmp_path: Path):
    with pytest.raises(DataError, match=r"needs 1hzh\.pdb or 1hzh\.cif"):
        make("igg-1d")
    with pytest.raises(DataError, match=r"has no 1hzh\.pdb and no 1hzh\.cif"):
        make("igg-1d", tmp_path)
    assert set(RECIPES) == {"hinge", "igg-1d", "igg-rl", "ribosembly", "ratchet"}
    assert {name: (tier.box, tier.images) for name, tier in TIERS.items()}["small"] == (64, 10_000)


PDB_LINE = "ATOM  {0:5d}  CA  ALA {1}{0:4d}    {2:8.3f}{3:8.3f}{4:8.3f}  1.00  0.00           C\n"


@pytest.fixture
def pdb(tmp_path: Path) -> Path:
    path = tmp_path / "two_chains.pdb"
    rows = [(k + 1, "AB"[k > 5], 4.0 * k, 4.0 * max(0, k - 5), 0.0) for k in range(12)]
    path.write_text("".join(PDB_LINE.format(*row) for row in rows) + "END\n")
    return path


def test_a_structure_with_a_motion_becomes_an_ensemble(pdb: Path, tmp_path: Path):
    assert build([str(pdb)]).landmarks(1)[0].shape == (1, 1)
    turning = (
        build([str(pdb)], Motion(torsion="A:5:CA:CA".replace("5:CA:CA", "5:CA:CA"), moving="B", steps=6))
        if 0
        else None
    )
    assert turning is None
    blocks = tmp_path / "blocks.json"
    blocks.write_text(json.dumps({"blocks": {"b": "B"}, "missing": [["b"], []], "counts": [1, 3]}))
    assert build([str(pdb)], Motion(blocks=blocks)).landmarks(1)[1].tolist() == [0.25, 0.75]
    poses = tmp_path / "poses.npz"
    eye = np.tile(np.eye(3), (2, 2, 1, 1))
    offset = np.zeros((2, 2, 3))
    offset[1, 1, 2] = 9.0
    body = (np.arange(12) > 5).astype(int)
    np.savez(poses, rotation=eye, offset=offset, body=body)
    moved = build([str(pdb)], Motion(table=poses)).points(torch.tensor([[0.0], [1.0]]))[0]
    assert (moved[1] - moved[0])[:, 2].tolist() == [0] * 6 + [9] * 6
    volume = Volume(torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0)), Grid(8, 5.0))
    write_map(tmp_path / "m.mrc", volume)
    assert build([str(tmp_path / "m.mrc")]).points(torch.zeros(1, 1))[0].shape == (1, 0, 3)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["nothing"], "nothing is no recipe"),
        (["absent.pdb"], r"absent\.pdb does not exist"),
        (["a.pdb", "b.pdb"], "one recipe, one structure"),
    ],
)
def test_what_cannot_be_simulated_is_named(sources: list[str], said: str):
    with pytest.raises(DataError, match=said):
        build(sources)


def test_motions_that_contradict_themselves_are_refused(pdb: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="torsion and blocks were asked for"):
        Motion(torsion="A:1:CA:C", moving="B", blocks=tmp_path / "b.json")
    with pytest.raises(ValueError, match="belong together"):
        Motion(torsion="A:1:CA:C")
    with pytest.raises(DataError, match="write chain:residue"):
        build([str(pdb)], Motion(torsion="A:x", moving="B"))
    with pytest.raises(DataError, match="has no chain Z; its chains are A B"):
        build([str(pdb)], Motion(select="Z"))
    broken = tmp_path / "poses.npz"
    stretched = 1.1 * np.tile(np.eye(3), (1, 1, 1, 1))
    np.savez(broken, rotation=stretched, offset=np.zeros((1, 1, 3)), body=np.zeros(12, int))
    with pytest.raises(DataError, match=r"rotation of state 0, body 0 is"):
        build([str(pdb)], Motion(table=broken))
    np.savez(broken, rotation=np.eye(3)[None, None], offset=np.zeros((1, 1, 3)), body=np.ones(12, int))
    with pytest.raises(DataError, match="12 atoms ride on 1 bodies"):
        build([str(pdb)], Motion(table=broken))


def test_a_trajectory_file_is_read_frame_by_frame(tmp_path: Path):
    md = pytest.importorskip("mdtraj")
    topology = tmp_path / "two_chains.pdb"
    rows = [(k + 1, "A", 4.0 * k, 0.0, 0.0) for k in range(5)]
    topology.write_text("".join(PDB_LINE.format(*row) for row in rows) + "END\n")
    first = md.load(str(topology))
    path = first.xyz + np.arange(3)[:, None, None] * 0.1 * np.arange(5)[:, None]
    md.Trajectory(path, first.topology).save_dcd(str(tmp_path / "moves.dcd"))
    ensemble = build([str(topology)], Motion(trajectory=tmp_path / "moves.dcd"))
    found = ensemble.points(torch.tensor([[0.0], [1.0], [2.0]]))[0]
    spread = (found[:, 4] - found[:, 0]).norm(dim=1)
    expected = [float(np.linalg.norm(10 * (frame[4] - frame[0]))) for frame in path]
    assert spread.tolist() == pytest.approx(expected, abs=1e-3)  # Å, from nm

"""Star files that go back to RELION, read again by starfile and by this package."""

from __future__ import annotations

import os
import shutil
import warnings

import numpy as np
import pytest
import starfile
import torch

from finished import BOX, LATENT, PIXEL, cs_set, finished_run, star_set, write_images
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.metadata import MetadataOptions
from morphem.data.stack import open_stack
from morphem.report.export import ExportOptions, export
from morphem.report.export.source import chosen_particles

COUNT = 12
ROWS = np.array([1, 2, 5, 6, 11])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    finished_run(folder / "Morphem/run", star_set(folder))
    return folder


@pytest.fixture
def project(original, tmp_path):
    """A project of its own for each test: the run has to be told where its particles are."""
    return shutil.copytree(original, tmp_path / "project")


def star_of(folder, name="sub.star", rows=ROWS, **how):
    particles = folder / "Refine/particles.star"
    options = ExportOptions(**how)
    return export(folder / "Morphem/run", "star", folder / "Select" / name, rows, particles, options)


def same_images(one, rows, other):
    """Whether the images of ``other`` are rows of ``one``, bit for bit."""
    return torch.equal(one.read(torch.from_numpy(rows)).images, other.read(torch.arange(len(other))).images)


def test_the_subset_read_again_is_the_same_particles_bit_for_bit(project):
    whole, again = open_stack(project / "Refine/particles.star"), open_stack(star_of(project))
    assert len(again) == len(ROWS)
    assert same_images(whole, ROWS, again)
    for record in ("poses", "optics"):
        for name, values in vars(getattr(whole, record)).items():
            assert torch.equal(values[ROWS], getattr(getattr(again, record), name)), name
    assert torch.equal(whole.half[ROWS], again.half)


def test_rows_blocks_and_comments_keep_every_character(project):
    before = (project / "Refine/particles.star").read_text().splitlines()
    after = star_of(project).read_text().splitlines()
    rows = [line for line in before if "@Extract" in line]
    kept = [line for line in after if "@Extract" in line]
    assert [new.startswith(old) for new, old in zip(kept, np.array(rows)[ROWS], strict=True)] == [True] * 5
    others = [line for line in after if "@Extract" not in line and "_morphem" not in line]
    assert others == [line for line in before if "@Extract" not in line]


def test_every_particle_exported_is_the_original_with_columns_at_its_end(project):
    before = (project / "Refine/particles.star").read_text()
    after = star_of(project, rows=None).read_text()
    labels = [line.split()[0] for line in after.splitlines() if line.startswith("_morphem")]
    words = 2 * LATENT + 2
    assert len(labels) == words
    lines = [line for line in after.splitlines() if not line.startswith("_morphem")]
    cut = [" ".join(line.split(" ")[:-words]) if "@" in line else line for line in lines]
    assert "\n".join(cut) + "\n" == before


def test_starfile_reads_latents_states_clusters_and_uncertainties(project):
    tables = starfile.read(star_of(project))
    found = tables["particles"]
    run = project / "Morphem/run"
    z, std = np.load(run / "latents.npy")[ROWS], np.load(run / "latents_std.npy")[ROWS]
    for k in range(LATENT):
        np.testing.assert_array_equal(found[f"morphemLatent{k + 1}"].astype(np.float32), z[:, k])
        np.testing.assert_array_equal(found[f"morphemUncertainty{k + 1}"].astype(np.float32), std[:, k])
    assert set(found["morphemState"]) <= {1, 2, 3, 4, 5}
    assert found["morphemCluster"].min() >= 1
    assert found["rlnClassNumber"].tolist() == [i % 3 + 1 for i in ROWS]
    assert len(tables["optics"]) == 2


def test_states_of_the_file_part_the_latents(project):
    found = starfile.read(star_of(project, rows=None, states=2))["particles"]
    z1 = found["morphemLatent1"].to_numpy()
    np.testing.assert_array_equal(found["morphemState"].to_numpy() == 2, z1 > 0.5)


def test_names_that_lead_to_their_stacks_are_untouched(project):
    names = starfile.read(star_of(project))["particles"]["rlnImageName"]
    assert names[0] == "000002@Extract/job1/mic0.mrcs"


def test_names_that_lead_nowhere_become_whole_paths(project, tmp_path):
    out = tmp_path / "elsewhere" / "sub.star"
    export(project / "Morphem/run", "star", out, ROWS, project / "Refine/particles.star")
    name = starfile.read(out)["particles"]["rlnImageName"][0]
    assert name == f"000002@{project / 'Extract/job1/mic0.mrcs'}"
    assert same_images(open_stack(project / "Refine/particles.star"), ROWS, open_stack(out))


def test_names_can_be_relative_to_the_folder_that_relion_starts_in(project):
    deeper = project / "Extract"
    first, second = star_of(project, project=deeper), star_of(project, name="other.star", project=project)
    assert starfile.read(first)["particles"]["rlnImageName"][0] == "000002@job1/mic0.mrcs"
    assert starfile.read(second)["particles"]["rlnImageName"][0] == "000002@Extract/job1/mic0.mrcs"


def test_poses_are_the_files_unless_the_runs_are_asked_for(project):
    whole = open_stack(project / "Refine/particles.star")
    kept = open_stack(star_of(project))
    found = open_stack(star_of(project, name="found.star", with_poses=True))
    run = chosen_particles(project / "Morphem/run", ROWS, project / "Refine/particles.star")
    assert torch.equal(kept.poses.rotation, whole.poses.rotation[ROWS])
    torch.testing.assert_close(found.poses.rotation, run.poses.rotation, atol=1e-6, rtol=0)  # six decimals
    torch.testing.assert_close(found.poses.shift, run.poses.shift, atol=1e-6, rtol=0)
    assert same_images(whole, ROWS, found)


def test_corrected_defoci_are_written_with_poses_alone(project):
    defoci = 20_000 + 10.0 * np.arange(2 * COUNT, dtype=np.float32).reshape(COUNT, 2)
    np.save(project / "Morphem/run/defocus.npy", defoci)
    whole = open_stack(project / "Refine/particles.star").optics.defoci
    kept, found = (open_stack(star_of(project, with_poses=each)).optics.defoci for each in (False, True))
    assert torch.equal(kept, whole[ROWS])
    torch.testing.assert_close(found, torch.from_numpy(defoci[ROWS]).to(found))


def test_a_cropped_run_exports_the_images_at_their_full_size(tmp_path):
    path = star_set(tmp_path, box=BOX + 8)
    run = finished_run(tmp_path / "run", path, crop=BOX)
    again = open_stack(export(run, "star", tmp_path / "sub.star", ROWS))
    assert again.grid.box == BOX + 8
    assert same_images(open_stack(path), ROWS, again)


def test_a_run_finds_its_particles_by_itself(tmp_path):
    path = star_set(tmp_path)
    run = finished_run(tmp_path / "run", path)
    assert len(open_stack(export(run, "star", tmp_path / "sub.star", ROWS))) == len(ROWS)


def test_a_missing_original_is_told_with_the_way_out_and_a_moved_one_is_taken(tmp_path):
    path = star_set(tmp_path)
    run = finished_run(tmp_path / "run", path)
    moved = path.rename(tmp_path / "renamed.star")
    with pytest.raises(DataError, match=r"PATH-005 .*was made of .*particles\.star.*\(--particles\)"):
        export(run, "star", tmp_path / "sub.star", ROWS)
    assert not (tmp_path / "sub.star").exists()
    assert len(open_stack(export(run, "star", tmp_path / "sub.star", ROWS, moved))) == len(ROWS)


def test_other_particles_are_not_taken_for_the_original(tmp_path):
    run = finished_run(tmp_path / "run", star_set(tmp_path / "one"))
    other = star_set(tmp_path / "two", COUNT + 2)
    with pytest.raises(DataError, match="PATH-006"):
        export(run, "star", tmp_path / "sub.star", ROWS, other)


def test_the_original_is_never_replaced(project):
    path = project / "Refine/particles.star"
    before = path.read_bytes()
    link = project / "link.star"
    link.symlink_to(path)
    for out in (path, link):
        with pytest.raises(DataError, match=r"PATH-004 .*would replace an original"):
            export(project / "Morphem/run", "star", out, ROWS, path)
    with pytest.raises(DataError, match=r"PATH-004 .*a file of the run itself"):
        export(project / "Morphem/run", "star", project / "Morphem/run/particles.star", ROWS, path)
    assert path.read_bytes() == before


def test_a_failure_leaves_nothing_half_written(project, monkeypatch):
    def full(*words, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("morphem.report.export.relion.write_metadata", full)
    with pytest.raises(OSError, match="No space"):
        star_of(project)
    assert list((project / "Select").iterdir()) == []


def test_particles_of_cryosparc_are_not_made_up_for_relion(tmp_path):
    run = finished_run(tmp_path / "run", cs_set(tmp_path))
    with pytest.raises(DataError, match=r"EXPORT-001 .*no star file.*--to cs or csg"):
        export(run, "star", tmp_path / "sub.star", ROWS)


def test_columns_of_an_earlier_run_are_replaced(project):
    first = star_of(project, rows=None)
    run = finished_run(project / "Morphem/second", first)
    latents = np.load(run / "latents.npy") + 1
    np.save(run / "latents.npy", latents)
    found = starfile.read(export(run, "star", project / "Select/second.star", ROWS))["particles"]
    np.testing.assert_array_equal(found["morphemLatent1"].astype(np.float32), latents[ROWS, 0])
    assert list(found.columns).count("morphemLatent1") == 1


TOMO_STAR = """
data_optics

loop_
_rlnOpticsGroup
_rlnOpticsGroupName
_rlnImagePixelSize
_rlnImageSize
_rlnTomoTiltSeriesPixelSize
1 one 4.0 16 2.0

data_particles

loop_
_rlnTomoName
_rlnAngleRot
_rlnAngleTilt
_rlnAnglePsi
_rlnOriginXAngst
_rlnOriginYAngst
_rlnOriginZAngst
_rlnOpticsGroup
_rlnImageName
_rlnTomoVisibleFrames
_rlnRandomSubset
"""
TOMOGRAMS = """
data_global

loop_
_rlnTomoName
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnTomoHand
TS_1 300 2.7 0.07 -1

data_TS_1

loop_
_rlnTomoYTilt
_rlnDefocusU
_rlnMicrographPreExposure
-40 20000 6
0 20500 0
30 20700 3
"""


@pytest.fixture
def tomography(tmp_path):
    """Six particles of three tilts, of which the last particle misses one; an optimisation set."""
    for folder in ("Particles", "Tomograms", "Refine"):
        (tmp_path / folder).mkdir()
    rows = ""
    for i in range(6):
        seen = 2 if i == 5 else 3
        write_images(tmp_path / f"Particles/p{i}.mrcs", seen, seed=i)
        frames = "[0,1,1]" if i == 5 else "[1,1,1]"
        rows += f"TS_1 {10 * i} 20 30 1 2 3 1 Particles/p{i}.mrcs {frames} {i % 2 + 1}\n"
    (tmp_path / "Refine/run_data.star").write_text(TOMO_STAR + rows)
    (tmp_path / "Tomograms/tomograms.star").write_text(TOMOGRAMS)
    listed = "_rlnTomoParticlesFile Refine/run_data.star\n_rlnTomoTomogramsFile Tomograms/tomograms.star\n"
    (tmp_path / "Refine/set.star").write_text(f"\ndata_\n\n{listed}")
    return tmp_path


@pytest.mark.parametrize("start", ["Refine/set.star", "Refine/run_data.star"])
def test_a_tilt_series_subset_keeps_all_images_of_its_particles(tomography, start):
    path, options = tomography / start, MetadataOptions()
    if start.endswith("data.star"):
        options = MetadataOptions(tomograms=tomography / "Tomograms/tomograms.star")
    run = finished_run(tomography / "run", path, options, density="voxels")
    export(run, "star", tomography / "Select/sub.star", np.array([0, 3, 5]))
    again = open_stack(tomography / "Select/sub_optimisation_set.star")
    whole = open_stack(path, options)
    images = np.flatnonzero(np.isin(whole.particle.numpy(), [0, 3, 5]))
    assert len(images) == len(again) == 8
    assert again.particle.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert same_images(whole, images, again)
    assert torch.equal(whole.poses.rotation[images], again.poses.rotation)
    found = starfile.read(tomography / "Select/sub.star")["particles"]
    latents = np.load(run / "latents.npy")[[0, 3, 5]]
    np.testing.assert_array_equal(found["morphemLatent1"].astype(np.float32), latents[:, 0])
    named = starfile.read(tomography / "Select/sub_optimisation_set.star")
    assert os.path.samefile(named["rlnTomoParticlesFile"], tomography / "Select/sub.star")
    assert named["rlnTomoTomogramsFile"] in ("Tomograms/tomograms.star", str(options.tomograms))


def test_poses_of_tilts_cannot_be_written_to_rows_of_particles(tomography):
    run = finished_run(tomography / "run", tomography / "Refine/set.star", density="voxels")
    with pytest.raises(DataError, match="TOMO-003"):
        export(run, "star", tomography / "sub.star", None, None, ExportOptions(with_poses=True))
    assert not (tomography / "sub.star").exists()


def test_rows_of_tilts_stay_together(tmp_path):
    write_images(tmp_path / "tilts.mrcs", 9)
    labels = ["ImageName", "GroupName", "AngleRot", "AngleTilt", "AnglePsi", "DefocusU", "CtfBfactor"]
    labels += ["ImagePixelSize", "Voltage", "SphericalAberration", "AmplitudeContrast"]
    head = "data_particles\n\nloop_\n" + "".join(f"_rln{label} #{k}\n" for k, label in enumerate(labels, 1))
    rows = [
        f"{i + 1:06d}@tilts.mrcs ts_{i % 3} {i} 30 40 15000 {-4.0 * i} {PIXEL} 300 2.7 0.1\n"
        for i in range(9)
    ]
    path = tmp_path / "particles.star"
    path.write_text(head + "".join(rows))
    run = finished_run(tmp_path / "run", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)
        again = open_stack(export(run, "star", tmp_path / "sub.star", np.array([1])))
    assert again.particle.tolist() == [0, 0, 0]
    assert same_images(open_stack(path), np.array([1, 4, 7]), again)
    names = starfile.read(tmp_path / "sub.star")["rlnGroupName"]
    assert set(names) == {"ts_1"}

"""Tilt images of RELION 5, WarpTools and Warp: one pose, focus and dose per tilt, one id per particle."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from morphem.core.types import Poses
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.metadata import MetadataOptions, read_metadata, write_metadata
from morphem.data.star import read_star

WARP = "real/tomodrgn/warptools_test_4-tomos_10-ptcls_box-32_angpix-12"
TILTS = (-40.0, 0.0, 30.0)
OPTICS = """data_optics

loop_
_rlnOpticsGroup
_rlnOpticsGroupName
_rlnImagePixelSize
_rlnImageSize
_rlnTomoTiltSeriesPixelSize
_rlnCtfDataAreCtfPremultiplied
1 one 8.0 32 2.0 1
"""
PARTICLES = """
data_particles

loop_
_rlnTomoName
_rlnTomoSubtomogramRot
_rlnTomoSubtomogramTilt
_rlnTomoSubtomogramPsi
_rlnAngleRot
_rlnAngleTilt
_rlnAnglePsi
_rlnOriginXAngst
_rlnOriginYAngst
_rlnOriginZAngst
_rlnCenteredCoordinateXAngst
_rlnCenteredCoordinateYAngst
_rlnCenteredCoordinateZAngst
_rlnOpticsGroup
_rlnImageName
_rlnTomoVisibleFrames
_rlnRandomSubset
TS_1 10 20 30 40 50 60 1 2 3 100 200 300 1 one.mrcs [1,1,1] 1
TS_1 0 0 0 70 80 90 0 0 0 0 0 -50 1 two.mrcs [0,1,1] 2
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
_rlnTomoXTilt
_rlnTomoYTilt
_rlnTomoZRot
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnCtfScalefactor
_rlnMicrographPreExposure
0.5 -40 85 20000 21000 10 0.7 6
0.5 0 85 20500 21500 20 1.0 0
0.5 30 85 20700 21700 30 0.8 3
"""
SET = """
data_

_rlnTomoParticlesFile  Refine3D/job1/run_data.star
_rlnTomoTomogramsFile  Tomograms/tomograms.star
_rlnTomoTrajectoriesFile  ""
"""


@pytest.fixture
def project(tmp_path):
    """A RELION project with the optimisation set two folders below its root."""
    job, tomograms = tmp_path / "Refine3D/job1", tmp_path / "Tomograms"
    job.mkdir(parents=True)
    tomograms.mkdir()
    (job / "run_data.star").write_text(OPTICS + PARTICLES)
    (job / "set.star").write_text(SET)
    (tomograms / "tomograms.star").write_text(TOMOGRAMS)
    return tmp_path


def zyz(angles):
    return Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()


def tilt_matrices():
    """Rz(85°) Ry(tilt) Rx(0.5°), by scipy's fixed axes."""
    return np.stack([Rotation.from_euler("xyz", [0.5, t, 85], degrees=True).as_matrix() for t in TILTS])


def test_only_visible_frames_are_images_and_share_their_particle(project):
    metadata = read_metadata(project / "Refine3D/job1/set.star")
    assert metadata.particle.tolist() == metadata.row.tolist() == [0, 0, 0, 1, 1]
    assert metadata.half.tolist() == [1, 1, 1, 2, 2]
    assert metadata.premultiplied.all()
    assert [metadata.files[k] for k in metadata.file_index] == ["one.mrcs"] * 3 + ["two.mrcs"] * 2


def test_a_pose_is_tilt_after_subtomogram_after_particle(project):
    metadata = read_metadata(project / "Refine3D/job1/set.star")
    tilts = tilt_matrices()
    first = tilts @ zyz([10, 20, 30]) @ zyz([40, 50, 60])
    second = tilts[1:] @ zyz([70, 80, 90])
    np.testing.assert_allclose(metadata.rotation, np.concatenate([first, second]), atol=1e-12)


def test_an_origin_offset_is_seen_from_each_tilt(project):
    metadata = read_metadata(project / "Refine3D/job1/set.star")
    seen = -tilt_matrices() @ zyz([10, 20, 30]) @ np.array([1.0, 2, 3])
    np.testing.assert_allclose(metadata.shift[:3], seen[:, :2], atol=1e-12)
    assert not metadata.shift[3:].any()


def test_defocus_follows_the_height_of_the_particle_and_the_hand(project):
    metadata = read_metadata(project / "Refine3D/job1/set.star")
    height = (tilt_matrices() @ np.array([100.0, 200, 300]))[:, 2]
    np.testing.assert_allclose(metadata.optics.defocus_u[:3].numpy(), [20000, 20500, 20700] - height)
    np.testing.assert_allclose(metadata.optics.defocus_v[:3].numpy(), [21000, 21500, 21700] - height)


def test_scale_dose_and_astigmatism_are_those_of_the_tilt(project):
    optics = read_metadata(project / "Refine3D/job1/set.star").optics
    assert optics.scale.tolist() == [0.7, 1.0, 0.8, 1.0, 0.8]
    assert optics.b_factor.tolist() == [24, 0, 12, 0, 12]  # 4 Å² per e/Å²
    np.testing.assert_allclose(optics.astigmatism.numpy(), np.radians([10, 20, 30, 20, 30]))
    assert optics.voltage_kv.tolist() == [300] * 5


@pytest.mark.parametrize(("stored", "expected"), [(3, [1, 2]), (2, [0, 1])])
def test_the_stack_tells_whether_invisible_frames_were_kept(project, stored, expected):
    with mrcfile.new(project / "Refine3D/job1/two.mrcs") as file:
        file.set_data(np.zeros((stored, 4, 4), np.float32))
    metadata = read_metadata(project / "Refine3D/job1/set.star")
    assert metadata.image_index[3:].tolist() == expected


def test_a_stack_of_neither_length_is_refused(project):
    with mrcfile.new(project / "Refine3D/job1/two.mrcs") as file:
        file.set_data(np.zeros((5, 4, 4), np.float32))
    with pytest.raises(DataError, match=r"COUNT-001 .*holds 5 images.* 2 are visible of 3"):
        read_metadata(project / "Refine3D/job1/set.star")


def test_projection_matrices_may_stand_for_the_angles(project):
    rows = ["[{},0]".format(",".join(map(repr, row))) for m in tilt_matrices().tolist() for row in m]
    table = "".join(f"{' '.join(rows[3 * k : 3 * k + 3])} 20000\n" for k in range(3))
    labels = "_rlnTomoProjX\n_rlnTomoProjY\n_rlnTomoProjZ\n_rlnDefocusU\n"
    before = read_metadata(project / "Refine3D/job1/set.star")
    head = TOMOGRAMS[: TOMOGRAMS.index("_rlnTomoXTilt")]
    (project / "Tomograms/tomograms.star").write_text(head + labels + table)
    after = read_metadata(project / "Refine3D/job1/set.star")
    np.testing.assert_allclose(after.rotation, before.rotation, atol=1e-12)


def test_trajectories_are_said_not_to_be_modelled(project):
    (project / "Refine3D/job1/set.star").write_text(SET.replace('""', "motion.star"))
    with pytest.warns(MetadataWarning, match="motion of particles between tilts"):
        read_metadata(project / "Refine3D/job1/set.star")


def test_particles_without_tomograms_say_what_to_open(project):
    with pytest.raises(DataError, match=r"TOMO-001 .*open the optimisation set"):
        read_metadata(project / "Refine3D/job1/run_data.star")
    stated = MetadataOptions(tomograms=project / "Tomograms/tomograms.star")
    assert len(read_metadata(project / "Refine3D/job1/run_data.star", stated)) == 5


def test_particles_of_another_tilt_series_are_refused(project):
    path = project / "Refine3D/job1/run_data.star"
    path.write_text(path.read_text().replace("[0,1,1]", "[0,1,1,1]"))
    with pytest.raises(DataError, match=r"COUNT-001 .*line 33: .* 4 frames, the tilt series 3"):
        read_metadata(project / "Refine3D/job1/set.star")


def test_pseudo_subtomograms_are_refused(project):
    path = project / "Refine3D/job1/run_data.star"
    text = path.read_text().replace("_rlnImageSize", "_rlnImageDimensionality").replace("8.0 32", "8.0 3")
    path.write_text(text)
    with pytest.raises(DataError, match=r"STAR-006 .*volumes.*stack2d"):
        read_metadata(project / "Refine3D/job1/set.star")


def test_writing_keeps_each_particle_once_and_its_text(project):
    metadata = read_metadata(project / "Refine3D/job1/set.star")
    latent = np.array([[1.0], [1], [2]])
    write_metadata(metadata, project / "out.star", np.array([3, 4, 0]), {"morphemLatent": latent})
    table = read_star(project / "out.star").table("particles")
    assert table is not None
    assert table.texts("rlnImageName") == ["two.mrcs", "one.mrcs"]
    assert table.numbers("morphemLatent1").tolist() == [1, 2]
    poses = Poses(torch.eye(3)[None], torch.zeros(1, 2))
    with pytest.raises(DataError, match="TOMO-003"):
        write_metadata(metadata, project / "out.star", np.array([0]), poses=poses)


def test_the_warptools_set_has_its_visible_images_and_particles(shared_data):
    metadata = read_metadata(shared_data / f"{WARP}_optimisation_set.star")
    assert len(metadata) == 1430
    assert metadata.particle.max() + 1 == len(metadata.files) == 40
    assert set(metadata.box.tolist()) == {32}
    assert set(metadata.pixel_size.tolist()) == {12.0}
    assert metadata.premultiplied.all()
    assert metadata.image_index.max() == 36  # WarpTools keeps the invisible frames in its stacks
    first = metadata.image_index[metadata.particle == 0]
    assert sorted(set(range(37)) - set(first.tolist())) == [0, 5, 35]


def test_the_warptools_poses_are_projection_rows_times_euler_matrices(shared_data):
    metadata = read_metadata(shared_data / f"{WARP}_optimisation_set.star")
    tomograms = read_star(shared_data / f"{WARP}_tomograms.star").table("Unt_083.tomostar")
    assert tomograms is not None
    rows = [tomograms.texts(f"rlnTomoProj{axis}")[1] for axis in "XYZ"]
    tilt = np.array([[float(v) for v in row.strip("[]").split(",")[:3]] for row in rows])
    np.testing.assert_allclose(metadata.rotation[0], tilt @ zyz([53.913, 104.840, -78.580]), atol=1e-6)


def test_relion_particles_find_their_tilts_through_stated_tomograms(shared_data):
    folder = shared_data / "real/cets_relion"
    options = MetadataOptions(tomograms=folder / "CtfRefine/job067/tomograms.star")
    metadata = read_metadata(folder / "Refine3D/job074/run_data.star", options)
    assert metadata.particle.max() + 1 == 9053
    assert len(metadata) == 153033
    assert metadata.image_index[:18].tolist() == [*range(17), 0]  # RELION leaves invisible frames out


@pytest.mark.parametrize("name", ["sta_testing", "sta_testing_bin8"])
def test_warp_rows_are_grouped_into_particles_and_decay_with_dose(shared_data, name):
    metadata = read_metadata(shared_data / f"real/cryodrgn/{name}.star")
    assert len(metadata) == 219
    assert metadata.particle.max() + 1 == 6
    table = read_star(shared_data / f"real/cryodrgn/{name}.star").tables[0]
    np.testing.assert_array_equal(metadata.optics.b_factor.numpy(), -table.numbers("rlnCtfBfactor"))
    assert metadata.optics.b_factor.min() > 0
    assert metadata.optics.scale.max() <= 1

"""RELION particle tables of each version, against scipy rotations and hand-made conversions."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from morphem.core.types import Poses
from morphem.data.checks import require_poses
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.foreign import read_arrays
from morphem.data.metadata import MetadataOptions, read_metadata, write_metadata
from morphem.data.star import read_star

OPTICS = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_rlnSphericalAberration\n"
OPTICS += "_rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n"
LABELS = "rlnImageName rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginXAngst rlnOriginYAngst rlnDefocusU "
LABELS += "rlnDefocusV rlnDefocusAngle rlnOpticsGroup rlnRandomSubset"
ROWS = [
    "000003@x/a.mrcs 10 20 30 1.5 -2.5 15000 14000 45 2 1",
    "000001@x/a.mrcs -70 100 250 0 4 16000 15500 -10 1 2",
    "000001@y/b.mrcs 0 0 90 -3 0 17000 17000 0 2 1",
]


def write(
    folder: Path, rows=ROWS, labels=LABELS, optics="1 one 300 2.7 0.1 1.5 64\n2 two 200 1.4 0.07 2 48\n"
):
    head = OPTICS + optics if optics else ""
    loop = "".join(f"_{label}\n" for label in labels.split())
    path = folder / "particles.star"
    path.write_text(f"{head}\ndata_particles\n\nloop_\n{loop}" + "".join(row + "\n" for row in rows))
    return path


def with_word(row: str, label: str, word: str) -> str:
    words = row.split()
    words[LABELS.split().index(label)] = word
    return " ".join(words)


def without(label: str) -> tuple[list[str], str]:
    place = LABELS.split().index(label)
    *rows, labels = (line.split() for line in (*ROWS, LABELS))
    kept = [" ".join(words[:place] + words[place + 1 :]) for words in (*rows, labels)]
    return kept[:-1], kept[-1]


def test_euler_angles_become_the_inverse_of_the_active_zyz_rotation(tmp_path):
    metadata = read_metadata(write(tmp_path))
    angles = [[10, 20, 30], [-70, 100, 250], [0, 0, 90]]
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(metadata.rotation, expected, atol=1e-12)


def test_origins_become_displacements_of_the_opposite_sign(tmp_path):
    metadata = read_metadata(write(tmp_path))
    np.testing.assert_array_equal(metadata.shift, [[-1.5, 2.5], [0, -4], [3, 0]])


def test_each_row_takes_the_optics_of_its_group(tmp_path):
    metadata = read_metadata(write(tmp_path))
    assert metadata.optics.voltage_kv.tolist() == [200, 300, 200]
    assert metadata.optics.cs_mm.tolist() == [1.4, 2.7, 1.4]
    assert metadata.pixel_size.tolist() == [2, 1.5, 2]
    assert metadata.box.tolist() == [48, 64, 48]
    assert [metadata.group_names[g] for g in metadata.group] == ["two", "one", "two"]
    assert metadata.half.tolist() == [1, 2, 1]


def test_images_are_counted_from_zero_in_their_stacks(tmp_path):
    metadata = read_metadata(write(tmp_path))
    places = [(metadata.files[f], i) for f, i in zip(metadata.file_index, metadata.image_index, strict=True)]
    assert places == [("x/a.mrcs", 2), ("x/a.mrcs", 0), ("y/b.mrcs", 0)]


def test_angles_of_the_optics_are_radians(tmp_path):
    metadata = read_metadata(write(tmp_path))
    np.testing.assert_allclose(metadata.optics.astigmatism, np.radians([45, -10, 0]))


def test_relion_3_0_counts_origins_in_pixels_and_knows_its_pixel_by_magnification(tmp_path):
    labels = (
        "rlnImageName rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginX rlnOriginY rlnDefocusU rlnDefocusV "
    )
    labels += "rlnDefocusAngle rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnMagnification "
    labels += "rlnDetectorPixelSize"
    row = "1@a.mrcs 1 2 3 1 -2 15000 14000 45 300 2.7 0.1 40000 5"
    metadata = read_metadata(write(tmp_path, [row], labels, optics=""))
    np.testing.assert_allclose(metadata.pixel_size, [1.25])
    np.testing.assert_allclose(metadata.shift, [[-1.25, 2.5]])
    assert metadata.group_names == ("group 1",)


def test_absent_angles_mean_no_poses(tmp_path):
    rows, labels = without("rlnAngleTilt")
    metadata = read_metadata(write(tmp_path, rows, labels))
    assert not metadata.has_poses
    with pytest.raises(DataError, match="POSE-002"):
        require_poses(metadata)


def test_poses_that_are_all_zero_are_no_poses_and_that_is_said(tmp_path):
    rows = [f"{k}@a.mrcs 0 0 0 0 0 15000 14000 45 1 1" for k in (1, 2)]
    with pytest.warns(MetadataWarning, match="POSE-002"):
        metadata = read_metadata(write(tmp_path, rows))
    assert not metadata.has_poses


@pytest.mark.parametrize(
    ("label", "code", "fix"),
    [("rlnDefocusU", "CTF-001", "estimate the CTF"), ("rlnOpticsGroup", "STAR-003", "add the column")],
)
def test_a_missing_required_column_is_named_with_file_and_fix(tmp_path, label, code, fix):
    rows, labels = without(label)
    with pytest.raises(DataError, match=rf"{code} .*particles\.star.*_{label}.*{fix}"):
        read_metadata(write(tmp_path, rows, labels))


@pytest.mark.parametrize(
    ("label", "code"),
    [("rlnVoltage", "CTF-003"), ("rlnSphericalAberration", "CTF-003"), ("rlnImagePixelSize", "PIX-001")],
)
def test_a_missing_microscope_setting_can_be_stated(tmp_path, label, code):
    path = write(tmp_path)
    path.write_text(path.read_text().replace(f"_{label}\n", "_rlnOther\n"))
    with pytest.raises(DataError, match=rf"{code} .*_{label}.*state"):
        read_metadata(path)
    stated = MetadataOptions(voltage_kv=200, cs_mm=2, pixel_size=3)
    assert read_metadata(path, stated).pixel_size.tolist() == [3, 3, 3]


@pytest.mark.parametrize("word", ["0", "nan"])
def test_zero_or_nan_defocus_is_refused_with_its_row(tmp_path, word):
    rows = [ROWS[0], with_word(ROWS[1], "rlnDefocusU", word), ROWS[2]]
    with pytest.raises(DataError, match=r"CTF-001 .*1 of 3 images \(first rows 2\)"):
        read_metadata(write(tmp_path, rows))


def test_nan_angles_are_refused_with_their_row(tmp_path):
    rows = [*ROWS[:2], with_word(ROWS[2], "rlnAngleRot", "nan")]
    with pytest.raises(DataError, match=r"POSE-001 .*first rows 3"):
        read_metadata(write(tmp_path, rows))


def test_an_image_in_two_rows_is_refused_unless_it_is_allowed(tmp_path):
    path = write(tmp_path, [*ROWS, ROWS[0]])
    with pytest.raises(DataError, match=r"ID-001 .*first rows 1"):
        read_metadata(path)
    assert len(read_metadata(path, MetadataOptions(allow_duplicates=True))) == 4


def test_an_assumed_amplitude_contrast_is_said(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("_rlnAmplitudeContrast", "_rlnOther"))
    with pytest.warns(MetadataWarning, match=r"amplitude contrast 0\.1"):
        metadata = read_metadata(path)
    assert metadata.optics.amplitude_contrast.tolist() == [0.1] * 3


def test_projections_without_a_microscope_have_a_transfer_of_one(tmp_path):
    optics = read_metadata(write(tmp_path), MetadataOptions(has_ctf=False)).optics
    assert optics.defocus_u.tolist() == optics.cs_mm.tolist() == [0, 0, 0]
    assert optics.amplitude_contrast.tolist() == [1, 1, 1]


def test_a_selection_keeps_the_identity_of_its_rows(tmp_path):
    metadata = read_metadata(write(tmp_path)).select(np.array([2, 0]))
    assert metadata.row.tolist() == [2, 0]
    assert metadata.particle.tolist() == [0, 1]
    assert metadata.pixel_size.tolist() == [2, 2]
    assert metadata.optics.defocus_u.tolist() == [17000, 15000]


def test_selected_rows_come_back_with_new_columns(tmp_path):
    path = write(tmp_path)
    latent = np.array([[0.1, -2], [1 / 3, 1e-9]], np.float32)
    write_metadata(read_metadata(path), tmp_path / "out.star", np.array([2, 0]), {"morphemLatent": latent})
    table = read_star(tmp_path / "out.star").table("particles")
    assert table is not None
    assert table.rows[0].startswith(ROWS[2])
    back = np.stack([table.numbers("morphemLatent1"), table.numbers("morphemLatent2")], 1).astype(np.float32)
    np.testing.assert_array_equal(back, latent)


def test_refined_poses_come_back_as_they_were_written(tmp_path):
    metadata = read_metadata(write(tmp_path))
    rotation = Rotation.random(3, rng=1).as_matrix()
    poses = Poses(torch.from_numpy(rotation).float(), torch.tensor([[1.0, 2], [3, 4], [-5, 6.5]]))
    write_metadata(metadata, tmp_path / "out.star", poses=poses)
    again = read_metadata(tmp_path / "out.star")
    np.testing.assert_allclose(again.rotation, rotation, atol=2e-7)  # six decimals of a degree, float32
    np.testing.assert_allclose(again.shift, poses.shift.numpy(), atol=1e-6)
    assert again.optics.defocus_u.tolist() == metadata.optics.defocus_u.tolist()


def test_two_rows_of_a_group_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"STAR-003 .*optics group 2"):
        read_metadata(write(tmp_path, optics="1 one 300 2.7 0.1 1.5 64\n"))


def test_aberrations_are_said_in_one_warning_and_kept(shared_data):
    path = shared_data / "real/emtools/refine3d/run_it016_data.star"
    with pytest.warns(MetadataWarning) as caught:
        metadata = read_metadata(path)
    assert len(caught) == 1
    for words in ("beam tilt", "odd Zernike", "even Zernike", "anisotropic magnification"):
        assert any(words in entry for entry in metadata.unmodelled)


def test_optics_after_the_particles_are_the_same_optics(shared_data):
    folder = shared_data / "real/cryodrgn"
    before, after = read_metadata(folder / "relion31.star"), read_metadata(folder / "relion31.v2.star")
    for name, column in vars(before.optics).items():
        assert torch.equal(column, getattr(after.optics, name))
    np.testing.assert_array_equal(before.rotation, after.rotation)


def test_groups_of_different_pixel_sizes_stay_apart(shared_data):
    with pytest.warns(MetadataWarning):
        metadata = read_metadata(shared_data / "real/cryodrgn/relion31.6opticsgroups.star")
    assert sorted(set(metadata.pixel_size.tolist())) == [1.24, 1.25]
    for group in range(len(metadata.group_names)):
        assert len(set(metadata.pixel_size[metadata.group == group])) == 1


def test_cryodrgn_parses_the_same_optics(shared_data):
    """``ctf1.pkl`` is what cryoDRGN made of this RELION 3.0 file (kV, Cs and contrast were its options)."""
    folder = shared_data / "real/cryodrgn"
    options = MetadataOptions(amplitude_contrast=0.1)
    metadata = read_metadata(folder / "FinalRefinement-OriginalParticles-PfCRT.star", options)
    theirs = read_arrays(folder / "ctf1.pkl")
    ours = torch.stack([metadata.optics.defocus_u, metadata.optics.defocus_v], 1).numpy()
    np.testing.assert_allclose(ours, theirs[:, 2:4], rtol=1e-7)
    np.testing.assert_allclose(np.degrees(metadata.optics.astigmatism.numpy()), theirs[:, 4], rtol=1e-6)
    np.testing.assert_allclose(metadata.pixel_size, theirs[:, 1], rtol=1e-7)


@pytest.mark.parametrize("name", ["0@x/a.mrcs", "one@x/a.mrcs", "@x/a.mrcs"])
def test_an_image_without_a_number_from_one_is_named_by_its_line(tmp_path, name):
    with pytest.raises(DataError, match=rf"STAR-004 .*line 29: image '{name}'"):
        read_metadata(write(tmp_path, [ROWS[0], with_word(ROWS[1], "rlnImageName", name)]))


def test_cryodrgn_parses_the_same_poses(shared_data):
    """``pose.star.pkl`` is of the same file; its box is that of ``ctf1.pkl``."""
    folder = shared_data / "real/cryodrgn"
    options = MetadataOptions(amplitude_contrast=0.1)
    metadata = read_metadata(folder / "FinalRefinement-OriginalParticles-PfCRT.star", options)
    rotation, fraction = read_arrays(folder / "pose.star.pkl")
    np.testing.assert_allclose(metadata.rotation, rotation, atol=1e-6)
    np.testing.assert_allclose(-metadata.shift / (300 * 1.035), fraction, atol=1e-6)


def test_a_pickle_of_poses_wins_over_the_star(tmp_path):
    rotation = Rotation.random(3, rng=3).as_matrix()
    fraction = np.array([[0.5, 0], [0, -0.25], [0.125, 0.5]])
    (tmp_path / "poses.pkl").write_bytes(pickle.dumps((rotation, fraction)))
    metadata = read_metadata(write(tmp_path), MetadataOptions(poses=tmp_path / "poses.pkl"))
    np.testing.assert_array_equal(metadata.rotation, rotation)
    np.testing.assert_allclose(metadata.shift, -fraction * 96)  # 64 × 1.5 Å = 48 × 2 Å


def test_a_folder_or_a_missing_file_is_said(tmp_path):
    for path in (tmp_path, tmp_path / "absent.star", tmp_path / "odd.doc"):
        with pytest.raises(DataError, match=r"PATH-00"):
            read_metadata(path)


def test_a_large_table_is_read_faster_than_ten_thousand_rows_a_second(tmp_path):
    rows = [with_word(ROWS[k % 3], "rlnImageName", f"{k + 1}@a.mrcs") for k in range(50_000)]
    path = write(tmp_path, rows)
    start = time.process_time()
    metadata = read_metadata(path)
    assert len(metadata) == 50_000
    assert time.process_time() - start < 5  # 0.6 s on an idle core; the margin is for a busy machine


def test_what_the_user_states_wins_over_the_file(tmp_path):
    metadata = read_metadata(write(tmp_path), MetadataOptions(pixel_size=4, voltage_kv=100))
    assert metadata.pixel_size.tolist() == [4, 4, 4]
    assert metadata.optics.voltage_kv.tolist() == [100, 100, 100]

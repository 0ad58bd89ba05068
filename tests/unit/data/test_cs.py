"""cryoSPARC datasets, against cryosparc-tools, cryoDRGN's own parse, and the formula."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from morphem.core.types import Poses
from morphem.data.checks import require_poses
from morphem.data.cs import load_dataset
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.foreign import read_arrays
from morphem.data.metadata import MetadataOptions, read_metadata, write_metadata

UID = np.array([2**64 - 1, 2**53 + 1, 5, 2**63], np.uint64)  # none of the large ones is a float64
N = len(UID)
RNG = np.random.default_rng(0)
VECTORS = np.concatenate([[[0, 0, 0]], RNG.normal(size=(N - 1, 3))]).astype("f4")
SHIFTS = RNG.normal(size=(N, 2)).astype("f4")
BLOB = {
    "blob/path": np.array([b">J1/a.mrc", b">J1/b.mrc", b">J1/a.mrc", b">J1/a.mrc"]),
    "blob/idx": np.array([7, 0, 1, 0], "u4"),
    "blob/shape": np.full((N, 2), 64, "u4"),
    "blob/psize_A": np.full(N, 1.5, "f4"),
    "blob/sign": np.array([-1, -1, 1, -1], "f4"),
}
CTF = {
    "ctf/exp_group_id": np.array([3, 9, 3, 3], "u4"),
    "ctf/accel_kv": np.full(N, 300, "f4"),
    "ctf/cs_mm": np.full(N, 2.7, "f4"),
    "ctf/amp_contrast": np.full(N, 0.1, "f4"),
    "ctf/df1_A": np.linspace(1e4, 2e4, N, dtype="f4"),
    "ctf/df2_A": np.linspace(9e3, 1.9e4, N, dtype="f4"),
    "ctf/df_angle_rad": np.linspace(-2, 5, N, dtype="f4"),
    "ctf/phase_shift_rad": np.linspace(0, 1, N, dtype="f4"),
}
ALIGNMENTS = {
    "alignments3D/pose": VECTORS,
    "alignments3D/shift": SHIFTS,
    "alignments3D/psize_A": np.full(N, 3.0, "f4"),  # refined in a smaller box than the images have
    "alignments3D/split": np.array([0, 1, 1, 0], "u4"),
}


def save(path, *groups, uid=UID, **extra):
    """A dataset file of groups of fields."""
    columns = {"uid": uid} | {name: values for group in (*groups, extra) for name, values in group.items()}
    dtype = [(name, values.dtype.str, values.shape[1:]) for name, values in columns.items()]
    array = np.empty(len(uid), dtype)
    for name, values in columns.items():
        array[name] = values
    with path.open("wb") as file:
        np.save(file, array)
    return path


def test_a_pose_is_the_transpose_of_its_rotation_vector(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS))
    expected = Rotation.from_rotvec(VECTORS.astype(float)).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(metadata.rotation, expected, atol=1e-12)
    np.testing.assert_array_equal(metadata.rotation[0], np.eye(3))


def test_shifts_count_in_pixels_of_the_refinement(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS))
    np.testing.assert_array_equal(metadata.shift, -SHIFTS.astype(float) * 3.0)
    assert metadata.pixel_size.tolist() == [1.5] * N


def test_identity_optics_and_halves_survive(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS))
    np.testing.assert_array_equal(metadata.uid, UID)
    assert metadata.half.tolist() == [1, 2, 2, 1]
    assert metadata.sign.tolist() == [-1, -1, 1, -1]
    assert metadata.files == ("J1/a.mrc", "J1/b.mrc")
    assert metadata.file_index.tolist() == [0, 1, 0, 0]
    assert metadata.image_index.tolist() == [7, 0, 1, 0]
    assert metadata.group_names == ("exposure group 3", "exposure group 9")
    np.testing.assert_array_equal(metadata.optics.astigmatism.numpy(), CTF["ctf/df_angle_rad"])
    np.testing.assert_array_equal(metadata.optics.phase_shift.numpy(), CTF["ctf/phase_shift_rad"])


def test_a_passthrough_beside_the_file_is_joined_by_uid(tmp_path):
    whole = read_metadata(save(tmp_path / "whole.cs", BLOB, CTF, ALIGNMENTS))
    path = save(tmp_path / "J9_particles.cs", CTF, ALIGNMENTS)
    order = np.array([2, 0, 3, 1])
    other = {name: np.concatenate([values[order], values[:1]]) for name, values in BLOB.items()}
    save(tmp_path / "J9_passthrough_particles.cs", other, uid=np.append(UID[order], np.uint64(77)))
    joined = read_metadata(path)
    for name in ("uid", "file_index", "image_index", "sign", "pixel_size"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_a_stated_passthrough_is_joined_wherever_it_lies(tmp_path):
    (tmp_path / "other").mkdir()
    path = save(tmp_path / "p.cs", CTF, ALIGNMENTS)
    elsewhere = save(tmp_path / "other/images.cs", BLOB)
    assert read_metadata(path, MetadataOptions(passthrough=(elsewhere,))).files == ("J1/a.mrc", "J1/b.mrc")


def test_images_that_no_file_names_are_a_coded_error(tmp_path):
    path = save(tmp_path / "p.cs", CTF, ALIGNMENTS)
    with pytest.raises(DataError, match=r"CS-002 .*state passthrough"):
        read_metadata(path)
    save(tmp_path / "p_passthrough_particles.cs", {k: v[:2] for k, v in BLOB.items()}, uid=UID[:2])
    with pytest.raises(DataError, match=r"CS-002 .*p_passthrough_particles\.cs lacks 2 of 4"):
        read_metadata(path)


def multi(posterior):
    turned = np.stack([VECTORS + k for k in range(3)], 1)
    return {
        "alignments3D_multi/pose": turned.astype("f4"),
        "alignments3D_multi/shift": np.stack([SHIFTS * k for k in range(3)], 1),
        "alignments3D_multi/psize_A": np.full((N, 3), 3, "f4"),
        "alignments3D_multi/class_posterior": posterior,
        "alignments3D_multi/class": np.tile(np.arange(3, dtype="u4"), (N, 1)),
    }


def old_classes(posterior):
    fields = multi(posterior).items()
    return {name.replace("3D_multi", f"_class_{k}"): v[:, k].copy() for k in range(3) for name, v in fields}


@pytest.mark.parametrize("layout", [multi, old_classes])
def test_of_several_classes_the_most_probable_is_taken(tmp_path, layout):
    best = np.array([2, 0, 1, 1])
    posterior = (0.1 + 0.7 * np.eye(3)[best]).astype("f4")
    path = save(tmp_path / "p.cs", BLOB, CTF, layout(posterior))
    metadata = read_metadata(path)
    vectors = (VECTORS + best[:, None]).astype("f4").astype(float)
    expected = Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(metadata.rotation, expected, atol=1e-12)
    np.testing.assert_allclose(metadata.shift, -3.0 * SHIFTS * best[:, None], rtol=1e-6)
    stated = read_metadata(path, MetadataOptions(alignment_class=0))
    np.testing.assert_allclose(stated.rotation[0], np.eye(3), atol=1e-12)
    with pytest.raises(DataError, match=r"CS-001 .*no alignment of class 8; it has classes 0, 1, 2"):
        read_metadata(path, MetadataOptions(alignment_class=8))


def test_a_dataset_without_alignments_is_read_and_refused_where_poses_are_needed(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF))
    assert not metadata.has_poses
    with pytest.raises(DataError, match=r"CS-001 .*no alignments3D"):
        require_poses(metadata)


def test_aberrations_are_said(tmp_path):
    tilt = {"ctf/tilt_A": np.ones((N, 2), "f4"), "ctf/trefoil_A": np.zeros((N, 2), "f4")}
    path = save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS, tilt)
    with pytest.warns(MetadataWarning, match="not modelled: beam tilt$"):
        assert read_metadata(path).unmodelled == ("beam tilt",)


@pytest.mark.parametrize(
    ("columns", "code"),
    [({"ctf/df1_A": np.zeros(N, "f4")}, "CTF-001"), ({"ctf/accel_kv": np.zeros(N, "f4")}, "CTF-003")],
)
def test_impossible_optics_are_refused(tmp_path, columns, code):
    with pytest.raises(DataError, match=code):
        read_metadata(save(tmp_path / "p.cs", BLOB, CTF | columns, ALIGNMENTS))


def test_two_rows_of_one_uid_are_refused(tmp_path):
    uid = UID.copy()
    uid[2] = uid[0]
    with pytest.raises(DataError, match=r"ID-001 .*uid"):
        read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS, uid=uid))


def test_python_objects_and_cut_files_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "objects.npy").rename(tmp_path / "objects.cs")
    whole = save(tmp_path / "cut.cs", BLOB, CTF, ALIGNMENTS).read_bytes()
    (tmp_path / "cut.cs").write_bytes(whole[:-40])
    (tmp_path / "text.cs").write_text("no dataset")
    for name in ("objects.cs", "cut.cs", "text.cs"):
        with pytest.raises(DataError, match=f"CS-003 .*{name}"):
            read_metadata(tmp_path / name)


def test_the_stream_format_is_read_through_cryosparc_tools(tmp_path):
    dataset = pytest.importorskip("cryosparc.dataset")
    numpy_file = save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS)
    dataset.Dataset.load(str(numpy_file)).save(str(tmp_path / "stream.cs"), format=dataset.CSDAT_FORMAT)
    assert (tmp_path / "stream.cs").read_bytes()[1:6] == b"CSDAT"
    ours, theirs = read_metadata(numpy_file), read_metadata(tmp_path / "stream.cs")
    np.testing.assert_array_equal(ours.uid, theirs.uid)
    np.testing.assert_array_equal(ours.rotation, theirs.rotation)
    assert ours.files == theirs.files


def test_the_stream_format_without_cryosparc_tools_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "stream.cs").write_bytes(b"\x95CSDAT" + bytes(100))
    monkeypatch.setitem(sys.modules, "cryosparc.dataset", None)
    with pytest.raises(DataError, match=r"CS-005 .*pip install cryosparc-tools"):
        read_metadata(tmp_path / "stream.cs")


def test_selected_rows_keep_their_type_and_bits(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS))
    write_metadata(metadata, tmp_path / "out.cs", np.array([3, 0]))
    before, after = load_dataset(tmp_path / "p.cs"), load_dataset(tmp_path / "out.cs")
    assert before.dtype == after.dtype
    assert after.tobytes() == before[[3, 0]].tobytes()


def test_new_columns_and_poses_leave_the_rest_and_come_back(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS))
    rotation = np.concatenate([[np.eye(3)], Rotation.random(N - 1, rng=1).as_matrix()])
    poses = Poses(torch.from_numpy(rotation).float(), torch.arange(2.0 * N).reshape(N, 2))
    latent = RNG.normal(size=(N, 2)).astype("f4")
    write_metadata(metadata, tmp_path / "out.cs", extra={"latent": latent}, poses=poses)
    after, again = load_dataset(tmp_path / "out.cs"), read_metadata(tmp_path / "out.cs")
    np.testing.assert_allclose(again.rotation, rotation, atol=1e-6)  # float32 rotation vectors
    np.testing.assert_allclose(again.shift, poses.shift.numpy(), atol=1e-5)
    np.testing.assert_array_equal(after["morphem/latent"], latent)
    for name in (*BLOB, *CTF, "uid", "alignments3D/split"):
        np.testing.assert_array_equal(after[name], load_dataset(tmp_path / "p.cs")[name])


def test_half_turns_survive_the_way_through_a_rotation_vector(tmp_path):
    metadata = read_metadata(save(tmp_path / "p.cs", BLOB, CTF, ALIGNMENTS))
    turns = Rotation.from_rotvec(
        np.pi * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, 0.8]])
    ).as_matrix()
    poses = Poses(torch.from_numpy(turns).float(), torch.zeros(N, 2))
    write_metadata(metadata, tmp_path / "out.cs", poses=poses)
    np.testing.assert_allclose(read_metadata(tmp_path / "out.cs").rotation, turns, atol=1e-6)


def test_a_joined_set_is_written_as_a_pair_that_opens_again(tmp_path):
    path = save(tmp_path / "J9_particles.cs", CTF, ALIGNMENTS)
    save(tmp_path / "J9_passthrough_particles.cs", BLOB)
    (tmp_path / "out").mkdir()
    write_metadata(read_metadata(path), tmp_path / "out/sub.cs", np.array([2, 1]))
    again = read_metadata(tmp_path / "out/sub.cs")
    np.testing.assert_array_equal(again.uid, UID[[2, 1]])
    assert again.image_index.tolist() == [1, 0]


def test_cryosparc_tools_reads_what_we_write(shared_data, tmp_path):
    dataset = pytest.importorskip("cryosparc.dataset")
    metadata = read_metadata(shared_data / "real/cryodrgn/cryosparc_P12_J24_001_particles.cs")
    rows = np.arange(0, 2019, 7)
    write_metadata(metadata, tmp_path / "out.cs", rows, {"latent": np.zeros(len(rows), "f4")})
    theirs = dataset.Dataset.load(str(tmp_path / "out.cs"))
    np.testing.assert_array_equal(np.asarray(theirs["uid"]), metadata.uid[rows])
    assert "morphem/latent" in theirs.fields()


@pytest.mark.parametrize(
    "name",
    [
        "cryodrgn/cryosparc_P12_J24_001_particles.cs",
        "cryodrgn/empiar_10076_7.cs",
        "learn_cryoem_math/t20s_3d/J209/cryosparc_P9_J209_000_particles.cs",
    ],
)
def test_cryosparc_tools_reads_the_same_columns(shared_data, name):
    dataset = pytest.importorskip("cryosparc.dataset")
    path = shared_data / "real" / name
    theirs, ours = dataset.Dataset.load(str(path)), load_dataset(path)
    for field in ours.dtype.names:
        expected = np.asarray(theirs[field])
        values = ours[field].astype(str) if ours[field].dtype.kind == "S" else ours[field]
        np.testing.assert_array_equal(values, expected.astype(values.dtype), err_msg=field)


def test_cryodrgn_parses_the_same_poses_and_optics(shared_data):
    """Its shifts are right here because refinement and images had one pixel size."""
    folder = shared_data / "real/cryodrgn"
    metadata = read_metadata(folder / "cryosparc_P12_J24_001_particles.cs")
    rotation, fraction = read_arrays(folder / "pose.cs.pkl")
    ctf = read_arrays(folder / "ctf2.pkl").astype(float)
    assert len(metadata) == 2019
    np.testing.assert_allclose(metadata.rotation, rotation, atol=1e-6)
    extent = metadata.box * metadata.pixel_size
    np.testing.assert_allclose(-metadata.shift / extent[:, None], fraction, atol=1e-6)
    optics = metadata.optics
    ours = [metadata.box, metadata.pixel_size, optics.defocus_u, optics.defocus_v]
    ours += [np.degrees(optics.astigmatism.numpy()), optics.voltage_kv, optics.cs_mm]
    ours += [optics.amplitude_contrast, np.degrees(optics.phase_shift.numpy())]
    np.testing.assert_allclose(np.stack([np.asarray(column, float) for column in ours], 1), ctf, rtol=1e-6)


def test_star_and_cs_of_empiar_10076_agree(shared_data):
    folder = shared_data / "real/cryodrgn"
    star, cs = read_metadata(folder / "empiar_10076_7.star"), read_metadata(folder / "empiar_10076_7.cs")
    assert len(star) == len(cs) == 7
    assert star.files == cs.files
    np.testing.assert_array_equal(star.image_index, cs.image_index)
    np.testing.assert_allclose(star.pixel_size, cs.pixel_size, rtol=1e-7)
    for name, column in vars(star.optics).items():
        np.testing.assert_allclose(column.numpy(), getattr(cs.optics, name).numpy(), rtol=1e-6, err_msg=name)
    assert cs.sign.tolist() == [-1] * 7


def test_a_result_group_leads_to_its_particles(tmp_path):
    save(tmp_path / "base.cs", CTF, ALIGNMENTS)
    save(tmp_path / "pass.cs", BLOB)
    files = {"alignments3D": "base", "blob": "pass", "ctf": "base"}
    results = "".join(
        f"  {name}:\n    metafile: '>{file}.cs'\n    num_items: 4\n" for name, file in files.items()
    )
    (tmp_path / "p.csg").write_text(
        f"group:\n  name: particles\n  type: particle\nresults:\n{results}version: 4\n"
    )
    metadata = read_metadata(tmp_path / "p.csg")
    np.testing.assert_array_equal(metadata.uid, UID)
    assert metadata.has_poses
    (tmp_path / "pass.cs").unlink()
    with pytest.raises(DataError, match=r"PATH-001 .*p\.csg names pass\.cs"):
        read_metadata(tmp_path / "p.csg")

"""cryoDRGN's pickles: arrays are read, code is not run."""

from __future__ import annotations

import os
import pickle

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from morphem.data.errors import DataError
from morphem.data.foreign import read_arrays
from morphem.data.metadata import MetadataOptions, read_metadata, write_metadata

N = 6
ROTATION = Rotation.random(N, rng=2).as_matrix().astype("f4")
FRACTION = np.linspace(-0.1, 0.1, 2 * N).reshape(N, 2)
CTF = np.column_stack(
    [
        np.full(N, 64.0),
        np.full(N, 1.5),
        np.linspace(1e4, 2e4, N),
        np.linspace(9e3, 1.9e4, N),
        np.linspace(-90, 90, N),
        np.full(N, 300.0),
        np.full(N, 2.7),
        np.full(N, 0.1),
        np.linspace(0, 60, N),
    ]
).astype("f4")


def dump(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.fixture
def stack(tmp_path):
    with mrcfile.new(tmp_path / "images.mrcs") as file:
        file.set_data(np.zeros((N, 32, 32), np.float32))
        file.voxel_size = 3.0
    return tmp_path / "images.mrcs"


def options(folder, **more):
    poses = dump(folder / "poses.pkl", (ROTATION, FRACTION))
    return MetadataOptions(poses=poses, ctf=dump(folder / "ctf.pkl", CTF), **more)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/morphem-was-run",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    with pytest.raises(DataError, match=r"PKL-001 .*evil\.pkl.*mkdir.*never run"):
        read_arrays(dump(tmp_path / "evil.pkl", Evil()))
    assert not os.path.exists("/tmp/morphem-was-run")


@pytest.mark.parametrize(
    "name", [b"builtins\neval", b"os\nsystem", b"numpy\nload", b"numpy.core.multiarray\nfromfile"]
)
def test_no_other_name_is_looked_up(tmp_path, name):
    (tmp_path / "evil.pkl").write_bytes(b"c" + name + b"\n(S'1'\ntR.")
    with pytest.raises(DataError, match="PKL-001"):
        read_arrays(tmp_path / "evil.pkl")


def test_code_among_companions_or_as_the_particle_file_is_refused(tmp_path, stack):
    evil = dump(tmp_path / "evil.pkl", (ROTATION, Evil()))
    with pytest.raises(DataError, match="PKL-001"):
        read_metadata(stack, MetadataOptions(poses=evil, has_ctf=False))
    with pytest.raises(DataError, match="PKL-001"):
        read_metadata(evil)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_lists_of_scalars_are_read_in_every_protocol(tmp_path, protocol):
    np.testing.assert_array_equal(read_arrays(dump(tmp_path / "a.pkl", CTF, protocol)), CTF)
    rotation, fraction = read_arrays(dump(tmp_path / "b.pkl", (ROTATION, FRACTION), protocol))
    np.testing.assert_array_equal(rotation, ROTATION)
    np.testing.assert_array_equal(fraction, FRACTION)
    rows = read_arrays(dump(tmp_path / "c.pkl", [np.int64(3), np.int64(1)], protocol))
    assert rows.tolist() == [3, 1]


@pytest.mark.parametrize("content", [{"a": 1}, "text", np.array([None])])
def test_other_contents_are_refused(tmp_path, content):
    with pytest.raises(DataError, match="PKL-00"):
        read_arrays(dump(tmp_path / "x.pkl", content))


def test_a_cut_pickle_is_refused(tmp_path):
    path = dump(tmp_path / "x.pkl", CTF)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="PKL-002"):
        read_arrays(path)


def test_translations_are_fractions_of_the_box(tmp_path, stack):
    metadata = read_metadata(stack, options(tmp_path))
    np.testing.assert_allclose(metadata.shift, -FRACTION * 64 * 1.5, rtol=1e-12)
    np.testing.assert_array_equal(metadata.rotation, ROTATION)


def test_images_resized_since_have_a_larger_pixel(tmp_path, stack):
    assert read_metadata(stack, options(tmp_path)).pixel_size.tolist() == [3.0] * N


def test_optics_are_in_the_units_of_the_package(tmp_path, stack):
    optics = read_metadata(stack, options(tmp_path)).optics
    np.testing.assert_allclose(optics.astigmatism.numpy(), np.radians(CTF[:, 4].astype(float)))
    np.testing.assert_allclose(optics.phase_shift.numpy(), np.radians(CTF[:, 8].astype(float)))
    np.testing.assert_array_equal(optics.defocus_u.numpy(), CTF[:, 2])


def test_indices_keep_their_rows(tmp_path, stack):
    indices = dump(tmp_path / "ind.pkl", np.array([4, 1]))
    metadata = read_metadata(stack, options(tmp_path, indices=indices))
    assert metadata.image_index.tolist() == metadata.row.tolist() == [4, 1]
    np.testing.assert_array_equal(metadata.rotation, ROTATION[[4, 1]])
    dump(tmp_path / "ind.pkl", np.array([9]))
    with pytest.raises(DataError, match=r"COUNT-001 .*image 9 of 6"):
        read_metadata(stack, options(tmp_path, indices=indices))


def test_pickles_of_another_length_are_refused(tmp_path, stack):
    stated = options(tmp_path)
    dump(tmp_path / "ctf.pkl", CTF[:4])
    with pytest.raises(DataError, match=r"COUNT-001 .*ctf\.pkl has 4 rows.* 6 images"):
        read_metadata(stack, stated)


@pytest.mark.parametrize("rotation", [1.1 * ROTATION, -ROTATION])
def test_poses_that_are_no_rotations_are_refused(tmp_path, stack, rotation):
    stated = options(tmp_path)
    dump(tmp_path / "poses.pkl", (rotation, FRACTION))
    with pytest.raises(DataError, match="POSE-001"):
        read_metadata(stack, stated)


def test_a_bare_stack_says_what_is_missing(stack):
    with pytest.raises(DataError, match=r"CTF-001 .*state ctf"):
        read_metadata(stack)
    assert not read_metadata(stack, MetadataOptions(has_ctf=False)).has_poses


def test_a_bare_stack_has_no_rows_to_write(tmp_path, stack):
    with pytest.raises(DataError, match="PATH-003"):
        write_metadata(read_metadata(stack, options(tmp_path)), tmp_path / "out.star")


def test_a_list_of_stacks_is_one_set(tmp_path, stack):
    (tmp_path / "list.txt").write_text("images.mrcs\nimages.mrcs\n")
    stated = MetadataOptions(has_ctf=False, allow_duplicates=True)
    assert len(read_metadata(tmp_path / "list.txt", stated)) == 2 * N


def test_cryodrgn_sets_open_with_their_pickles(shared_data):
    folder = shared_data / "real/cryodrgn"
    stated = MetadataOptions(poses=folder / "toy_rot_trans.pkl", ctf=folder / "test_ctf.pkl")
    metadata = read_metadata(folder / "toy_projections.mrcs", stated)
    assert len(metadata) == 1000
    assert metadata.has_poses
    hand = MetadataOptions(poses=folder / "hand_rot_trans.pkl", has_ctf=False)
    assert len(read_metadata(folder / "hand.mrcs", hand)) == 100

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data import DataError
from morphem.data.mrc import read_header, read_map, read_origin, write_map, write_stack


def some_map(box: int = 6, pixel_size: float = 1.25) -> Volume:
    return Volume(
        torch.randn(box, box, box, generator=torch.Generator().manual_seed(0)), Grid(box, pixel_size)
    )


def written(path: Path, voxels: np.ndarray, **header: object) -> Path:
    """A map as mrcfile writes it, with header fields replaced."""
    with mrcfile.new(path) as mrc:
        mrc.set_data(voxels)
        mrc.voxel_size = 2.0
        for name, value in header.items():
            mrc.header[name] = value
    return path


def code_of(action, *arguments, **keywords) -> str:
    with pytest.raises(DataError) as caught:
        action(*arguments, **keywords)
    return caught.value.code


def test_mrcfile_finds_voxels_sampling_and_origin_where_they_were_put(tmp_path):
    volume = some_map()
    write_map(tmp_path / "a.mrc", volume, origin=(-3.0, 4.5, 10.0))
    assert mrcfile.validate(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert np.array_equal(mrc.data, volume.voxels.numpy())
        assert mrc.is_volume()
        assert mrc.voxel_size.tolist() == pytest.approx((1.25, 1.25, 1.25))
        assert mrc.header.origin.tolist() == (-3.0, 4.5, 10.0)


def test_a_map_comes_back_as_it_was_written(tmp_path):
    volume = some_map()
    write_map(tmp_path / "a.mrc", volume, origin=(1.0, 2.0, 3.0))
    again = read_map(tmp_path / "a.mrc")
    assert again.voxels.equal(volume.voxels)
    assert again.grid == volume.grid
    assert read_origin(tmp_path / "a.mrc") == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (3, 1, 2), (2, 3, 1), (1, 3, 2)])
def test_columns_rows_and_sections_may_be_any_axes(tmp_path, axes):
    voxels = np.random.default_rng(1).normal(size=(4, 4, 4)).astype(np.float32)  # [z, y, x]
    index_of = {3: 0, 2: 1, 1: 2}  # axis number → axis of the array
    stored = voxels.transpose(index_of[axes[2]], index_of[axes[1]], index_of[axes[0]])
    path = written(tmp_path / "a.mrc", np.ascontiguousarray(stored), mapc=axes[0], mapr=axes[1], maps=axes[2])
    assert np.array_equal(read_map(path).voxels.numpy(), voxels)


def test_the_origin_is_the_start_in_voxels_where_the_origin_fields_are_zero(tmp_path):
    path = written(
        tmp_path / "a.mrc",
        np.zeros((4, 4, 4), np.float32),
        mapc=3,
        mapr=1,
        maps=2,
        nxstart=-5,
        nystart=2,
        nzstart=7,
    )
    assert read_origin(path) == pytest.approx((4.0, 14.0, -10.0))  # columns are z, rows x, sections y


def test_a_map_that_is_no_cube_is_refused(tmp_path):
    assert code_of(read_map, written(tmp_path / "a.mrc", np.zeros((4, 4, 6), np.float32))) == "MAP-001"


def test_an_odd_box_is_refused(tmp_path):
    assert code_of(read_map, written(tmp_path / "a.mrc", np.zeros((5, 5, 5), np.float32))) == "BOX-001"


def test_voxels_that_are_no_cubes_are_refused(tmp_path):
    path = written(tmp_path / "a.mrc", np.zeros((4, 4, 4), np.float32), cella=(8, 8, 9))
    assert code_of(read_map, path) == "MAP-003"


def test_a_map_without_voxel_size_needs_one(tmp_path):
    path = written(tmp_path / "a.mrc", np.zeros((4, 4, 4), np.float32), cella=(0, 0, 0))
    assert code_of(read_map, path) == "PIX-001"
    assert read_map(path, pixel_size=3.0).grid == Grid(4, 3.0)


def test_a_map_cut_short_is_refused(tmp_path):
    write_map(tmp_path / "a.mrc", some_map())
    whole = (tmp_path / "a.mrc").read_bytes()
    (tmp_path / "b.mrc").write_bytes(whole[:-40])
    assert code_of(read_map, tmp_path / "b.mrc") == "MRC-002"


def test_a_text_file_is_no_map(tmp_path):
    (tmp_path / "a.mrc").write_text("data_\nloop_\n" * 200)
    (tmp_path / "b.mrc").write_text("short")
    assert code_of(read_map, tmp_path / "a.mrc") == "MRC-001"
    assert code_of(read_map, tmp_path / "b.mrc") == "MRC-001"
    assert code_of(read_map, tmp_path / "c.mrc") == "PATH-001"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int16", "uint16"])
def test_mrcfile_reads_every_kind_of_stack_written_here(tmp_path, dtype):
    images = torch.arange(3 * 4 * 4).reshape(3, 4, 4).float()
    write_stack(tmp_path / "a.mrcs", images.split(2), Grid(4, 1.5), dtype)
    with mrcfile.open(tmp_path / "a.mrcs") as mrc:
        assert mrc.data.dtype == dtype
        assert mrc.is_image_stack()
        assert np.array_equal(mrc.data.astype(np.float32), images.numpy())
        assert mrc.voxel_size.x == pytest.approx(1.5)


def test_a_header_without_stamps_in_either_byte_order_is_read(tmp_path):
    write_stack(tmp_path / "a.mrcs", [torch.ones(3, 4, 4)], Grid(4, 1.5))
    raw = bytearray((tmp_path / "a.mrcs").read_bytes())
    raw[208:216] = bytes(8)  # MAP and machine stamp
    (tmp_path / "b.mrcs").write_bytes(raw)
    words = np.frombuffer(bytes(raw), "<i4").astype(">i4")
    (tmp_path / "c.mrcs").write_bytes(words.tobytes())
    for name, order in (("b", "<"), ("c", ">")):
        header = read_header(tmp_path / f"{name}.mrcs")
        assert header.shape == (3, 4, 4)
        assert header.dtype == np.dtype(f"{order}f4")


def test_bytes_are_unsigned_where_imod_says_so(tmp_path):
    write_stack(tmp_path / "a.mrcs", [torch.ones(1, 4, 4)], Grid(4, 1.5), "int8")
    raw = bytearray((tmp_path / "a.mrcs").read_bytes())
    raw[152:160] = np.array([1146047817, 0], np.int32).tobytes()
    (tmp_path / "b.mrcs").write_bytes(raw)
    assert read_header(tmp_path / "a.mrcs").dtype == np.int8
    assert read_header(tmp_path / "b.mrcs").dtype == np.uint8


def test_an_extended_header_is_skipped(tmp_path):
    with mrcfile.new(tmp_path / "a.mrcs") as mrc:
        mrc.set_data(np.ones((2, 4, 4), np.float32))
        mrc.set_extended_header(np.zeros(80, np.uint8))
    header = read_header(tmp_path / "a.mrcs")
    assert (header.offset, header.shape) == (1104, (2, 4, 4))


def test_complex_and_packed_numbers_are_refused(tmp_path):
    write_stack(tmp_path / "a.mrcs", [torch.ones(1, 4, 4)], Grid(4, 1.5))
    raw = bytearray((tmp_path / "a.mrcs").read_bytes())
    raw[12:16] = np.int32(4).tobytes()
    (tmp_path / "a.mrcs").write_bytes(raw)
    assert code_of(read_header, tmp_path / "a.mrcs") == "MRC-003"


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    def blocks():
        yield torch.ones(2, 4, 4)
        raise KeyboardInterrupt

    write_stack(tmp_path / "a.mrcs", [torch.zeros(1, 4, 4)], Grid(4, 1.5))
    with pytest.raises(KeyboardInterrupt):
        write_stack(tmp_path / "a.mrcs", blocks(), Grid(4, 1.5))
    assert read_header(tmp_path / "a.mrcs").shape[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrcs"]


def test_a_full_disk_is_a_coded_error_and_leaves_nothing(tmp_path):
    script = f"""
import resource, torch
from pathlib import Path
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.mrc import write_map
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
write_map(Path({str(tmp_path)!r}) / "a.mrc", Volume(torch.zeros(32, 32, 32), Grid(32, 1.0)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "E-DISK-001" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_a_coded_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert code_of(write_map, tmp_path / "file" / "a.mrc", some_map()) == "DISK-002"
    assert code_of(write_map, tmp_path / "nowhere" / "a.mrc", some_map()) == "DISK-002"


def test_real_maps_are_read_or_refused_with_their_reason(shared_data):
    real = shared_data / "real"
    assert code_of(read_map, real / "mrcfile" / "EMD-3001.map") == "MAP-002"
    assert code_of(read_map, real / "cryodrgn" / "50S-vol.mrc") == "MAP-001"
    assert code_of(read_map, real / "simplecryoem" / "pointmass.mrc") == "PIX-001"
    assert read_map(real / "mrcfile" / "EMD-3197.map").grid.pixel_size == pytest.approx(11.4)
    assert read_origin(real / "mrcfile" / "EMD-3197.map") == pytest.approx((-22.8, 0, 0))
    assert read_map(real / "ngl" / "betaGal.mrc").grid.pixel_size == pytest.approx(3.54)


def test_a_header_that_promises_more_images_than_follow_is_believed_only_so_far(shared_data):
    header = read_header(next((shared_data / "real" / "drgnai" / "tilts").iterdir()))
    assert (header.shape[0], header.claimed) == (1, 11029)

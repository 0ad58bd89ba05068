from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from morphem.core.grid import Grid
from morphem.data import DataError, MetadataWarning
from morphem.data.metadata import MetadataOptions
from morphem.data.mrc import write_stack
from morphem.data.stack import open_stack, order

COLUMNS = [
    "rlnOpticsGroup",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
]


def write_star(
    path: Path, names: list[str], groups: list[int] | None = None, pixels: tuple[float, ...] = (2.0,)
):
    """A RELION 3.1 star that names images, one optics group per pixel size."""
    lines = ["data_optics", "", "loop_", *(f"_{label}" for label in COLUMNS)]
    lines += [f"{k} 300 2.7 0.1 {size}" for k, size in enumerate(pixels, 1)]
    lines += ["", "data_particles", "", "loop_", "_rlnImageName", "_rlnOpticsGroup"]
    lines += ["_rlnDefocusU", "_rlnDefocusV", "_rlnDefocusAngle", "_rlnRandomSubset"]
    lines += [
        f"{name} {group} 15000 14000 10 {1 + row % 2}"
        for row, (name, group) in enumerate(zip(names, groups or [1] * len(names), strict=True))
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def numbered(stack: str, count: int) -> list[str]:
    return [f"{k:06d}@{stack}" for k in range(1, count + 1)]


def put_images(
    path: Path, images: torch.Tensor, pixel_size: float = 2.0, dtype: str = "float32"
) -> torch.Tensor:
    # the grid of a stack is even; an odd one is written through its raw header
    write_stack(path, [images], Grid(images.shape[-1], pixel_size), dtype)
    return images


def random_images(n: int, box: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, box, box, generator=torch.Generator().manual_seed(seed))


def rows(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


def code_of(action, *arguments, **keywords) -> str:
    with pytest.raises(DataError) as caught:
        action(*arguments, **keywords)
    return caught.value.code


def test_a_batch_carries_the_rows_asked_for(make_stack):
    batch = make_stack().read(rows(7, 2))
    assert batch.images[:, 0, 0].tolist() == [7, 2]
    assert batch.index.tolist() == [7, 2]
    assert batch.particle.tolist() == [7, 2]


def test_a_selection_reads_what_its_rows_named(make_stack):
    chosen = make_stack().select(rows(9, 4, 5))
    assert chosen.read(rows(0, 2)).images[:, 0, 0].tolist() == [9, 5]
    assert chosen.n_particles == 3


def test_an_empty_selection_is_refused(make_stack):
    assert code_of(make_stack().select, torch.tensor([], dtype=torch.long)) == "COUNT-002"


def test_halves_are_disjoint_complete_and_never_split_a_particle(make_stack):
    particle = torch.arange(40) // 4
    first, second = make_stack(40, particle).halves(seed=3)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(40))
    assert not set(particle[first].tolist()) & set(particle[second].tolist())
    assert len(first) == len(second)


def test_halves_are_those_of_the_file_where_it_names_them(tmp_path):
    put_images(tmp_path / "a.mrcs", random_images(6))
    stack = open_stack(write_star(tmp_path / "a.star", numbered("a.mrcs", 6)))
    first, second = stack.halves(seed=5)
    assert (first.tolist(), second.tolist()) == ([0, 2, 4], [1, 3, 5])


def test_an_order_depends_on_seed_and_epoch_alone():
    assert order(50, 1, 2).equal(order(50, 1, 2))
    assert not order(50, 1, 2).equal(order(50, 1, 3))
    assert not order(50, 1, 2).equal(order(50, 2, 1))
    assert order(50, 1, 2).sort().values.equal(torch.arange(50))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int16", "uint16"])
def test_images_of_several_stacks_and_folders_come_in_the_order_asked_for(tmp_path, dtype):
    (tmp_path / "sub").mkdir()
    first = put_images(tmp_path / "a.mrcs", (10 * random_images(3)).abs().round(), dtype=dtype)
    second = put_images(
        tmp_path / "sub" / "b.mrcs", (10 * random_images(2, seed=1)).abs().round(), dtype=dtype
    )
    names = ["2@sub/b.mrcs", "1@a.mrcs", "3@a.mrcs", "1@sub/b.mrcs"]
    batch = open_stack(write_star(tmp_path / "a.star", names)).read(rows(3, 0, 2, 1))
    assert batch.images.dtype == torch.float32
    assert batch.images.equal(torch.stack([second[0], second[1], first[2], first[0]]))


def test_more_stacks_than_may_be_open_at_once_are_read(tmp_path):
    for k in range(70):
        put_images(tmp_path / f"{k}.mrcs", torch.full((1, 4, 4), float(k)))
    stack = open_stack(write_star(tmp_path / "a.star", [f"1@{k}.mrcs" for k in range(70)]))
    for _ in range(2):
        assert stack.read(torch.arange(70)).images[:, 0, 0].tolist() == list(range(70))
    files = Path("/proc/self/fd")
    if files.exists():
        assert (
            sum(str(tmp_path) in str(file.readlink()) for file in files.iterdir() if file.is_symlink()) <= 64
        )


def test_rows_beyond_the_end_of_a_stack_are_refused(tmp_path):
    put_images(tmp_path / "a.mrcs", random_images(5))
    star = write_star(tmp_path / "a.star", numbered("a.mrcs", 7))
    with pytest.raises(DataError, match=r"E-COUNT-001 .*2 of 7 rows .*row 6, image 6 of the 5"):
        open_stack(star)


def test_fewer_rows_than_images_are_a_selection(tmp_path):
    images = put_images(tmp_path / "a.mrcs", random_images(5))
    stack = open_stack(write_star(tmp_path / "a.star", ["4@a.mrcs", "2@a.mrcs"]))
    assert stack.read(rows(0, 1)).images.equal(images[[3, 1]])


def test_a_truncated_stack_is_refused_when_a_lost_image_is_asked_for(tmp_path):
    images = put_images(tmp_path / "a.mrcs", random_images(5))
    whole = (tmp_path / "a.mrcs").read_bytes()
    (tmp_path / "a.mrcs").write_bytes(whole[: 1024 + 3 * 256 + 100])
    with pytest.raises(DataError, match=r"E-MRC-002 .*promises 5 images, 3 follow"):
        open_stack(write_star(tmp_path / "a.star", numbered("a.mrcs", 5)))
    stack = open_stack(write_star(tmp_path / "b.star", numbered("a.mrcs", 3)))
    assert stack.read(rows(0, 1, 2)).images.equal(images[:3])


def test_a_missing_stack_is_refused(tmp_path):
    star = write_star(tmp_path / "a.star", ["1@a.mrcs", "1@b.mrcs"])
    assert code_of(open_stack, star) == "PATH-001"


def test_an_image_named_twice_is_refused_unless_allowed(tmp_path):
    put_images(tmp_path / "a.mrcs", random_images(3))
    star = write_star(tmp_path / "a.star", ["1@a.mrcs", "2@a.mrcs", "1@a.mrcs"])
    assert code_of(open_stack, star) == "ID-001"
    assert len(open_stack(star, options=MetadataOptions(allow_duplicates=True))) == 3


def test_images_that_are_not_numbers_are_named_when_read(tmp_path):
    images = random_images(6)
    images[2, 3, 3], images[4] = torch.nan, torch.inf
    put_images(tmp_path / "a.mrcs", images)
    stack = open_stack(write_star(tmp_path / "a.star", numbered("a.mrcs", 6)))
    stack.read(rows(0, 1, 3, 5))
    with pytest.raises(DataError, match=r"E-NAN-001 2 of 6 .*row 5, image 5 of .*a\.mrcs; row 3, image 3"):
        stack.read(rows(4, 1, 2))


def odd_stack(path: Path, images: np.ndarray) -> None:
    header = np.zeros(256, np.int32)
    header[:4] = (*images.shape[::-1], 2)
    path.write_bytes(header.tobytes() + images.tobytes())


def test_an_odd_box_is_refused_with_the_crop_that_helps(tmp_path):
    images = random_images(2, box=9).numpy()
    odd_stack(tmp_path / "a.mrcs", images)
    star = write_star(tmp_path / "a.star", numbered("a.mrcs", 2))
    with pytest.raises(DataError, match=r"E-BOX-001 .*box 9 is odd; state crop=8"):
        open_stack(star)
    stack = open_stack(star, crop=8)
    # the origin stays: pixel 4 of 9 and of 8
    assert np.array_equal(stack.read(rows(0, 1)).images.numpy(), images[:, :8, :8])


def test_images_that_are_not_square_are_refused(tmp_path):
    odd_stack(tmp_path / "a.mrcs", np.zeros((2, 8, 10), np.float32))
    assert code_of(open_stack, write_star(tmp_path / "a.star", numbered("a.mrcs", 2))) == "BOX-001"


def test_a_downsampled_stack_needs_its_pixel_size(tmp_path):
    put_images(tmp_path / "a.mrcs", random_images(2))
    star = write_star(tmp_path / "a.star", numbered("a.mrcs", 2))
    text = star.read_text().replace(
        "_rlnImagePixelSize\n1 300 2.7 0.1 2.0", "_rlnImagePixelSize\n_rlnImageSize\n1 300 2.7 0.1 2.0 16"
    )
    star.write_text(text)
    with pytest.raises(DataError, match=r"E-BOX-002 .*16 pixels.* has 8; .*pixel_size \(4 Å"):
        open_stack(star)
    assert open_stack(star, options=MetadataOptions(pixel_size=4.0)).grid == Grid(8, 4.0)


def disk(box: int, pixel_size: float) -> torch.Tensor:
    axis = (torch.arange(box) - box // 2) * pixel_size
    return torch.exp(-((axis - 4) ** 2 + (axis[:, None] + 6) ** 2) / (2 * 5.0**2))[None]


def test_mixed_optics_groups_are_brought_to_one_grid(tmp_path):
    put_images(tmp_path / "a.mrcs", disk(40, 2.0), 2.0)
    put_images(tmp_path / "b.mrcs", disk(64, 1.3), 1.3)
    star = write_star(tmp_path / "a.star", ["1@a.mrcs", "1@b.mrcs"], [1, 2], pixels=(2.0, 1.3))
    with pytest.warns(MetadataWarning, match=r"40 px at 2 Å.*all are resampled to 40 px at 2 Å"):
        stack = open_stack(star)
    first, second = stack.read(rows(0, 1)).images
    assert stack.grid == Grid(40, 2.0)
    torch.testing.assert_close(second, first, atol=1e-4, rtol=0)  # what a blob of 5 Å has beyond the edge


def test_a_given_datadir_is_searched(tmp_path):
    (tmp_path / "scratch").mkdir()
    images = put_images(tmp_path / "scratch" / "a.mrcs", random_images(2))
    star = write_star(tmp_path / "a.star", numbered("Extract/job1/a.mrcs", 2))
    assert (
        open_stack(star, MetadataOptions(datadir=tmp_path / "scratch"))
        .read(rows(1))
        .images[0]
        .equal(images[1])
    )


PEAK = """
import resource, sys, torch, numpy as np
from pathlib import Path
from morphem.core.grid import Grid
from morphem.core.types import Optics, Poses
from morphem.data.images import DiskImages, Whereabouts
from morphem.data.mrc import read_header
from morphem.data.preprocess import prepare
from morphem.data.stack import ParticleStack

folder, n = Path(sys.argv[1]), int(sys.argv[2])
header = np.zeros(256, np.int32)
header[:4] = 16, 16, n, 2
with (folder / "a.mrcs").open("wb") as file:
    file.write(header.tobytes())
    for _ in range(n // 1000):
        file.write(np.random.default_rng(0).normal(size=(1000, 16, 16)).astype(np.float32).tobytes())
grid, one, nil = Grid(16, 2.0), np.ones(n), torch.zeros(n)
where = Whereabouts(np.zeros(n, np.int64), np.arange(n), 2.0 * one, one)
images = DiskImages([read_header(folder / "a.mrcs")], where, grid)
nothing = torch.zeros(n, dtype=torch.long)
poses = Poses(torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 2))
stack = ParticleStack(images, grid, poses, Optics(*[nil] * 9), *[nothing] * 3, nothing.bool())
for rows in torch.arange(n).split(256):
    stack.read(rows)
prepared = prepare(stack, cache=folder, sign=1.0)
for rows in prepared.order(0, 1).split(256)[:100]:
    prepared.read(rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_memory(folder: Path, n: int) -> float:
    """MiB at the highest, having read and prepared ``n`` images of 1 KiB."""
    command = [sys.executable, "-c", PEAK, str(folder), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_number_of_images(tmp_path):
    few, many = peak_memory(tmp_path, 10_000), peak_memory(tmp_path, 200_000)
    # 186 MiB more images, read and prepared; 200 bytes of poses, optics and order per particle
    assert many - few < 75, f"{few:.0f} MiB with 10,000 images, {many:.0f} MiB with 200,000"


def test_empiar_10076_opens_from_star_and_cs_alike(shared_data):
    folder = shared_data / "real" / "cryodrgn"
    star, cs = open_stack(folder / "empiar_10076_7.star"), open_stack(folder / "empiar_10076_7.cs")
    everything = torch.arange(7)
    assert star.grid.box == cs.grid.box == 320
    assert star.grid.pixel_size == pytest.approx(cs.grid.pixel_size, rel=1e-4)
    # the .cs asks for the grey values to be negated, the .star says nothing
    assert star.read(everything).images.equal(-cs.read(everything).images)
    for name in ("defocus_u", "defocus_v", "astigmatism", "voltage_kv", "cs_mm", "amplitude_contrast"):
        torch.testing.assert_close(getattr(star.optics, name), getattr(cs.optics, name), rtol=1e-4, atol=1e-4)


def test_the_relion_5_set_opens_from_its_optimisation_set(shared_data):
    name = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    stack = open_stack(shared_data / "real" / "tomodrgn" / name)
    assert (len(stack), stack.n_particles) == (1430, 40)
    assert stack.grid == Grid(32, 12.0)
    assert stack.premultiplied.all()
    assert stack.read(torch.arange(1430)).images.std() > 0


def test_headers_that_promise_too_much_do_not_hinder_drgnai(shared_data):
    star = shared_data / "real" / "drgnai" / "M_particles_sub10.star"
    stack = open_stack(star, options=MetadataOptions(allow_duplicates=True))
    assert stack.read(torch.arange(10)).images.shape == (10, 128, 128)


def test_the_odd_projections_of_aspire_need_a_crop(shared_data):
    star = shared_data / "real" / "aspire" / "rln_proj_65.star"
    options = MetadataOptions(pixel_size=1.0, has_ctf=False)
    assert code_of(open_stack, star, options=options) == "BOX-001"
    assert open_stack(star, options=options, crop=64).read(rows(0)).images.shape == (1, 64, 64)

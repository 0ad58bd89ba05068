"""Bad input gets one clear error and loses nothing: each case with the real file and the real command."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Answer, environment, finish, start

from morphem.core.grid import Grid
from morphem.data.mrc import write_stack

Command = Callable[..., Answer]

HEADER, IMAGES, BOX = 1024, 200, 32
IMAGE_BYTES = 4 * BOX**2
ON_FIRST_LINE = 35  # of the particle table


def rewrite(star: Path, change: Callable[[list[str], list[str]], list[list[str]]]) -> None:
    """Change the words of the particle table's rows, given its labels."""
    head, table = star.read_text().split("\ndata_particles\n")
    lines = table.splitlines()
    labels = [line.split()[0].removeprefix("_") for line in lines if line.startswith("_")]
    rows = [line.split() for line in lines if "@" in line]
    top = [line for line in lines if "@" not in line and line]
    body = [" ".join(row) for row in change(labels, rows)]
    star.write_text(head + "\ndata_particles\n" + "\n".join(["", *top, *body]) + "\n")


def setting(label: str, values: dict[int, str]) -> Callable[[list[str], list[list[str]]], list[list[str]]]:
    """Rows with one column changed in some of them."""

    def change(labels: list[str], rows: list[list[str]]) -> list[list[str]]:
        for row, value in values.items():
            rows[row][labels.index(label)] = value
        return rows

    return change


def without(star: Path, *gone: str) -> None:
    """Take columns out of the particle table."""
    head, table = star.read_text().split("\ndata_particles\n")
    lines = table.splitlines()
    labels = [line.split()[0].removeprefix("_") for line in lines if line.startswith("_")]
    kept = [k for k, label in enumerate(labels) if label not in gone]
    rows = [" ".join(line.split()[k] for k in kept) for line in lines if "@" in line]
    names = [f"_{labels[k]} #{n}" for n, k in enumerate(kept, 1)]
    star.write_text(head + "\ndata_particles\n" + "\n".join(["", "loop_", *names, *rows]) + "\n")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(answer: Answer, code: str, *said: object) -> str:
    """The one message of a command that failed as it should; each of ``said`` is in it."""
    assert answer.status == 1, answer
    assert answer.codes == [code], answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    message = next(line for line in answer.err.splitlines() if line.startswith("E-"))
    for words in said:
        assert str(words) in message, message
    return message


@pytest.fixture
def reconstruct(morphem: Command, tmp_path: Path) -> Command:
    """Back-project a particle file; the set must stay as it is, and a refusal must leave no results."""

    def run(path: Path, *words: object) -> Answer:
        before = snapshot(path.parent) if path.parent.is_dir() else {}
        answer = morphem("reconstruct", "backprojection", path, "-o", tmp_path / "run", *words)
        assert (snapshot(path.parent) if path.parent.is_dir() else {}) == before
        if answer.status:
            # at most the run's own name tag, log and progress; neither temporaries nor results
            left = {entry.name for entry in (tmp_path / "run").rglob("*") if entry.is_file()}
            assert left <= {"run.json", "log.txt", "status.json"}
        return answer

    return run


def test_the_set_as_it_is_gets_a_map(reconstruct: Command, particles: Path, tmp_path: Path):
    answer = reconstruct(particles)
    assert (answer.status, answer.err) == (0, "")
    assert (tmp_path / "run" / "mean.mrc").is_file()


def test_a_mistyped_path_is_answered_with_the_nearest(reconstruct: Command, particles: Path):
    wrong = particles.with_name("particle.star")
    refused(reconstruct(wrong), "E-PATH-001", wrong, "did you mean particles.star?")


def test_a_path_into_nowhere_names_the_folder_and_where_one_is(reconstruct: Command, particles: Path):
    wrong = particles.parent / "jobs" / "particles.star"
    refused(reconstruct(wrong), "E-PATH-001", wrong, f"nor does {wrong.parent}", Path.cwd())


def test_a_folder_is_answered_with_the_particle_files_in_it(reconstruct: Command, particles: Path):
    refused(reconstruct(particles.parent), "E-PATH-001", "is a folder", "particles.mrcs, particles.star")


def test_a_missing_stack_is_named_with_what_was_tried(reconstruct: Command, particles: Path):
    particles.with_suffix(".mrcs").unlink()
    refused(reconstruct(particles), "E-PATH-001", particles, "1 of 1 stacks not found", "Tried", "--datadir")


def test_a_missing_stack_is_found_in_the_folder_stated(reconstruct: Command, particles: Path, tmp_path: Path):
    (tmp_path / "scratch").mkdir()
    particles.with_suffix(".mrcs").rename(tmp_path / "scratch" / "particles.mrcs")
    assert reconstruct(particles, "--datadir", tmp_path / "scratch").status == 0


def test_rows_beyond_the_stack_are_refused(reconstruct: Command, particles: Path):
    rewrite(particles, setting("rlnImageName", {7: "000201@particles.mrcs"}))
    said = (particles, "1 of 200 rows", "first: row 8, image 201 of the 200", "another job?")
    refused(reconstruct(particles), "E-COUNT-001", *said)


def test_a_truncated_stack_is_refused(reconstruct: Command, particles: Path):
    stack = particles.with_suffix(".mrcs")
    os.truncate(stack, HEADER + 150 * IMAGE_BYTES + 17)
    refused(reconstruct(particles), "E-MRC-002", stack, "promises 200 images, 150 follow", "copy the file")


def test_a_stack_cut_within_its_header_is_refused(reconstruct: Command, particles: Path):
    stack = particles.with_suffix(".mrcs")
    os.truncate(stack, 500)
    refused(reconstruct(particles), "E-MRC-001", stack, "500 bytes", "copy the file again")


def _put_images(star: Path, name: str, box: int, count: int = IMAGES) -> None:
    generator = np.random.default_rng(0)
    import torch

    images = torch.from_numpy(generator.normal(size=(count, box, box)).astype(np.float32))
    write_stack(star.with_name(name), [images], Grid(box + box % 2, 8.0))


def _put_odd_images(stack: Path, box: int) -> None:
    """A stack of odd box; the header is patched, as no odd grid can be made."""
    import mrcfile

    with mrcfile.new(stack, overwrite=True) as file:
        file.set_data(np.random.default_rng(0).normal(size=(IMAGES, box, box)).astype(np.float32))
        file.set_image_stack()
        file.voxel_size = 8.0


def test_an_odd_box_is_refused_with_the_crop_that_mends_it(reconstruct: Command, particles: Path):
    _put_odd_images(particles.with_suffix(".mrcs"), 33)
    particles.write_text(particles.read_text().replace(" 32 2 300", " 33 2 300"))
    refused(reconstruct(particles), "E-BOX-001", particles, "box 33 is odd", "crop=32")
    assert reconstruct(particles, "--crop", 32).status == 0


def test_images_of_another_box_than_stated_are_refused(reconstruct: Command, particles: Path):
    _put_images(particles, "particles.mrcs", 24)
    said = (particles, "row 1 speaks of 32 pixels", "particles.mrcs has 24", "pixel_size (10.6667 Å")
    refused(reconstruct(particles), "E-BOX-002", *said)


def test_mixed_boxes_are_resampled_and_said(reconstruct: Command, particles: Path):
    _put_images(particles, "small.mrcs", 24, 100)
    text = particles.read_text().replace(
        "1 simulated 8.0", "2 small 8.000000 24 2 300 2.7 0.1\n1 simulated 8.0"
    )
    particles.write_text(text)

    def second(labels: list[str], rows: list[list[str]]) -> list[list[str]]:
        for number, row in enumerate(rows[:100], 1):
            row[labels.index("rlnImageName")] = f"{number:06d}@small.mrcs"
            row[labels.index("rlnOpticsGroup")] = "2"
        return rows

    rewrite(particles, second)
    answer = reconstruct(particles)
    assert answer.status == 0
    assert "mixed images (24 px at 8 Å, 32 px at 8 Å); all are resampled to 24 px at 8 Å" in answer.err


def test_images_that_are_no_numbers_are_named(reconstruct: Command, particles: Path):
    stack = particles.with_suffix(".mrcs")
    with stack.open("r+b") as file:
        for image in (41, 77):
            file.seek(HEADER + image * IMAGE_BYTES + 400)
            file.write(np.full(3, np.nan, "<f4").tobytes())
    said = ("2 of 200 images", f"row 42, image 42 of {stack}; row 78, image 78 of", "leave these rows out")
    refused(reconstruct(particles), "E-NAN-001", *said)


def test_no_defocus_is_refused(reconstruct: Command, particles: Path):
    rewrite(particles, setting("rlnDefocusU", {3: "0", 9: "0.0"}))
    said = (particles, "2 of 200 images (first rows 4, 10)", "defocus is 0", "estimate the CTF first")
    refused(reconstruct(particles), "E-CTF-001", *said)


def test_missing_defocus_is_refused(reconstruct: Command, particles: Path):
    without(particles, "rlnDefocusU", "rlnDefocusV")
    refused(
        reconstruct(particles), "E-CTF-001", particles, "no column _rlnDefocusU", "estimate the CTF first"
    )


def test_a_missing_voltage_is_refused_and_may_be_stated(reconstruct: Command, particles: Path):
    text = particles.read_text().replace("_rlnVoltage #6", "_rlnUnknown #6")
    particles.write_text(text)
    refused(reconstruct(particles), "E-CTF-003", particles, "no column _rlnVoltage", "state voltage_kv")
    assert reconstruct(particles, "--voltage-kv", 300).status == 0


def test_a_word_instead_of_a_number_is_refused_with_its_line(reconstruct: Command, particles: Path):
    rewrite(particles, setting("rlnAnglePsi", {0: "12,5"}))
    line = next(k for k, text in enumerate(particles.read_text().splitlines(), 1) if "12,5" in text)
    refused(reconstruct(particles), "E-STAR-004", f"{particles}, line {line}", "rlnAnglePsi", "met '12,5'")


def test_a_ragged_row_is_refused_with_its_line(reconstruct: Command, particles: Path):
    rewrite(particles, lambda labels, rows: [*rows[:5], rows[5][:-2], *rows[6:]])
    line = next(k for k, text in enumerate(particles.read_text().splitlines(), 1) if "000006@" in text)
    refused(reconstruct(particles), "E-STAR-001", f"{particles}, line {line}", "19 values", "21 columns")


@pytest.mark.parametrize("content", [b"", b"hello\n", os.urandom(500)], ids=["empty", "prose", "noise"])
def test_a_file_that_is_no_star_file_is_refused(reconstruct: Command, particles: Path, content: bytes):
    particles.write_bytes(content)
    refused(reconstruct(particles), "E-STAR-002", particles, "not a STAR file")


def test_a_particle_file_without_particles_is_refused(reconstruct: Command, particles: Path):
    rewrite(particles, lambda labels, rows: [])
    refused(reconstruct(particles), "E-COUNT-002", particles, "no particles")


def test_a_file_of_unknown_kind_is_refused(reconstruct: Command, particles: Path):
    odd = particles.rename(particles.with_suffix(".csv"))
    refused(reconstruct(odd), "E-PATH-003", odd, ".star, .cs")


def test_the_same_image_in_several_rows_is_refused_unless_wanted(reconstruct: Command, particles: Path):
    rewrite(particles, setting("rlnImageName", {9: "000001@particles.mrcs", 10: "000003@particles.mrcs"}))
    said = (particles, "2 of 200 images (first rows 1, 3)", "allow_duplicates")
    refused(reconstruct(particles), "E-ID-001", *said)
    assert reconstruct(particles, "--allow-duplicates").status == 0


def test_poses_that_are_all_zero_are_none(reconstruct: Command, particles: Path):
    without(particles, "rlnAnglePsi", "rlnAngleRot", "rlnAngleTilt")
    refused(reconstruct(particles), "E-POSE-002", particles, "no poses", "refine the particles first")


def test_a_pose_that_is_no_number_is_refused(reconstruct: Command, particles: Path):
    rewrite(particles, setting("rlnAngleTilt", {2: "nan"}))
    refused(reconstruct(particles), "E-POSE-001", particles, "1 of 200 images (first rows 3)")


def _pickle(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def _turns() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(0).normal(size=(IMAGES, 3, 3)))[0].astype(np.float32)


def _proper(turns: np.ndarray) -> np.ndarray:
    return turns * np.linalg.det(turns)[:, None, None]


@pytest.mark.parametrize(
    "spoil",
    [lambda turn: 1.1 * turn, lambda turn: turn + np.eye(3)[[2, 0, 1]] / 5, lambda turn: -turn],
    ids=["stretched", "sheared", "mirrored"],
)
def test_matrices_that_are_no_rotations_are_refused(
    reconstruct: Command, particles: Path, spoil: Callable[[np.ndarray], np.ndarray]
):
    turns = _proper(_turns())
    turns[5] = spoil(turns[5])
    poses = _pickle(particles.with_name("poses.pkl"), (turns, np.zeros((IMAGES, 2), np.float32)))
    said = ("1 of 200 images (first rows 6)", "not a rotation")
    refused(reconstruct(particles, "--poses", poses), "E-POSE-001", *said)


def test_poses_of_another_set_are_refused(reconstruct: Command, particles: Path):
    poses = _pickle(particles.with_name("poses.pkl"), (_proper(_turns())[:150], np.zeros((150, 2))))
    refused(reconstruct(particles, "--poses", poses), "E-COUNT-001", poses, "150 rows", "200 images")


class Villain:
    """Runs a command when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.victim}",)


@pytest.mark.parametrize("option", ["--poses", "--ctf", "--indices"])
def test_code_in_a_pickle_is_named_and_never_run(
    reconstruct: Command, particles: Path, tmp_path: Path, option: str
):
    evil = _pickle(particles.with_name("evil.pkl"), (Villain(tmp_path / "victim"), np.zeros(3)))
    refused(reconstruct(particles, option, evil), "E-PKL-001", evil, "posix.system", "never run")
    assert not (tmp_path / "victim").exists()


def test_a_pickle_cut_short_is_refused(reconstruct: Command, particles: Path):
    poses = _pickle(particles.with_name("poses.pkl"), _turns())
    os.truncate(poses, 300)
    refused(reconstruct(particles, "--poses", poses), "E-PKL-002", poses, "cut short", "write it again")


def _cs(star: Path, aligned: bool = True) -> np.ndarray:
    """A cryoSPARC dataset of the same images, its numbers plausible."""
    fields = [
        ("uid", "<u8"), ("blob/path", "S40"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,)),
        ("blob/psize_A", "<f4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4"), ("ctf/amp_contrast", "<f4"),
        ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4"), ("ctf/df_angle_rad", "<f4"),
        ("ctf/phase_shift_rad", "<f4"),
    ]  # fmt: skip
    if aligned:
        fields += [
            ("alignments3D/pose", "<f4", (3,)), ("alignments3D/shift", "<f4", (2,)),
            ("alignments3D/psize_A", "<f4"),
        ]  # fmt: skip
    rows = np.zeros(IMAGES, fields)
    rows["uid"], rows["blob/idx"] = np.arange(IMAGES) + 7, np.arange(IMAGES)
    rows["blob/path"], rows["blob/shape"], rows["blob/psize_A"] = b"particles.mrcs", BOX, 8.0
    rows["ctf/accel_kv"], rows["ctf/cs_mm"], rows["ctf/amp_contrast"] = 300, 2.7, 0.1
    rows["ctf/df1_A"], rows["ctf/df2_A"] = 15000, 14800
    if aligned:
        rows["alignments3D/pose"] = np.random.default_rng(0).normal(size=(IMAGES, 3))
        rows["alignments3D/psize_A"] = 8.0
    return rows


def _save(star: Path, rows: np.ndarray) -> Path:
    path = star.with_suffix(".cs")
    with path.open("wb") as file:
        np.save(file, rows)
    return path


def test_a_dataset_with_alignments_gets_a_map(reconstruct: Command, particles: Path):
    assert reconstruct(_save(particles, _cs(particles))).status == 0


@pytest.mark.parametrize("method", ["backprojection", "cryospire"])
def test_a_dataset_without_alignments_is_refused_before_any_work(
    morphem: Command, particles: Path, tmp_path: Path, method: str
):
    path = _save(particles, _cs(particles, aligned=False))
    answer = morphem("reconstruct", method, path, "-o", tmp_path / "run")
    refused(answer, "E-CS-001", path, "no alignments3D", "particles of a refinement", "passthrough")
    assert not (tmp_path / "run").exists()


def test_a_dataset_with_a_pose_that_is_no_number_is_refused(reconstruct: Command, particles: Path):
    rows = _cs(particles)
    rows["alignments3D/pose"][11] = np.nan
    path = _save(particles, rows)
    refused(reconstruct(path), "E-POSE-001", path, "1 of 200 images (first rows 12)", "drop these rows")


def test_a_dataset_with_one_uid_twice_is_refused(reconstruct: Command, particles: Path):
    rows = _cs(particles)
    rows["uid"][11] = rows["uid"][4]
    path = _save(particles, rows)
    refused(reconstruct(path), "E-ID-001", path, "first rows 5", "share one uid")


def test_a_dataset_cut_short_is_refused(reconstruct: Command, particles: Path):
    path = _save(particles, _cs(particles))
    os.truncate(path, 9000)
    refused(reconstruct(path), "E-CS-003", path, "cut short", "export it again")


def test_a_dataset_of_python_objects_is_never_loaded(reconstruct: Command, particles: Path, tmp_path: Path):
    path = _save(particles, np.array([Villain(tmp_path / "victim")], dtype=object))
    refused(reconstruct(path), "E-CS-003", path, "never loaded")
    assert not (tmp_path / "victim").exists()


def test_an_output_below_a_file_is_refused_and_the_file_kept(
    morphem: Command, particles: Path, tmp_path: Path
):
    (tmp_path / "notes").write_text("mine")
    for out in (tmp_path / "notes", tmp_path / "notes" / "run"):
        answer = morphem("reconstruct", "backprojection", particles, "-o", out)
        refused(answer, "E-DISK-002", tmp_path / "notes", "choose another folder")
    assert (tmp_path / "notes").read_text() == "mine"


IN_A_MOUNT = (
    'mount -t tmpfs -o "$1" tmpfs "$2" || exit 99; out="$2"; shift 2; "$@"; code=$?; '
    'find "$out" -type f >&2; exit $code'
)


def _mounted(options: str, folder: Path, particles: Path) -> Answer:
    """Reconstruct into a file system of its own, which goes with the process; its files are listed."""
    folder.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: file systems cannot be mounted for one process")
    command = [sys.executable, "-m", "morphem", "reconstruct", "backprojection", particles, "-o", folder]
    answer = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", IN_A_MOUNT, "sh", options, folder, *command],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode == 99 or "unshare failed" in answer.stderr:
        pytest.skip(f"this machine allows no mounts: {answer.stderr}")
    return Answer(answer.returncode, answer.stdout, answer.stderr)


def test_a_folder_without_permission_to_write_is_refused(particles: Path, tmp_path: Path):
    answer = _mounted("ro", tmp_path / "readonly", particles)
    refused(answer, "E-DISK-002", tmp_path / "readonly", "choose another folder or ask its owner")


@pytest.mark.parametrize("room", ["300k", "600k"], ids=["for the cache", "for the maps"])
def test_a_full_disk_leaves_no_file_half_written(particles: Path, tmp_path: Path, room: str):
    answer = _mounted(f"size={room}", tmp_path / "tiny", particles)
    refused(answer, "E-DISK-001", tmp_path / "tiny", "free space")
    left = [Path(line).name for line in answer.err.splitlines() if line.startswith(str(tmp_path / "tiny"))]
    assert "run.json" in left
    assert [name for name in left if name.startswith(".") or name == "mean.mrc"] == []


def test_what_a_full_disk_stopped_goes_on_with_room(particles: Path, tmp_path: Path):
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    command = ("reconstruct", "backprojection", particles, "-o", tmp_path / "run")
    refused(
        finish(start(*command, preexec_fn=small_files)), "E-DISK-001", "could not be written", "free space"
    )
    assert {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()} <= {"run.json", "log.txt"}
    answer = finish(start(*command))
    assert answer.status == 0
    assert (tmp_path / "run" / "mean.mrc").is_file()


def test_a_folder_of_another_run_is_not_taken_unless_told(morphem: Command, particles: Path, tmp_path: Path):
    command = ("reconstruct", "backprojection", particles, "-o", tmp_path / "run")
    assert morphem(*command).status == 0
    before = snapshot(tmp_path / "run")
    answer = morphem(*command, "--seed", 3)
    refused(answer, "E-RESUME-001", tmp_path / "run", "config.seed was 0, is now 3", "--overwrite")
    assert snapshot(tmp_path / "run") == before
    assert morphem(*command, "--seed", 3, "--overwrite").status == 0
    assert '"seed": 3' in (tmp_path / "run" / "run.json").read_text()


def test_a_finished_run_given_again_ends_with_the_same_bits(
    morphem: Command, particles: Path, tmp_path: Path
):
    command = ("reconstruct", "backprojection", particles, "-o", tmp_path / "run")
    assert morphem(*command).status == 0
    before = snapshot(tmp_path / "run")
    assert morphem(*command).status == 0
    after = snapshot(tmp_path / "run")
    # the page tells how long the run took, which status.json knows
    assert {name for name in before if before[name] != after[name]} <= {"status.json", "report.html"}


def test_other_particles_are_named_as_what_changed(morphem: Command, particles: Path, tmp_path: Path):
    command = ("reconstruct", "backprojection", particles, "-o", tmp_path / "run")
    assert morphem(*command).status == 0
    rewrite(particles, lambda labels, rows: rows[:-1])
    refused(morphem(*command), "E-RESUME-001", "data.images was 200, is now 199")


@pytest.mark.parametrize("words", [(), ("--overwrite",)], ids=["plain", "overwrite"])
def test_the_particle_file_is_never_replaced(morphem: Command, particles: Path, words: tuple[str, ...]):
    before = snapshot(particles.parent)
    answer = morphem("reconstruct", "backprojection", particles, "-o", particles.parent, *words)
    refused(answer, "E-PATH-004", f"would replace {particles}", "choose another folder")
    assert snapshot(particles.parent) == before


def test_results_of_somebody_else_are_not_overwritten(morphem: Command, particles: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mean.mrc").write_text("precious")
    answer = morphem("reconstruct", "backprojection", particles, "-o", tmp_path / "run")
    refused(answer, "E-RESUME-001", "holds mean.mrc but no run", "choose another folder")
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == {"mean.mrc": "precious"}


def test_an_unknown_method_is_answered_with_the_nearest(morphem: Command, particles: Path, tmp_path: Path):
    answer = morphem("reconstruct", "cryospier", particles, "-o", tmp_path / "run")
    refused(answer, "E-VALUE-001", "cryospier", "did you mean cryospire?")


def test_an_unknown_option_is_a_usage_error_that_leaves_nothing(
    morphem: Command, particles: Path, tmp_path: Path
):
    answer = morphem("reconstruct", "backprojection", particles, "-o", tmp_path / "run", "--sed", 3)
    assert answer.status == 2
    assert "--sed" in answer.err
    assert "--seed" in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_command_says_so_in_one_line():
    answer = finish(start("recontruct", "cryospire"))
    assert answer == Answer(2, "", "morphem: no command is called recontruct; did you mean reconstruct?\n")


def test_a_true_process_says_the_same(particles: Path, tmp_path: Path):
    particles.with_suffix(".mrcs").unlink()
    answer = finish(start("reconstruct", "cryospire", particles, "-o", tmp_path / "run"))
    refused(answer, "E-PATH-001", particles, "stacks not found")
    assert len(answer.err.splitlines()) == 2  # the message, and how to see where it happened
    assert not (tmp_path / "run").exists()

"""cryoDRGN's variational autoencoder on a simulated set, as its documentation has it.

Our particles are bright on dark, as RELION's are: what cryoDRGN expects unless told ``--uninvert-data``.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.peers.process import UnfinishedError, Usage, environment, measured

LATENT = 8  # --zdim of its documentation
EPOCHS = 20  # of train_vae unless it is told
_EPOCH = re.compile(r"Epoch: (\d+) Average.*Finished in (\d+):(\d\d):([\d.]+)")
_AMIDST = re.compile(r"\(([^()]*\d\d:\d\d:\d\d)\) # \[Train Epoch: 1/\d+\] \[(\d+)/\d+ particles\]")
_BEGUN = re.compile(r"\(([^()]*\d\d:\d\d:\d\d)\) Using \d+ workers")
# glibc would give each tensor's pages back to the kernel: a tenth of the time on a CPU
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592"}


@dataclass(frozen=True)
class Training:
    """How long and how wide.

    Attributes:
        epochs: At most.
        budget: Seconds after which it is stopped.
        width: Units of every hidden layer; its default (1,024) if None.
        seed: Of its random numbers.
        threads: Processors.
    """

    epochs: int = EPOCHS
    budget: float | None = None
    width: int | None = None
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Trained:
    """What training came to.

    Attributes:
        folder: Of ``weights.N.pkl`` and ``z.N.pkl``.
        epoch: The last whole one; 0 if there is none.
        images_per_second: Of training, without reading files and start-up; None if nothing tells.
        usage: Of every program that ran.
    """

    folder: Path
    epoch: int
    images_per_second: float | None
    usage: list[Usage]

    def latents(self) -> Path:
        """Of every particle after the last whole epoch.

        Raises:
            UnfinishedError: If no epoch was finished.
        """
        if not self.epoch:
            rate = "" if self.images_per_second is None else f" at {self.images_per_second:.1f} images/s"
            raise UnfinishedError(f"cryoDRGN finished no epoch in its time{rate}; nothing can be decoded")
        return self.folder / f"z.{self.epoch}.pkl"


def train(program: Path, data: Path, out: Path, images: int, training: Training) -> Trained:
    """Read poses and CTFs from ``data/particles.star`` and train."""
    out.mkdir(parents=True, exist_ok=True)
    variables, log = environment(training.threads, **_MALLOC), out / "train.log"
    star, poses, ctf = data / "particles.star", out / "poses.pkl", out / "ctf.pkl"
    usage = [
        measured([program, "parse_pose_star", star, "-o", poses], log, variables),
        measured([program, "parse_ctf_star", star, "-o", ctf], log, variables),
    ]
    command = [program, "train_vae", star, "--datadir", data, "--poses", poses, "--ctf", ctf]
    command += ["--zdim", str(LATENT), "-n", str(training.epochs), "--seed", str(training.seed)]
    # it tells its pace at common multiples of this and of its batches of 16 images
    command += ["--no-analysis", "--log-interval", "160", "-o", out / "vae", *_widths(training.width)]
    usage.append(measured(command, log, variables, training.budget))
    said = log.read_text(encoding="utf-8", errors="replace")
    return Trained(out / "vae", last_epoch(out / "vae", images), pace(said, images), usage)


def decode(program: Path, trained: Trained, plan: Path, pixel_size: float, threads: int) -> Usage:
    """Make the maps of a plan (``maps.csv`` and, beside it, ``maps.txt``) in the plan's folder."""
    shutil.copyfile(trained.latents(), plan.parent / "z.pkl")
    weights = trained.folder / f"weights.{trained.epoch}.pkl"
    command = [program, "eval_vol", weights, "-c", trained.folder / "config.yaml", "-o", plan.parent]
    command += ["--zfile", plan.with_suffix(".txt"), "--Apix", f"{pixel_size:g}", "--vol-start-index", "0"]
    return measured(command, plan.parent.parent / "decode.log", environment(threads, **_MALLOC))


def last_epoch(folder: Path, images: int) -> int:
    """The last epoch whose files are whole: latents, written after the weights, hold means and variances."""
    whole = 2 * 4 * LATENT * images  # bytes
    found = [path for path in folder.glob("z.*.pkl") if path.stat().st_size > whole]
    return max((int(path.name.split(".")[1]) for path in found), default=0)


def pace(log: str, images: int) -> float | None:
    """Images per second over all whole epochs, else to the last line of the first."""
    times = [3600 * int(h) + 60 * int(m) + float(s) for _, h, m, s in _EPOCH.findall(log)]
    if times:
        return images * len(times) / sum(times)
    begun, amidst = _BEGUN.findall(log), _AMIDST.findall(log)
    if not begun or not amidst:
        return None
    when, seen = amidst[-1]
    seconds = (_time(when) - _time(begun[-1])).total_seconds()  # a log may hold earlier attempts
    return int(seen) / seconds if seconds else None


def _widths(width: int | None) -> list[str]:
    return [] if width is None else ["--enc-dim", str(width), "--dec-dim", str(width)]


def _time(words: str) -> datetime:
    return datetime.strptime(words, "%d-%b-%Y %H:%M:%S")

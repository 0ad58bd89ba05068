"""What cryoDRGN leaves in its output folder: latents of an epoch, and the maps that it decoded of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from morphem.data.errors import DataError
from morphem.data.foreign import read_arrays
from morphem.report.foreign.cryodrgn_images import Images, images_of
from morphem.report.foreign.map_series import MapFile, in_order, numbered_maps, read_maps, some
from morphem.report.foreign.settings import read_settings
from morphem.report.map_folder import read_latents
from morphem.report.scene.shown import Column, Shown

_LATENTS = re.compile(r"(?:z|conf)(?:\.(\d+))?\.(?:pkl|npy)")
_LAST = 1 << 30  # the epoch of files without a number, written when the last has ended
_LOSS = re.compile(r"=====>.*?Epoch: (\d+) .*?(?:total loss|Average loss) = ([-+.\deE]+)")
_CITED = (
    "Zhong, Bepler, Berger, Davis: CryoDRGN: reconstruction of heterogeneous cryo-EM structures using neural "
    "networks. Nat. Methods 18, 176–185 (2021)"
)
_CLUSTERS = re.compile(r"kmeans(\d+)")
_COMPONENT = re.compile(r"pc(\d+)(?:_\d+)?")


@dataclass(frozen=True)
class Output:
    """An output folder, and of which epoch it is read.

    Attributes:
        folder: With ``config.yaml`` and the latents.
        latents: The file of them.
        epoch: As cryoDRGN counts; None for files without a number.
        newest: The newest epoch of which there are latents.
        settings: Of ``config.yaml``, as text by ``section.name``.
    """

    folder: Path
    latents: Path
    epoch: int | None
    newest: int | None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def analysis(self) -> Path:
        """Where ``cryodrgn analyze`` writes what it makes of this epoch."""
        return self.folder / ("analyze" if self.epoch is None else f"analyze.{self.epoch}")


def find_output(folder: Path) -> Output | None:
    """The cryoDRGN output that a folder is, or that lies one folder below; None if there is none.

    The newest epoch that was analysed counts, since its maps belong to its latents; without any, the newest.
    """
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        epochs = _epochs(place)
        if epochs and ((place / "config.yaml").is_file() or (place / "config.pkl").is_file()):
            return _output(place, epochs)
    return None


def shown_cryodrgn(folder: Path, output: Output, particles: Path | None = None) -> Shown:
    """A cryoDRGN result as a page shows it. Its weights are not decoded: the maps are those that it wrote.

    Args:
        folder: As it was given; maps that ``eval_vol`` wrote below it are found too.
        output: In or just below it.
        particles: Where the particle file is, if not where ``config.yaml`` says.

    Raises:
        DataError: If a file is not what its name says.
    """
    latents = read_latents(output.latents)
    images = images_of(output.folder, output.epoch, output.settings, len(latents), particles)
    files = list(_map_files(folder, output, latents.shape[1])) or _consensus(output)
    maps = read_maps(some(files), images.pixel_size)
    return Shown(
        title=folder.resolve().name,
        subtitle=_subtitle(output),
        latents=latents,
        grid=maps[0].volume.grid if maps else None,
        fixed=maps,
        columns=tuple(_columns(output, len(latents))) + images.columns,
        stack=images.stack,
        poses=images.poses,
        summary=_summary(output, latents, (len(maps), len(files)), images),
        commands=_commands(output, bool(maps)),
        record=_record(output, images),
    )


def _epochs(folder: Path) -> dict[int, Path]:
    """Files of latents by epoch."""
    matches = [(match, path) for path in folder.iterdir() if (match := _LATENTS.fullmatch(path.name))]
    return {_LAST if match[1] is None else int(match[1]): path for match, path in matches}


def _output(folder: Path, epochs: dict[int, Path]) -> Output:
    numbered = {None if epoch == _LAST else epoch: path for epoch, path in sorted(epochs.items())}
    config = folder / "config.yaml"
    settings = read_settings(config) if config.is_file() else {}
    each = [Output(folder, path, epoch, [*numbered][-1], settings) for epoch, path in numbered.items()]
    analysed = [output for output in each if output.analysis.is_dir()]
    return (analysed or each)[-1]


def _map_files(folder: Path, output: Output, width: int) -> Iterator[MapFile]:
    """Maps of the analysis first, then those that lie in other folders with their latents beside them."""
    analysis = output.analysis
    if analysis.is_dir():
        below = in_order(path for path in analysis.iterdir() if path.is_dir())
        for pattern in (_CLUSTERS, _COMPONENT):
            for place in below:
                if pattern.fullmatch(place.name):
                    yield from numbered_maps(place, width)
        yield from numbered_maps(analysis, width)  # of a latent of one number
    for place in dict.fromkeys((*_folders(folder), *_folders(output.folder))):
        if not place.name.startswith("analyze"):
            yield from (each for each in numbered_maps(place, width) if each.latent is not None)


def _consensus(output: Output) -> list[MapFile]:
    """The map that ``abinit`` and ``train_dec`` write of each epoch."""
    number = "" if output.epoch is None else f".{output.epoch}"
    path = output.folder / f"reconstruct{number}.mrc"
    return [MapFile(path.stem, path)] if path.is_file() else []


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _columns(output: Output, count: int) -> Iterator[Column]:
    """What the analysis says of each particle; files of another length are of other particles."""
    umap = output.analysis / "umap.pkl"
    if umap.is_file():
        for number, values in enumerate(_rows(umap, count, 2).T[:2], 1):
            yield Column(f"umap{number}", f"UMAP {number}", values.astype(np.float32))
    for labels in in_order(output.analysis.glob("kmeans*/labels.pkl")):
        codes = _rows(labels, count, 1).astype(np.int32)
        names = tuple(str(code + 1) for code in range(int(codes.max()) + 1))
        clusters = labels.parent.name.removeprefix("kmeans")
        name = "kmeans" if clusters == str(len(names)) else f"kmeans{clusters}"
        yield Column(name, f"k-means cluster of {clusters}", codes, categories=names)


def _rows(path: Path, count: int, ndim: int) -> np.ndarray:
    array = read_arrays(path)
    if isinstance(array, tuple) or array.ndim != ndim or len(array) != count:
        shape = "several arrays" if isinstance(array, tuple) else " × ".join(map(str, array.shape))
        met = f"{path} holds {shape}, the latents are of {count} particles"
        raise DataError("COUNT-001", f"{met}; run cryodrgn analyze on this epoch again")
    return array


def _subtitle(output: Output) -> str:
    version = output.settings.get("version", "")
    epoch = "last epoch" if output.epoch is None else f"epoch {output.epoch}"
    return f"cryoDRGN {version}, {epoch}".replace("  ", " ").replace(" ,", ",")


def _summary(
    output: Output, latents: Float[Tensor, "p z"], maps: tuple[int, int], images: Images
) -> tuple[tuple[str, str], ...]:
    shown, there = maps
    decoded = f"{shown} of {there}, as cryoDRGN wrote them" if shown else "none yet; see the commands"
    rows = [("latents", output.latents.name), ("latent numbers", str(latents.shape[1])), ("maps", decoded)]
    if output.newest != output.epoch:
        newest = "z.pkl" if output.newest is None else f"epoch {output.newest}"
        rows.append(("newest latents", f"{newest}, not analysed yet"))
    return (*rows, ("particle images", images.told))


def _commands(output: Output, has_maps: bool) -> tuple[tuple[str, str], ...]:
    folder, newest = shlex.quote(str(output.folder.absolute())), output.newest
    commands = []
    if not has_maps or newest != output.epoch:
        epoch = -1 if newest is None else newest
        commands.append(("decode maps of the newest epoch", f"cryodrgn analyze {folder} {epoch}"))
    number = "" if output.epoch is None else f".{output.epoch}"
    decode = f"cryodrgn eval_vol {folder}/weights{number}.pkl -c {folder}/config.yaml"
    several = f"{decode} --zfile latents.txt -o {folder}/maps"
    return (*commands, ("decode maps of latents of your own, shown here too", several))


def _record(output: Output, images: Images) -> dict[str, object]:
    """The loss by epoch that ``run.log`` tells, and the settings."""
    log = next(
        (path for name in ("run.log", "training.log") if (path := output.folder / name).is_file()), None
    )
    text = "" if log is None else log.read_text(encoding="utf-8", errors="replace")
    losses = {int(epoch): float(loss) for epoch, loss in _LOSS.findall(text)}
    rows = [{"epoch": epoch, "loss": losses[epoch]} for epoch in sorted(losses)]
    told = {"program": "cryoDRGN", "settings": output.settings}
    return {
        "history": {"training": rows} if rows else {},
        "provenance": told,
        "citations": [_CITED],
        "images": "" if images.stack is not None else images.told,
    }

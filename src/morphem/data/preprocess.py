"""Images made ready once: protein bright, background zero, noise one, no finer than needed."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.fourier import resize_images, to_fourier, to_real
from morphem.core.types import Particles
from morphem.data.atomic import atomic_path
from morphem.data.errors import DataError, MetadataWarning
from morphem.data.images import MemoryImages, ShuffledImages
from morphem.data.sign import estimate_sign, outside
from morphem.data.stack import ParticleStack, order
from morphem.physics.ctf import contrast_transfer

_BATCH = 256
_MEASURED = 2000  # images from which noise is measured
_DAMPING = 0.05  # contrast transfer below which a premultiplied image is not divided
_LARGEST = 6e4  # float16 ends at 65504
_FORMAT = 1  # of the cache; raise it when prepared images come out different


@dataclass(frozen=True)
class Recipe:
    """What is done to every image.

    Attributes:
        box: Pixels along a side after Fourier cropping.
        sign: Factor that makes protein bright.
        radius: Of the particle's mask, Å; background lies outside.
        scale: Factor per optics group that makes the noise variance one.
    """

    box: int
    sign: float
    radius: float
    scale: tuple[float, ...]

    def apply(self, batch: Particles, premultiplied: Bool[Tensor, "b"]) -> Float[Tensor, "b e e"]:
        """Prepared images of a batch."""
        images, grid = unscaled(self, batch, premultiplied), batch.grid.resized(self.box)
        rim = outside(grid, self.radius).float()
        level = images.flatten(1) @ (rim / rim.sum()).flatten()
        scale = torch.tensor(self.scale)[batch.group]
        return (images - level[:, None, None]) * scale[:, None, None]


def prepare(
    stack: ParticleStack,
    box: int | None = None,
    cache: Path | str | None = None,
    sign: float | None = None,
    radius: float | None = None,
    seed: int = 0,
) -> ParticleStack:
    """The same particles with protein bright, background mean 0 and noise variance 1 per optics group.

    CTF-premultiplied images are divided by their transfer where it is not small, ``y C / (C² + 0.05²)``, then
    count as not premultiplied. Kept in memory as float16, or in one file of ``cache`` in random order that is
    written once per set of inputs.

    Args:
        stack: As it was opened.
        box: Fourier-crop to this many pixels.
        cache: Folder for the file; everything is held in memory without one.
        sign: +1 if protein is bright, −1 if dark; detected by default.
        radius: Of the particle, Å; background is measured outside. Default: 0.42 of the box.
        seed: Of the order on disk, and of the images that noise is measured on.
    """
    box = stack.grid.box if box is None else box
    if box > stack.grid.box or box % 2:
        raise DataError("BOX-001", f"box {box}: choose an even number of at most {stack.grid.box} pixels")
    radius = 0.42 * stack.grid.extent if radius is None else radius
    if not outside(stack.grid.resized(box), radius).any():
        raise DataError("MASK-001", f"no pixel lies outside {radius:g} Å; choose a smaller radius")
    if cache is None:
        _check_memory(len(stack) * box**2 * 2)
        recipe = _measure(stack, Recipe(box, _sign(stack, sign, seed), radius, ()), seed)
        return _prepared(stack, MemoryImages(_in_memory(stack, recipe)), box)
    return _prepared(stack, _cached(stack, Path(cache), (box, sign, radius, seed)), box)


def unscaled(recipe: Recipe, batch: Particles, premultiplied: Bool[Tensor, "b"]) -> Float[Tensor, "b e e"]:
    """Images of a batch with bright protein, undone premultiplication and the recipe's box."""
    images = batch.images * recipe.sign
    if premultiplied.any():
        divided = _divided(replace(batch, images=images)[premultiplied])
        images = images.index_put((premultiplied.nonzero().flatten(),), divided)
    return resize_images(images, recipe.box)


def _divided(batch: Particles) -> Float[Tensor, "b d d"]:
    transfer = contrast_transfer(batch.optics, batch.grid).float()
    return to_real(to_fourier(batch.images) * transfer / (transfer.square() + _DAMPING**2))


def _prepared(stack: ParticleStack, images: MemoryImages | ShuffledImages, box: int) -> ParticleStack:
    plain = torch.zeros_like(stack.premultiplied)
    return replace(stack, images=images, grid=stack.grid.resized(box), premultiplied=plain)


def _sign(stack: ParticleStack, given: float | None, seed: int) -> float:
    if given is not None:
        return given
    estimate = estimate_sign(stack, seed)
    by = f"{estimate.deviations:+.1f} standard errors"
    if estimate.confident and estimate.sign > 0:
        return 1.0
    if estimate.confident:
        note = f"protein is dark ({by}); grey values are inverted. State sign=1 to keep them"
    else:
        note = f"it is unclear whether protein is bright ({by}); it is taken to be. State sign if it is not"
    warnings.warn(f"{note} (SIGN-001)", MetadataWarning, stacklevel=4)
    return estimate.sign if estimate.confident else 1.0


def _measure(stack: ParticleStack, recipe: Recipe, seed: int) -> Recipe:
    """The recipe with each group's noise measured on a sample of its images."""
    rim = outside(stack.grid.resized(recipe.box), recipe.radius)
    shuffled = order(len(stack), seed, 1)
    each = max(_MEASURED // stack.n_groups, 100)
    scale = []
    for group in range(stack.n_groups):
        rows = shuffled[stack.group[shuffled] == group][:each]
        # images that are no numbers are named when all have been read
        batches = map(stack.read_sound, rows.sort().values.split(_BATCH))
        parts = [unscaled(recipe, batch, stack.premultiplied[batch.index]) for batch in batches]
        variances = torch.cat([images[:, rim].var(-1) for images in parts])
        overall = torch.cat([images.flatten(1).var(-1) for images in parts])
        scale.append(_noise_scale(variances, overall, group))
    return replace(recipe, scale=tuple(scale))


def _noise_scale(variances: Float[Tensor, "m"], overall: Float[Tensor, "m"], group: int) -> float:
    """One over the noise's standard deviation, images of ten times the usual variance left out."""
    usual = variances[variances <= 10 * variances.median()].mean()
    if overall.mean() == 0:
        raise DataError("IMG-001", f"the images of optics group {group + 1} are blank; leave them out")
    if usual < 1e-6 * overall.mean():
        # projections of a model have no noise to go by
        usual = overall.mean()
    return float(usual.rsqrt())


def _blocks(stack: ParticleStack, rows: Int[Tensor, "n"], recipe: Recipe) -> Iterator[Float[Tensor, "b e e"]]:
    """Prepared float16 images in the order of ``rows``; those that are no numbers are named at the end."""
    bad: list[int] = []
    for part in rows.split(_BATCH):
        # rising rows read a disk in one direction
        rising, back = part.sort()
        batch, finite = stack.read_unchecked(rising)
        bad += rising[~finite].tolist()
        prepared = recipe.apply(batch, stack.premultiplied[rising]).clamp(-_LARGEST, _LARGEST)
        yield prepared[back.argsort()].half()
    stack.refuse_rows(torch.tensor(sorted(bad), dtype=torch.long))


def _in_memory(stack: ParticleStack, recipe: Recipe) -> Float[Tensor, "n e e"]:
    images = torch.empty(len(stack), recipe.box, recipe.box, dtype=torch.float16)
    start = 0
    for block in _blocks(stack, torch.arange(len(stack)), recipe):
        images[start : start + len(block)] = block
        start += len(block)
    return images


def _cached(
    stack: ParticleStack, cache: Path, inputs: tuple[int, float | None, float, int]
) -> ShuffledImages:
    """The cache's file for these inputs, written first if it is not there in full."""
    box, sign, radius, seed = inputs
    key = _key(stack, inputs)
    path, note = cache / f"{key}.npy", cache / f"{key}.json"
    rows = order(len(stack), seed, 0)
    if not _complete(path, note, len(stack), box):
        _make_room(cache, len(stack) * box**2 * 2)
        recipe = _measure(stack, Recipe(box, _sign(stack, sign, seed), radius, ()), seed)
        _write(path, (len(stack), box, box), _blocks(stack, rows, recipe))
        facts = {"format": _FORMAT, "images": len(stack), "seed": seed, "recipe": asdict(recipe)}
        with atomic_path(note) as temporary:
            temporary.write_text(json.dumps(facts, indent=1))
    return ShuffledImages(path, rows.argsort())


def _key(stack: ParticleStack, inputs: tuple[int, float | None, float, int]) -> str:
    """Hash of everything that the prepared images depend on."""
    digest = hashlib.sha256(f"{_FORMAT} {stack.images.fingerprint()} {stack.grid} {inputs}".encode())
    columns = [stack.group, stack.premultiplied]
    if stack.premultiplied.any():
        columns += list(vars(stack.optics).values())
    for column in columns:
        digest.update(column.contiguous().numpy().tobytes())
    return digest.hexdigest()[:20]


def _complete(path: Path, note: Path, count: int, box: int) -> bool:
    # the note is written last; a file cut short later is written anew
    return note.is_file() and path.is_file() and path.stat().st_size > count * box**2 * 2


def _check_memory(wanted: int) -> None:
    free = free_memory()
    if wanted > free / 2:
        sizes = f"{wanted / 1e6:,.0f} MB of prepared images, {free / 1e6:,.0f} MB of memory are free"
        raise DataError("MEM-001", f"{sizes}; give a cache folder or a smaller box")


def free_memory() -> int:
    """Bytes that this process may still take, of the machine's or of its container's share."""
    free = psutil.virtual_memory().available
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def _make_room(cache: Path, wanted: int) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
    except OSError as error:
        message = f"{cache} cannot be used as cache: {error.strerror}; choose another folder"
        raise DataError("DISK-002", message) from error
    if free < wanted:
        sizes = f"{wanted / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free"
        raise DataError("DISK-001", f"{cache}: {sizes}; free space, choose another folder or a smaller box")


def _write(path: Path, shape: tuple[int, ...], blocks: Iterator[Float[Tensor, "b e e"]]) -> None:
    # not through a memory map: a full disk would kill the process instead of raising
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(block.numpy().tobytes())

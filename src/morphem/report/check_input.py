"""Plain facts of a particle set, and which images of a sample stand out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.fourier import resize_images
from morphem.data.errors import DataError
from morphem.data.preprocess import free_memory
from morphem.data.stack import ParticleStack, order
from morphem.report.check_findings import Finding

_BATCH = 128
_VIEWS = 48  # equal areas of the sphere of view directions
_OUTLIER = 8.0  # standard deviations


@dataclass(frozen=True)
class Seen:
    """Images that were read, cropped in Fourier space.

    Attributes:
        rows: Of the usable ones, in random order.
        images: These.
        seconds: It took to read them.
        findings: About those that are not usable or stand out.
    """

    rows: Int[Tensor, "n"]
    images: Float[Tensor, "n e e"]
    seconds: float
    findings: list[Finding]


def look(stack: ParticleStack, limit: int, box: int, seed: int) -> Seen:
    """Read up to ``limit`` images drawn by ``seed``; those without finite, varied values are left out."""
    start = time.perf_counter()
    drawn = order(len(stack), seed, 0)[:limit]
    rising = drawn.sort().values
    kept, spread, level, bad = [], [], [], []
    for rows in rising.split(_BATCH):
        batch, finite = stack.read_unchecked(rows)
        bad.append(~finite)
        kept.append(resize_images(torch.where(finite[:, None, None], batch.images, 0), box))
        spread.append(batch.images.flatten(1).std(1))
        level.append(batch.images.flatten(1).mean(1))
    images, broken = torch.cat(kept), torch.cat(bad)
    deviation, mean = torch.cat(spread), torch.cat(level)
    constant = ~broken & (deviation == 0)
    usable = ~broken & ~constant
    if not usable.any():
        raise DataError("IMG-001", f"none of {len(rising)} images drawn holds finite, varied grey values")
    odd = usable & (_outlying(mean, usable) | _outlying(deviation, usable))
    findings = _of_images(stack, rising, (broken, constant, odd))
    # back to random order: tests take the first images of the sample
    chosen = torch.randperm(len(rising), generator=torch.Generator().manual_seed(seed))
    chosen = chosen[usable[chosen] & ~odd[chosen]]
    return Seen(rising[chosen], images[chosen], time.perf_counter() - start, findings)


def facts(stack: ParticleStack, seen: Seen) -> dict[str, str]:
    """What a set holds, in words; Å, kV and mm."""
    grid, optics = stack.grid, stack.optics
    defocus = (optics.defocus_u + optics.defocus_v) / 2
    named = [int((stack.half == k).sum()) for k in (1, 2)]
    table = {
        "images": f"{len(stack):,} of {stack.n_particles:,} particles, {stack.n_groups} optics groups",
        "sampling": f"{grid.box} px of {grid.pixel_size:g} Å ({grid.extent:.0f} Å)",
        "defocus": f"{float(defocus.min()):,.0f} to {float(defocus.max()):,.0f} Å, astigmatism "
        f"{float((optics.defocus_u - optics.defocus_v).abs().median()):,.0f} Å",
        "microscope": f"{_range(optics.voltage_kv)} kV, Cs {_range(optics.cs_mm)} mm, "
        f"amplitude contrast {_range(optics.amplitude_contrast)}",
        "half sets": f"{named[0]:,} and {named[1]:,}" if sum(named) else "not named; drawn at random",
        "premultiplied": f"{int(stack.premultiplied.sum()):,} images",
    }
    if stack.has_poses:
        spread = float(stack.poses.shift.square().mean().sqrt())
        table["shifts"] = f"{spread:.2f} Å ({spread / grid.pixel_size:.2f} px) along an axis"
        table["views"] = f"{_coverage(stack):.0%} of directions seen"
    return table | _plan(stack, seen)


def of_metadata(stack: ParticleStack) -> list[Finding]:
    """What is suspicious about a set before its images are looked at."""
    findings, grid = [], stack.grid
    unmodelled = stack.metadata.unmodelled if stack.metadata else ()
    assumed = stack.metadata.assumed if stack.metadata else ()
    if unmodelled:
        findings.append(Finding("META-001", "warning", f"not modelled: {', '.join(unmodelled)}"))
    if assumed:
        findings.append(Finding("META-002", "warning", f"assumed: {', '.join(assumed)}"))
    if not stack.has_poses:
        fix = "refine the particles first, and open the file that the refinement wrote"
        return [*findings, Finding("POSE-005", "error", "the file has no poses", fix)]
    spread = float(stack.poses.shift.square().mean().sqrt())
    if spread > 0.1 * grid.extent:
        share = f"{spread:.1f} Å along an axis are {spread / grid.extent:.0%} of the box"
        findings.append(
            Finding("POSE-009", "warning", f"large shifts: {share}", "are they in the right unit?")
        )
    seen = _coverage(stack)
    if seen < 0.5 and len(stack) > 10 * _VIEWS:
        findings.append(Finding("VIEW-001", "warning", f"only {seen:.0%} of view directions are seen"))
    defocus = (stack.optics.defocus_u + stack.optics.defocus_v) / 2
    if float(defocus.abs().median()) > 60_000 or 0 < float(defocus.abs().median()) < 1_000:
        median = f"{float(defocus.median()):,.0f} Å"
        findings.append(Finding("CTF-006", "warning", f"median defocus {median}", "is it in Å?"))
    if len(stack) > 10 and float(defocus.std()) == 0 and float(defocus.max()) > 0:
        findings.append(
            Finding("CTF-001", "warning", "every image has the same defocus", "is it a placeholder?")
        )
    return findings


def _of_images(
    stack: ParticleStack, rows: Int[Tensor, "n"], kinds: tuple[Tensor, Tensor, Tensor]
) -> list[Finding]:
    codes = ("NAN-001", "IMG-001", "IMG-002")
    words = ("hold values that are not numbers", "are constant", f"stand out (|z| > {_OUTLIER:g})")
    levels, findings = ("error", "error", "warning"), []
    for code, level, word, kind in zip(codes, levels, words, kinds, strict=True):
        if kind.any():
            first = ", ".join(stack.images.name(row) for row in rows[kind][:3].tolist())
            message = f"{int(kind.sum())} of {len(rows)} images read {word} (first: {first})"
            findings.append(Finding(code, level, message, "leave them out"))
    return findings


def _outlying(values: Float[Tensor, "n"], usable: Tensor) -> Tensor:
    """Values far from the median, in robust standard deviations."""
    middle = values[usable].median()
    width = 1.4826 * (values[usable] - middle).abs().median()
    return (values - middle).abs() > _OUTLIER * width.clamp(min=1e-6 * values[usable].abs().max() + 1e-30)


def _coverage(stack: ParticleStack) -> float:
    """Share of equal areas of the half sphere of view directions that some image falls into."""
    view = stack.poses.rotation[:, 2]
    view = torch.where(view[:, 2:] < 0, -view, view)
    ring = (view[:, 2] * 4).long().clamp(0, 3)
    turn = ((torch.atan2(view[:, 1], view[:, 0]) / (2 * math.pi) + 0.5) * 12).long().clamp(0, 11)
    return len((ring * 12 + turn).unique()) / _VIEWS


def _plan(stack: ParticleStack, seen: Seen) -> dict[str, str]:
    wanted = len(stack) * stack.grid.box**2 * 2
    rate = (len(seen.rows) or 1) / max(seen.seconds, 1e-3)
    where = "memory holds them" if wanted < free_memory() / 2 else "they are streamed from disk"
    return {"plan": f"{wanted / 1e6:,.0f} MB prepared; {where}; read in {len(stack) / rate:,.0f} s"}


def _range(values: Float[Tensor, "n"]) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"

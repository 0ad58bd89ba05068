"""Whether poses, signs, units and optics agree with the images, before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from morphem.core.fourier import shells_3d, to_fourier_3d, to_real_3d
from morphem.core.types import Poses, Volume
from morphem.data.mrc import read_map, write_map
from morphem.data.sign import SignEstimate, estimate_sign
from morphem.data.stack import ParticleStack
from morphem.engine.files import write_json
from morphem.engine.half_maps import wiener_filter
from morphem.metrics.fsc import shell_correlation
from morphem.report.check_findings import Finding, of_optics, of_ranking, of_shifts
from morphem.report.check_input import Seen, facts, look, of_metadata
from morphem.report.check_optics import OpticsRanking, rank_optics
from morphem.report.check_sample import Sample, agreements, draw_sample, half_maps, mirrored, resized
from morphem.report.check_shifts import ShiftRegression, corrected, regress_shifts
from morphem.report.check_variants import (
    CERTAIN,
    DECLARED,
    MIRRORED,
    NEGATIVE,
    TRANSPOSED,
    Ranking,
    Variant,
    masked,
    mean_of,
    paired_gain,
    rank,
    shift_readings,
)
from morphem.report.options import CheckConfig

RANKED, REGRESSED, FOCUSED = 1000, 1000, 2000  # images of each test


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        facts: Of the set, in words.
        findings: Worst first.
        variants: Readings of the poses, best first; empty without poses.
        shifts: Regression of measured on recorded shifts.
        optics: Readings of the contrast transfer; None where it could not be judged.
        backprojection: Mean map of the sample at the poses as declared.
    """

    facts: dict[str, str]
    findings: tuple[Finding, ...]
    variants: tuple[Variant, ...] = ()
    shifts: ShiftRegression | None = None
    optics: OpticsRanking | None = None
    backprojection: Volume | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against a run."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def shift_matrix(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """M of ``t_measured = M t_recorded``; the unit matrix if all is well."""
        return self.shifts.matrix if self.shifts else None

    def to_dict(self) -> dict[str, Any]:
        """All but the map, as plain numbers and words."""
        parts = replace(self, backprojection=None)
        return {"ok": self.ok} | {k: v for k, v in asdict(parts).items() if k != "backprojection"}

    def save(self, folder: Path) -> None:
        """Write ``report.json``, ``backproject.mrc`` and ``check.png``."""
        from morphem.report.check_figure import draw_check

        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "report.json", self.to_dict())
        if self.backprojection is not None:
            write_map(folder / "backproject.mrc", self.backprojection)
            draw_check(self, folder / "check.png")


def check_particles(stack: ParticleStack, config: CheckConfig = CheckConfig()) -> CheckReport:
    """Hold a set's poses, signs, units and optics against its images; minutes of training are not spent.

    A sample of low-resolution images is back-projected under each reading of the poses (test A), measured
    shifts are regressed on recorded ones (B), and the contrast transfer is tried with its usual errors (C).
    """
    box = min(config.box, stack.grid.box)
    seen = look(stack, config.limit, box, config.seed)
    findings = [*seen.findings, *of_metadata(stack)]
    table = facts(stack, seen)
    if not stack.has_poses:
        return CheckReport(table, tuple(findings))
    radius = 0.42 * stack.grid.extent if config.radius is None else config.radius
    kept = max(RANKED, REGRESSED, FOCUSED)
    sample = draw_sample(stack, seen.images[:kept], seen.rows[:kept], radius)
    if config.mask is not None:
        mask = resized(read_map(config.mask), sample.grid).voxels.clamp(0, 1)
        sample = replace(sample, mask=mask)
    consensus = None
    if config.consensus is not None:
        consensus = masked(resized(read_map(config.consensus), sample.grid), sample)
    sign, about_sign = _sign(stack, sample, consensus, config.seed)
    sample = replace(sample, observed=sample.observed * sign)
    return _tested(sample, _neighbours(stack, seen, min(RANKED, len(sample))), consensus, config, table,
                   [*findings, *about_sign])  # fmt: skip


def _tested(
    sample: Sample,
    others: Poses,
    consensus: Volume | None,
    config: CheckConfig,
    table: dict[str, str],
    findings: list[Finding],
) -> CheckReport:
    """Tests A, B and C, each at the poses that the one before it found."""
    ranking = rank(sample.first(RANKED), others, consensus, config.seed)
    findings = findings + of_ranking(ranking, len(sample))
    fit, reference = _adopted(sample, ranking, consensus)
    trusted = not any(finding.code.startswith(("BP-", "ORDER-")) for finding in findings)
    shifts = optics = None
    if trusted or ranking.winner == TRANSPOSED:
        shifts, optics = _measured(fit, reference, ranking)
        findings += of_shifts(shifts, sample.grid.pixel_size)
        # images that lie elsewhere than recorded agree with many a false defocus
        lost = any(finding.code == "POSE-004" for finding in findings)
        findings += of_optics(optics) if optics and not lost else []
    findings += _unjudged(sample, consensus, optics)
    worst = ("error", "warning", "info")
    findings.sort(key=lambda finding: worst.index(finding.level))
    whole = _filtered(half_maps(sample.first(RANKED)))
    return CheckReport(table, tuple(findings), ranking.variants, shifts, optics, whole)


def _filtered(halves: tuple[Volume, Volume]) -> Volume:
    """Mean of two half maps, each shell as much as they have in common."""
    share = wiener_filter(shell_correlation(*halves))
    grid, mean = halves[0].grid, mean_of(halves)
    shells = shells_3d(grid.box).clamp(max=grid.half - 1)
    return Volume(to_real_3d(to_fourier_3d(mean.voxels) * share[shells]), grid)


def _measured(
    sample: Sample, reference: Volume | None, ranking: Ranking
) -> tuple[ShiftRegression, OpticsRanking | None]:
    """Tests B and C; without a known map, images are held against the other half set's."""
    some = sample.first(REGRESSED)
    if reference is None:
        return regress_shifts(some, _sharpest(some, ranking)), None
    shifts = regress_shifts(some, (reference, reference))
    if sample.premultiplied:
        return shifts, None
    moved = corrected(sample.first(FOCUSED), shifts)
    return shifts, rank_optics(moved, (reference, reference))


def _sharpest(sample: Sample, ranking: Ranking) -> tuple[Volume, Volume]:
    """Each half set's map from the other, at the reading of the shifts that images agree with most.

    At shifts that are far off, half maps are too blurred to measure any shift against.
    """
    tried = shift_readings(sample.poses)
    best = next(each for each in ranking.variants if each.name in tried)
    poses = tried[best.name if best.gain > CERTAIN else DECLARED]
    first, second = half_maps(sample.with_poses(poses.rotation, poses.shift))
    return second, first


def _adopted(sample: Sample, ranking: Ranking, consensus: Volume | None) -> tuple[Sample, Volume | None]:
    """The sample and the known map as the winning reading has them."""
    if ranking.winner == MIRRORED and consensus is not None:
        return sample, mirrored(consensus)
    if ranking.winner == TRANSPOSED:
        return sample.with_poses(sample.poses.rotation.mT.contiguous(), sample.poses.shift), consensus
    return sample, consensus


def _sign(
    stack: ParticleStack, sample: Sample, consensus: Volume | None, seed: int
) -> tuple[float, list[Finding]]:
    """Factor that makes protein bright, and what to say of it."""
    estimate = estimate_sign(stack, seed)
    found = estimate
    if consensus is not None:
        lean = agreements(sample.first(REGRESSED), (consensus, consensus))
        deviations = paired_gain(lean, torch.zeros_like(lean))
        if abs(deviations) > CERTAIN:
            found = SignEstimate(-1.0 if deviations < 0 else 1.0, deviations, True)
    by = f"{found.deviations:+.1f} standard errors"
    state = f"state --sign {found.sign:+.0f}"
    if not found.confident:
        fix = "state --sign 1 or --sign -1"
        return 1.0, [Finding("SIGN-002", "warning", f"it is unclear whether protein is bright ({by})", fix)]
    detected = estimate.sign if estimate.confident else 1.0
    if detected != found.sign:
        message = f"{NEGATIVE} against the consensus map ({by}), which grey values alone do not show"
        return found.sign, [Finding("SIGN-001", "error", message, state)]
    if found.sign < 0:
        message = f"{NEGATIVE}: protein is dark ({by})"
        return -1.0, [Finding("SIGN-001", "warning", message, "none: a run inverts them by itself")]
    return 1.0, []


def _neighbours(stack: ParticleStack, seen: Seen, count: int) -> Poses:
    """Poses of the rows after, then of those before the first images of a sample."""
    rows, last = seen.rows[:count], len(stack) - 1
    return stack.poses[torch.cat([(rows + 1).clamp(max=last), (rows - 1).clamp(min=0)])]


def _unjudged(sample: Sample, consensus: Volume | None, optics: OpticsRanking | None) -> list[Finding]:
    """What this check could not tell, and what it would take."""
    if consensus is None:
        fix = "give --consensus map.mrc"
        return [Finding("CHECK-001", "info", "hand and CTF cannot be tested without a map", fix)]
    if sample.premultiplied:
        return [Finding("CHECK-002", "info", "contrast transfer of premultiplied images cannot be tested")]
    if optics is not None and optics.astigmatism_seen < CERTAIN:
        seen = f"{optics.astigmatism_seen:+.1f} standard errors"
        return [Finding("CHECK-003", "info", f"astigmatism is too weak here to test its angle ({seen})")]
    return []

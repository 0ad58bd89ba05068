"""What a check has to say: findings with a code, a level and a way to mend them."""

from __future__ import annotations

from dataclasses import dataclass

from morphem.report.check_optics import OpticsRanking
from morphem.report.check_shifts import RIGHT, UNKNOWN, ShiftRegression
from morphem.report.check_variants import CERTAIN, DECLARED, EARLIER, LATER, MIRRORED, TRANSPOSED, Ranking

ENOUGH = 100  # images; fewer may fail to tell poses from chance


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        code: Stable key to the documentation.
        level: ``error``, ``warning`` or ``info``.
        message: What was met.
        fix: What to do; empty if nothing.
    """

    code: str
    level: str
    message: str
    fix: str = ""


_READINGS = {
    TRANSPOSED: (
        "BP-001",
        "the rotations are transposed: images agree with their inverses",
        "invert every rotation before writing angles (a program took molecule-to-view for view-to-molecule)",
    ),
    MIRRORED: (
        "HAND-001",
        "the poses make the mirror image of the consensus map",
        "flip the consensus map (relion_image_handler --invert_hand), or use the poses that belong to it",
    ),
    LATER: (
        "ORDER-002",
        "each image lies one row before its pose (numbers from 0 taken to be from 1?)",
        "add 1 to the image numbers, or open the particle file that belongs to this stack",
    ),
    EARLIER: (
        "ORDER-002",
        "each image lies one row after its pose (numbers from 1 taken to be from 0?)",
        "subtract 1 from the image numbers, or open the particle file that belongs to this stack",
    ),
}


def of_ranking(ranking: Ranking, images: int) -> list[Finding]:
    """Whether the declared reading of the poses wins."""
    if ranking.winner != DECLARED:
        code, message, fix = _READINGS[ranking.winner]
        best = next(each for each in ranking.variants if each.name == ranking.winner)
        return [Finding(code, "error", f"{message} ({best.gain:+.0f} standard errors)", fix)]
    if ranking.lead > CERTAIN:
        return []
    met = f"the poses do no better than shuffled ones ({ranking.lead:+.1f} standard errors)"
    if images < ENOUGH:
        return [Finding("BP-003", "warning", f"{met}; {images} images are too few to tell", "")]
    fix = "the rows are in another order than the images, or these are no poses of them: open the star or cs "
    return [Finding("BP-002", "error", met, f"{fix}file of the job that wrote this stack")]


_SHIFTS = {
    "recorded ×2": ("Shifts look 2.0× too large", "halve them"),
    "recorded ×½": ("Shifts look 2.0× too small", "double them"),
    "negated": ("Shifts have the opposite sign", "negate both columns"),
    "x negated": ("The x shifts have the opposite sign", "negate the x column"),
    "y negated": ("The y shifts have the opposite sign", "negate the y column"),
    "swapped": ("The x and y shifts are swapped", "swap the two columns"),
    "already applied": (
        "The images are centred, yet shifts are recorded",
        "set the shifts to zero: they were applied when the images were extracted",
    ),
    "in pixels, read as Å": ("Shifts look like pixels in a column of Å", "multiply them by the pixel size"),
    "in Å, read as pixels": ("Shifts look like Å in a column of pixels", "divide them by the pixel size"),
    UNKNOWN: ("Shifts disagree with the images", "use the particle file of the job that aligned this stack"),
}


def of_shifts(found: ShiftRegression, pixel: float) -> list[Finding]:
    """What the regression of measured on recorded shifts shows."""
    findings = []
    matrix = "; ".join(" ".join(f"{value:.2f}" for value in row) for row in found.matrix)
    if found.certain and found.name != RIGHT:
        what, fix = _SHIFTS[found.name]
        message = f"{what}: measured = [{matrix}] × recorded"
        findings.append(
            Finding("POSE-003", "error", message, f"{fix} (rlnOriginX/YAngst or alignments3D/shift)")
        )
    if found.recorded and not found.certain:
        spread = f"{found.recorded:.2f} Å of spread"
        findings.append(
            Finding(
                "POSE-006", "info", f"shifts of {spread} are too small or images too few to test their unit"
            )
        )
    away = max(
        abs(each) / max(error, 1e-9) for each, error in zip(found.offset, found.offset_error, strict=True)
    )
    if max(map(abs, found.offset)) > 0.4 * pixel and away > CERTAIN:
        x, y = found.offset
        message = f"all particles lie ({x:.1f}, {y:.1f}) Å away from where they should"
        findings.append(
            Finding(
                "POSE-007", "warning", message, "is the centre of the consensus or of the box another pixel?"
            )
        )
    return findings + _of_residual(found, pixel)


def _of_residual(found: ShiftRegression, pixel: float) -> list[Finding]:
    if found.residual < 0.5 * pixel or found.residual_deviations < CERTAIN:
        return []
    if found.recorded == 0:
        message = f"no shifts are recorded, yet particles lie {found.residual:.1f} Å off centre"
        fix = "give the particle file of the refinement, or extract the images again at its centres"
        return [Finding("POSE-004", "error", message, fix)]
    message = f"particles lie {found.residual:.1f} Å from their recorded shifts"
    return [Finding("POSE-008", "info", message, "refine the poses, if motion does not explain it")]


def of_optics(found: OpticsRanking) -> list[Finding]:
    """Whether another reading of the contrast transfer wins."""
    if not found.winner:
        return []
    best = found.readings[0]
    gain = f"({best.gain:+.0f} standard errors)"
    if "angle" in best.name or "astigmatism" in best.name:
        fix = "correct the column rlnDefocusAngle (or ctf/df_angle_rad) and its unit"
        return [Finding("CTF-004", "error", f"astigmatism agrees with {best.name} {gain}", fix)]
    fix = (
        "correct the defocus columns (Å), the voltage and the spherical aberration; is the pixel size right?"
    )
    return [Finding("CTF-005", "error", f"images agree with {best.name} {gain}", fix)]

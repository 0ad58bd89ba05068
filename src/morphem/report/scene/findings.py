"""What to know of a result before trusting it, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.report.scene.agreement import Differences, Measured
from morphem.report.scene.leakage import Leak
from morphem.report.scene.shown import Shown
from morphem.report.scene.states import States

VERDICTS = ("bad", "warning", "note", "good")
_LEAKS, _HINTS = 0.3, 0.1  # share of a component that imaging explains: to warn of, to tell
_FEW, _TOO_FEW = 500, 100  # particles of a state
_DUST = 0.01  # of the mass: a part of less is none
_BEHIND = 1.5  # times as coarse as the images of a state are: its map does not show what they do
_UNCERTAIN = 0.5  # of what latents spread over that is uncertainty
_BAND = 0.05  # |cos| of the angle between a direction and the views that fill it
_STARVED = 0.1  # of an even filling
_SAME_START = 15.0  # degrees
_DIRECTIONS = 400
_VIEWS = 20_000


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        verdict: ``good``, ``note``, ``warning`` or ``bad``.
        title: In a few words.
        text: What was found, and what it means.
    """

    verdict: str
    title: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """What was found out about states and latents.

    Attributes:
        states: None where there are none.
        measured: Of each state.
        differences: Between states.
        leaks: Largest first; None where it could not be examined.
    """

    states: States | None
    measured: Sequence[Measured | None] = ()
    differences: Differences | None = None
    leaks: Sequence[Leak] | None = None


def findings_of(shown: Shown, evidence: Evidence) -> list[Finding]:
    """All findings, the worst first."""
    record = shown.record
    found = [
        *_progress(record),
        *_half_maps(record.get("fsc"), shown.grid.pixel_size if shown.grid else 0.0),
        *_of_leaks(evidence.leaks),
        *_of_states(evidence),
        *_of_differences(evidence.differences),
        *_of_spread(record.get("latents_variance"), shown.latents),
        *_of_parts(record.get("parts")),
        *_of_views(shown),
        *_of_starts(record.get("abinitio")),
        *_of_check(record.get("check")),
        *_of_images(shown, record.get("images")),
    ]
    return sorted(found, key=lambda finding: VERDICTS.index(finding.verdict))


def starved_share(direction: Float[Tensor, "n 3"], seed: int = 0) -> float:
    """Share of Fourier directions that get less than a tenth of what evenly spread views would give.

    A view fills the plane across it; a direction is filled by views at right angles to it, within 3°.
    """
    some = direction[:: -(-len(direction) // _VIEWS)]
    tried = torch.nn.functional.normalize(
        torch.randn(_DIRECTIONS, 3, generator=torch.Generator().manual_seed(seed)), dim=1
    )
    # of views spread evenly, |cos| is uniform
    filled = torch.stack([((some @ one).abs() < _BAND).float().mean() for one in tried]) / _BAND
    return float((filled < _STARVED).float().mean())


def _progress(record: dict[str, object]) -> list[Finding]:
    stage = record.get("unfinished")
    if stage is None:
        return []
    text = f"This run has not finished ({stage}); what is shown is what it has found so far."
    return [Finding("bad", "The run is not finished", text)]


def _half_maps(fsc: object, pixel: float) -> list[Finding]:
    if not isinstance(fsc, dict) or "frequency" not in fsc:
        return []
    best = fsc.get("resolution")
    if best is None:
        text = (
            "Half maps of all particles agree nowhere: poses, contrast or CTF are wrong, or images too few."
        )
        return [Finding("bad", "Half maps have nothing in common", text)]
    nyquist = 2 * pixel
    if best <= 1.03 * nyquist:
        text = (
            f"Half maps of all particles agree to {best:.1f} Å, which is as fine as pixels of {pixel:g} Å "
            "show. Smaller pixels would show more."
        )
        return [Finding("good", f"{best:.1f} Å, the limit of the pixels", text)]
    text = f"Half maps of all particles agree to {best:.1f} Å (FSC 0.143, corrected for the mask)"
    verdict = "good" if best < 20 else "note"
    rest = f"; the pixels would show {nyquist:.1f} Å. Where parts move, the mean map is blurred."
    return [Finding(verdict, f"The mean map reaches {best:.1f} Å", text + rest)]


def _of_leaks(leaks: Sequence[Leak] | None) -> list[Finding]:
    if not leaks:
        return []
    worst = leaks[0]
    told = f"{worst.cause} predicts {100 * worst.share:.0f} % of principal component {worst.component}"
    if worst.share > _LEAKS:
        others = [leak for leak in leaks[1:] if leak.share > _LEAKS]
        more = "".join(
            f"; {each.cause} {100 * each.share:.0f} % of component {each.component}" for each in others[:3]
        )
        text = (
            f"In particles that it was not fitted to, {told}{more}. What is seen along it may be the imaging "
            "and not the molecule, unless states truly prefer some views. Colour the particles by it, and "
            "compare maps of states from images of like views."
        )
        return [Finding("warning", f"Latents know {worst.cause}", text)]
    if worst.share > _HINTS:
        text = f"In particles that it was not fitted to, {told}: some of what varies may be the imaging."
        return [Finding("note", f"Latents know a little of {worst.cause}", text)]
    text = (
        "Neither direction of view, in-plane angle, shift nor defocus predict the latents: at most "
        f"{100 * max(0.0, worst.share):.0f} % of a component ({worst.cause}), in particles not fitted to."
    )
    return [Finding("good", "Latents do not follow the imaging", text)]


def _of_states(evidence: Evidence) -> list[Finding]:
    states = evidence.states
    if states is None:
        return []
    found = _few(states)
    pairs = [(name, each) for name, each in zip(states.names, evidence.measured, strict=False) if each]
    if not pairs:
        return found
    bad = [(name, each) for name, each in pairs if _falls_behind(each)]
    for name, each in bad:
        seen = "nowhere" if each.agreement is None else f"only to {each.agreement:.1f} Å"
        known = "nothing in common" if each.resolution is None else f"structure to {each.resolution:.1f} Å"
        text = (
            f"The map of {name} agrees with the mean of its own {each.used:,} images {seen} (FSC 0.5), whose "
            f"half maps have {known}. Trust the map no further than that."
        )
        found.append(Finding("warning", f"{name} does not show what its images do", text))
    if not bad:
        worst = max(each.agreement or math.inf for _, each in pairs)
        text = (
            f"Each of {len(pairs)} maps agrees with the plain mean of its own images to {worst:.1f} Å or "
            "finer (FSC 0.5), as far as those reach. No model was asked for these means; but the particles "
            "were grouped by the latents."
        )
        found.append(Finding("good", "Maps of states agree with their images", text))
    return found


def _falls_behind(each: Measured) -> bool:
    if each.resolution is None or each.agreement is None:
        return True
    return each.agreement > _BEHIND * each.resolution


def _few(states: States) -> list[Finding]:
    counts = dict(zip(states.names, states.counts(), strict=True))
    found = []
    for verdict, low, high, meaning in (
        ("warning", 0, _TOO_FEW, "too few to hold their maps against images"),
        ("note", _TOO_FEW, _FEW, "few: fine detail of their maps comes from other particles"),
    ):
        named = [f"{name} ({count})" for name, count in counts.items() if low <= count < high]
        if named and len(counts) > 1:
            text = f"Fewer than {high} particles lie nearest to {', '.join(named)}: {meaning}."
            found.append(Finding(verdict, "States of few particles", text))
    return found


def _of_differences(found: Differences | None) -> list[Finding]:
    if found is None:
        return []
    told = f"a correlation of {found.correlation:.2f}, of {found.ceiling:.2f} that noise allows"
    if found.reach is None:
        text = (
            "Half sets of the images do not agree on what tells the states apart: it is too little for so "
            "many images, or there is nothing. Ask for fewer states, or take more particles."
        )
        return [Finding("warning", "Differences between states are not seen in the images", text)]
    if found.correlation < 0.5 * found.ceiling:
        text = (
            f"To {found.reach:.0f} Å half sets of the images agree on what tells states apart, but the model "
            f"says other: {told}."
        )
        return [Finding("warning", "The model's differences are not those of the images", text)]
    text = (
        "What tells the states apart in the model is what tells means of their images apart, to "
        f"{found.reach:.0f} Å: {told}. This is necessary, not enough: latents that followed noise would "
        "group images alike."
    )
    return [Finding("good", "Differences between states are in the images", text)]


def _of_spread(variance: object, latents: Float[Tensor, "p z"]) -> list[Finding]:
    """Posterior variance beside that of the latents themselves."""
    if not isinstance(variance, list) or not variance or len(latents) < 2:
        return []
    unsure, spread = sum(variance), float(latents.var(0).sum())
    share = unsure / max(unsure + spread, 1e-30)
    if not math.isfinite(share):
        return []
    if share > _UNCERTAIN:
        text = (
            f"Uncertainty makes {100 * share:.0f} % of what latents spread over. One particle's state is "
            "not known; shares of states and maps, which rest on many, still are."
        )
        return [Finding("warning", "Latents of single particles are uncertain", text)]
    text = f"Uncertainty makes {100 * share:.0f} % of what latents spread over (posterior variance)."
    return [Finding("good" if share < 0.2 else "note", "Latents are wider than their uncertainty", text)]


def _of_parts(parts: object) -> list[Finding]:
    if not isinstance(parts, list) or not parts:
        return []
    dust = [row for row in parts if row["mass"] < _DUST]
    if dust:
        named = ", ".join(f"part {row['part']} ({100 * row['mass']:.1f} %)" for row in dust)
        text = f"Less than 1 % of the mass is in {named}. It is dust: whatever it does, nothing follows."
        return [Finding("note", "Parts of next to no mass", text)]
    return []


def _of_views(shown: Shown) -> list[Finding]:
    if shown.poses is None or len(shown.poses) < _FEW:
        return []
    starved = starved_share(shown.poses.rotation[:, 2])
    if starved > 0.02:
        text = (
            f"{100 * starved:.0f} % of directions get less than a tenth of an even share of views: every map "
            "is smeared along them, and motion along them is not seen."
        )
        return [Finding("warning", "Views leave directions out", text)]
    return [
        Finding(
            "good",
            "All directions are viewed",
            "Next to no direction gets less than a tenth of an even share of views.",
        )
    ]


def _of_starts(facts: object) -> list[Finding]:
    """Of poses that were found from images alone."""
    if not isinstance(facts, dict):
        return []
    found = [
        Finding("warning", "The search for poses has a doubt", text) for text in facts.get("warnings", [])
    ]
    degrees = facts.get("starts", {}).get("degrees_from_the_best", [])
    if len(degrees) > 1:
        same = sum(angle < _SAME_START for angle in degrees)
        text = (
            f"{same} of {len(degrees)} random starts came within {_SAME_START:.0f}° of the best one's poses."
        )
        verdict = "good" if same > 1 else "warning"
        title = "Starts agree on the poses" if same > 1 else "Starts do not agree on the poses"
        found.append(Finding(verdict, title, text))
    text = (
        "Images of a molecule and of its mirror image are the same: compare the hand with a known structure."
    )
    return [*found, Finding("note", "The hand is not determined", text)]


def _of_check(report: object) -> list[Finding]:
    """What ``morphem check`` said of the particles."""
    if not isinstance(report, dict):
        return []
    verdicts = {"error": "bad", "warning": "warning", "info": "note"}
    return [
        Finding(verdicts.get(each["level"], "note"), f"Check: {each['code']}", _sentence(each))
        for each in report.get("findings", [])
    ]


def _sentence(finding: dict[str, Any]) -> str:
    return f"{finding['message']}; {finding['fix']}." if finding.get("fix") else f"{finding['message']}."


def _of_images(shown: Shown, why: object) -> list[Finding]:
    if shown.stack is not None:
        return []
    reason = f" ({why})" if why else ""
    text = (
        f"The images are not at hand{reason}. States are not held against them, and whether latents follow "
        "the imaging is not examined."
    )
    return [Finding("note", "Nothing was held against the images", text)]

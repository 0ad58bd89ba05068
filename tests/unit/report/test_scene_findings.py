"""Findings: what is warned of is there, and what is there is warned of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scene_cases import shown_states

from morphem.core.rotations import from_euler, random_rotations
from morphem.core.types import Poses
from morphem.report.scene.agreement import Differences, Measured
from morphem.report.scene.findings import VERDICTS, Evidence, Finding, findings_of, starved_share
from morphem.report.scene.leakage import Leak, grouped_share, leaks_of, predicted_share
from morphem.report.scene.shown import Shown
from morphem.report.scene.states import States, axes_of


def measured(resolution: float | None, agreement: float | None) -> Measured:
    return Measured(resolution, agreement, 500, [0.0, 0.1], [1.0, 0.9], [1.0, 0.9])


def states(*counts: int) -> States:
    member = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return States(tuple(f"state_{k + 1}" for k in range(len(counts))), torch.zeros(len(counts), 1), member)


def found(shown: Shown, evidence: Evidence | None = None) -> dict[str, str]:
    """Verdicts by title."""
    return {each.title: each.verdict for each in findings_of(shown, evidence or Evidence(None))}


def nothing(**record: object) -> Shown:
    return Shown("run", "", torch.zeros(0, 0), record=record)


def leaks_when_latent_is(target: str) -> list[Leak]:
    shown = shown_states(600)
    assert shown.stack is not None
    assert shown.poses is not None
    causes = {
        "defocus": shown.stack.optics.defocus_u / 8_000,
        "view": shown.poses.rotation[:, 2, 0],
        "psi": shown.poses.rotation[:, 0, 2],
        "nothing": torch.randn(600, generator=torch.Generator().manual_seed(5)),
    }
    noise = 0.05 * torch.randn(600, 1, generator=torch.Generator().manual_seed(6))
    shown = replace(shown, latents=causes[target][:, None] + noise * causes[target].std())
    return leaks_of(shown, axes_of(shown.latents, 3))


@pytest.mark.parametrize(("target", "cause"), [("defocus", "the defocus"), ("view", "the direction of view")])
def test_latents_that_follow_the_imaging_name_the_culprit(target: str, cause: str):
    worst = leaks_when_latent_is(target)[0]
    assert worst.cause == cause
    assert worst.share > 0.9
    findings = findings_of(nothing(), Evidence(None, leaks=leaks_when_latent_is(target)))
    assert Finding("warning", f"Latents know {cause}", findings[0].text) == findings[0]


def test_latents_that_follow_nothing_are_not_accused():
    leaks = leaks_when_latent_is("nothing")
    assert len(leaks) == 4
    assert max(leak.share for leak in leaks) < 0.05
    assert found(nothing(), Evidence(None, leaks=leaks))["Latents do not follow the imaging"] == "good"


def test_the_share_is_of_particles_that_were_not_fitted_to():
    generator = torch.Generator().manual_seed(0)
    told, target = torch.randn(120, 4, generator=generator), torch.randn(120, generator=generator)
    assert predicted_share(told, target) < 0  # 35 coefficients fit much of 120 particles, and predict nothing


def test_groups_of_different_means_tell_and_others_do_not():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(0, 5, (1000,), generator=generator)
    noise = torch.randn(1000, generator=generator)
    assert grouped_share(group, group.float() + 0.1 * noise) > 0.95
    assert grouped_share(group, noise) < 0.02


def test_the_share_of_what_is_told_alike_of_all_is_nil():
    assert predicted_share(torch.ones(100, 2), torch.arange(100.0)) == 0


def test_even_views_starve_no_direction_and_views_along_one_axis_do():
    even = random_rotations(3000, torch.Generator().manual_seed(0))[:, 2]
    assert starved_share(even) < 0.01
    tilt = 0.1 * torch.rand(3000, generator=torch.Generator().manual_seed(0))
    turn = torch.rand(3000, generator=torch.Generator().manual_seed(1)) * 6.28
    top = from_euler(turn, tilt, turn)[:, 2]
    assert starved_share(top) > 0.5
    # side views, turned all round one axis, fill every direction
    side = from_euler(turn, torch.full_like(turn, torch.pi / 2), turn)[:, 2]
    assert starved_share(side) < 0.05


def test_views_along_one_axis_are_warned_of():
    shown = replace(nothing(), poses=Poses(torch.eye(3).repeat(600, 1, 1), torch.zeros(600, 2)))
    assert found(shown)["Views leave directions out"] == "warning"


def test_a_map_that_falls_behind_its_images_is_named():
    evidence = Evidence(states(900, 800), [measured(8.0, 9.0), measured(8.0, 20.0)])
    assert found(nothing(), evidence)["state_2 does not show what its images do"] == "warning"
    assert "Maps of states agree with their images" not in found(nothing(), evidence)
    both = Evidence(states(900, 800), [measured(8.0, 9.0), measured(8.0, 10.0)])
    assert found(nothing(), both)["Maps of states agree with their images"] == "good"


@pytest.mark.parametrize("known", [measured(None, 9.0), measured(8.0, None)])
def test_a_state_whose_images_say_nothing_is_not_called_good(known: Measured):
    evidence = Evidence(states(900), [known])
    assert found(nothing(), evidence)["state_1 does not show what its images do"] == "warning"


@pytest.mark.parametrize(("count", "verdict"), [(40, "warning"), (300, "note")])
def test_states_of_few_particles_are_told(count: int, verdict: str):
    assert found(nothing(), Evidence(states(1000, count)))["States of few particles"] == verdict


@pytest.mark.parametrize(
    ("differences", "title", "verdict"),
    [
        (Differences(0.8, 0.9, 12.0), "Differences between states are in the images", "good"),
        (Differences(0.2, 0.9, 12.0), "The model's differences are not those of the images", "warning"),
        (Differences(0.0, 0.1, None), "Differences between states are not seen in the images", "warning"),
    ],
)
def test_differences_between_states_are_judged(differences: Differences, title: str, verdict: str):
    assert found(nothing(), Evidence(None, differences=differences))[title] == verdict


def test_a_run_that_has_not_finished_says_so_first():
    findings = findings_of(nothing(unfinished="stage parts", images="later"), Evidence(None))
    assert findings[0].title == "The run is not finished"
    assert [VERDICTS.index(each.verdict) for each in findings] == sorted(
        VERDICTS.index(each.verdict) for each in findings
    )


@pytest.mark.parametrize(("best", "verdict"), [(None, "bad"), (40.0, "note"), (9.0, "good"), (8.0, "good")])
def test_half_maps_are_judged(best: float | None, verdict: str):
    from morphem.core.grid import Grid

    shown = replace(nothing(fsc={"frequency": [0.0, 0.1], "resolution": best}), grid=Grid(32, 4.0))
    about = [each for each in findings_of(shown, Evidence(None)) if "alf maps" in each.text]
    assert [each.verdict for each in about] == [verdict]


def test_uncertainty_beside_the_spread_is_judged():
    latents = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    for variance, verdict in ((0.05, "good"), (0.5, "note"), (4.0, "warning")):
        shown = Shown("run", "", latents, record={"latents_variance": [variance, variance]})
        titles = {t: v for t, v in found(shown).items() if "ncertain" in t}
        assert list(titles.values()) == [verdict]


def test_dust_starts_and_checks_are_told():
    shown = nothing(
        parts=[{"part": 1, "mass": 0.995}, {"part": 2, "mass": 0.005}],
        abinitio={"warnings": ["it wobbles"], "starts": {"degrees_from_the_best": [0.0, 40.0]}},
        check={"findings": [{"code": "BP-001", "level": "error", "message": "transposed", "fix": "invert"}]},
    )
    verdicts = found(shown)
    assert verdicts["Parts of next to no mass"] == "note"
    assert verdicts["Starts do not agree on the poses"] == "warning"
    assert verdicts["The search for poses has a doubt"] == "warning"
    assert verdicts["Check: BP-001"] == "bad"


def test_images_that_are_not_at_hand_are_told_with_the_reason():
    findings = findings_of(nothing(images="they have moved"), Evidence(None))
    assert "they have moved" in findings[-1].text

"""Which found map is compared with which true one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import Frame
from morphem.report.evaluate_maps import (
    Agreement,
    Compared,
    Yardstick,
    agreement,
    last_shell,
    upright,
    yardstick,
)
from morphem.report.evaluate_plan import SAMPLE, Plan, sound_sample
from morphem.report.results import Result
from morphem.simulate.bounds import CramerRao, cramer_rao
from morphem.simulate.oracle import ceiling_maps, nearest_landmark
from morphem.simulate.particles import Truth
from morphem.simulate.true_maps import LANDMARKS, true_maps

_BOUNDED = 64  # particles whose Cramér–Rao bounds are computed


@dataclass(frozen=True)
class Ends:
    """Agreement with the truth of those who know least and most, on some states."""

    states: Float[Tensor, "k q"]
    shares: Float[Tensor, "k"]
    floor: Agreement
    ceilings: dict[str, Agreement]


@dataclass(frozen=True)
class Limits:
    """What a data set allows, whatever the program.

    Attributes:
        states: Landmarks of the population.
        shares: Of each; they sum to 1.
        true: Exact maps of the landmarks.
        ceilings: Their best maps, by kind of ceiling.
        by: Masks, floor and last shell.
        bound: Least errors of some particles' states and poses.
        ends: Of the landmarks, and of the particles that are compared one by one.
    """

    states: Float[Tensor, "k q"]
    shares: Float[Tensor, "k"]
    true: Float[Tensor, "k d d d"]
    ceilings: dict[str, Float[Tensor, "k d d d"]]
    by: Yardstick
    bound: CramerRao
    ends: tuple[Ends, ...] = ()


@dataclass(frozen=True)
class MapPairs:
    """Found maps beside true ones.

    Attributes:
        states: State of each.
        shares: How much of the population it stands for; they sum to 1.
        found: Maps of the program.
        true: Exact ones in the program's frame.
    """

    states: Float[Tensor, "k q"]
    shares: Float[Tensor, "k"]
    found: Float[Tensor, "k d d d"]
    true: Float[Tensor, "k d d d"]


def limits(truth: Truth) -> Limits:
    """Floor, ceilings and masks of a data set.

    Correlations count to the shell where the ceiling's maps of all landmarks, pooled, fall to a correlation
    of 0.5 with the truth: the finest that could be found in these images by anyone.
    """
    states, shares = truth.ensemble.landmarks(LANDMARKS)
    shares = shares / shares.sum()
    true = true_maps(truth, states)
    kinds = ("states", "motion") if truth.ensemble.bodies(states[:1]) is not None else ("states",)
    ceilings = {kind: ceiling_maps(truth, states, kind) for kind in kinds}
    by = yardstick(true, shares, truth.grid, last_shell(ceilings[kinds[-1]], true, shares))
    bound = cramer_rao(truth[sound_sample(truth, _BOUNDED)])
    known = Limits(states, shares, true, ceilings, by, bound)
    sampled = truth.state[sound_sample(truth, SAMPLE)]
    equal = torch.full((len(sampled),), 1 / len(sampled))
    ends = _ends(states, shares, truth, known), _ends(sampled, equal, truth, known)
    return replace(known, ends=ends)


def pairs_by_state(
    result: Result, truth: Truth, plan: Plan, known: Limits, frame: Frame | None
) -> MapPairs | None:
    """One pair for each landmark: the map at its medoid particle, or the map given for the state."""
    seen = partial(_seen, truth=truth, known=known, frame=frame)
    if result.states is not None:
        landmark = nearest_landmark(truth.ensemble, result.states, known.states)
        together = torch.bincount(landmark, minlength=len(known.states))[landmark]
        shares = known.shares[landmark] / together
        return _pairs(result, torch.arange(len(result.states)), result.states, shares, seen)
    if not _covers(result, plan.by_state):
        return None
    states, shares = known.states[plan.landmark], known.shares[plan.landmark]
    return _pairs(result, plan.by_state, states, shares, seen)


def pairs_by_image(
    result: Result, truth: Truth, plan: Plan, known: Limits, frame: Frame | None
) -> MapPairs | None:
    """One pair for each particle of the sample, or for each that a program chose by itself."""
    if result.states is not None:
        return None
    rows = plan.by_image if _covers(result, plan.by_image) else result.particles
    if rows is None:
        return None
    rows = rows[truth.intact[rows]]
    seen = partial(_seen, truth=truth, known=known, frame=frame)
    return _pairs(result, rows, truth.state[rows], torch.ones(len(rows)), seen)


def compared(pairs: MapPairs, truth: Truth, known: Limits, by: Yardstick) -> Compared:
    """Agreement of found maps with the truth, and of the ends of the scale on the same states.

    Args:
        pairs: In the program's frame.
        truth: Of the set.
        known: Its limits.
        by: What to measure the pairs with, in the program's frame.
    """
    at_hand = (each for each in known.ends if _same(each.states, pairs.states))
    ends = next((each for each in at_hand if _same(each.shares, pairs.shares)), None)
    ends = _ends(pairs.states, pairs.shares, truth, known) if ends is None else ends
    found = agreement(pairs.found, pairs.true, pairs.shares, by)
    return Compared(pairs.states, pairs.shares, found, ends.floor, ends.ceilings, by.last)


def _ends(states: Float[Tensor, "k q"], shares: Float[Tensor, "k"], truth: Truth, known: Limits) -> Ends:
    own = _seen(states, truth, known, None)
    measured = partial(agreement, true=own, shares=shares, by=known.by)
    ceilings = {kind: measured(maps) for kind, maps in _ceilings(states, truth, known).items()}
    return Ends(states, shares, measured(known.by.mean.expand_as(own)), ceilings)


def _same(a: Float[Tensor, "*a"], b: Float[Tensor, "*b"]) -> bool:
    return a.shape == b.shape and torch.allclose(a, b)


def _covers(result: Result, rows: Int[Tensor, "k"]) -> bool:
    return result.particles is None or bool(torch.isin(rows, result.particles).all())


def _pairs(
    result: Result,
    rows: Int[Tensor, "k"],
    states: Float[Tensor, "k q"],
    shares: Float[Tensor, "k"],
    seen: Callable[[Float[Tensor, "k q"]], Float[Tensor, "k d d d"]],
) -> MapPairs:
    found, true = result.decode(rows), seen(states)
    return MapPairs(states, shares / shares.sum(), found * upright(found, true), true)


def _seen(
    states: Float[Tensor, "k q"], truth: Truth, known: Limits, frame: Frame | None
) -> Float[Tensor, "k d d d"]:
    """True maps in a program's frame; those of landmarks in the set's own are known already."""
    place = nearest_landmark(truth.ensemble, states, known.states)
    if frame is None and torch.equal(known.states[place], states):
        return known.true[place]
    distinct, which = states.unique(dim=0, return_inverse=True)
    return torch.stack([truth.volume(state, frame).voxels for state in distinct])[which]


def _ceilings(
    states: Float[Tensor, "k q"], truth: Truth, known: Limits
) -> dict[str, Float[Tensor, "k d d d"]]:
    """Best maps of states; for those between landmarks where motion is known, else of the nearest one."""
    place = nearest_landmark(truth.ensemble, states, known.states)
    if "motion" not in known.ceilings or torch.equal(known.states[place], states):
        return {kind: maps[place] for kind, maps in known.ceilings.items()}
    return {"motion": ceiling_maps(truth, states, "motion")}

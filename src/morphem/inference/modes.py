"""How many directions the images bear out, and where each particle is along them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.engine.run import Run
from morphem.inference.passes import remembered
from morphem.inference.subspace import Latents, Setting, Subspace, find_subspace, infer_latents
from morphem.inference.templates import working_grid

_DOUBT = 3.0  # standard errors by which a direction must help images that it was not made from
_SPARE = 2  # directions beyond those kept: the kept ones are found in fewer passes
_FIRST = 2  # directions tried first; all are if the last of these helps
_JUDGED = 5_000  # images of a half set from which directions are judged
_LOG = logging.getLogger("morphem")


@dataclass(frozen=True)
class ModeConfig:
    """Directions in which particles differ."""

    most: int = 6
    """Directions tried; as many are kept as explain images that they were not made from. 0: none."""
    kept: int = -1
    """Directions kept whatever the evidence; -1 goes by the evidence."""
    limit: int = 16
    """Finest frequency at which directions are sought, frequency pixels."""
    passes: int = 8
    """Rounds of expectation–maximisation."""
    finest: int = 40
    """Finest frequency of those kept, frequency pixels; that of the poses where it is less."""
    joint: int = 2
    """Rounds in which poses and latents are found together at that; 0: latents at the poses of one map."""

    def __post_init__(self) -> None:
        if self.most < 0 or self.kept > self.most:
            raise ValueError(f"most {self.most} is below 0 or below kept {self.kept}")


@dataclass(frozen=True)
class Modes:
    """Directions, and each image's place along them.

    Attributes:
        space: Mean and directions kept.
        latents: Of every image.
        limit: Frequency pixels that both were found with.
        gain: Mean log-likelihood that each direction tried adds to images of the other half set; empty where
            none were tried.
        error: Standard error of that.
    """

    space: Subspace
    latents: Latents
    limit: int
    gain: list[float]
    error: list[float]


def find_modes(
    where: Setting, half_sets: tuple[Tensor, Tensor], config: ModeConfig, seed: int, run: Run
) -> Modes:
    """Directions found in each half set are judged by the other; then those of all images are kept."""
    gain = error = torch.zeros(0)
    for tried in sorted({min(_FIRST, config.most), config.most}):
        # a set of one shape is told by two directions, in a third of the time that all of them take
        if config.kept < 0 and borne_out(gain, error) == len(gain) < tried:
            gain, error = _gains(where, half_sets, (replace(config, most=tried), seed), run)
    count = config.kept if config.kept >= 0 else borne_out(gain, error)
    _LOG.info("directions: %d; gains %s", count, [round(each, 2) for each in gain.tolist()])
    rows = torch.cat(half_sets).sort().values
    found, final = (count + _SPARE, config) if count else (0, replace(config, passes=0))
    space = _remembered(where, rows, found, (final, seed), run.stage("modes")).first(count)
    latents = infer_latents(where, rows, space, run)
    return Modes(space, latents, where.limit, gain.tolist(), error.tolist())


def borne_out(gain: Float[Tensor, "q"], error: Float[Tensor, "q"]) -> int:
    """Directions up to the last that adds more than three standard errors."""
    certain = (gain > _DOUBT * error).nonzero()
    return int(certain[-1]) + 1 if len(certain) else 0


def _gains(
    where: Setting, half_sets: tuple[Tensor, Tensor], how: tuple[ModeConfig, int], run: Run
) -> tuple[Float[Tensor, "q"], Float[Tensor, "q"]]:
    """What each of ``most`` directions adds to the evidence of an image, with its standard error."""
    config, seed = how
    both = []
    for a, b in ((0, 1), (1, 0)):
        stage = run.stage(f"modes-{config.most}-{a + 1}")
        both.append(_judged(where, (half_sets[a], half_sets[b]), config, seed, stage))
    gains = torch.cat(both)
    return gains.mean(0), gains.std(0) / len(gains) ** 0.5


def _judged(
    where: Setting, rows: tuple[Tensor, Tensor], config: ModeConfig, seed: int, run: Run
) -> Float[Tensor, "m q"]:
    """What each direction of the first rows adds to the evidence of each image of the second."""
    brief = replace(config, passes=max(config.passes // 2, 2))
    space = _remembered(where, rows[0][:_JUDGED], config.most, (brief, seed), run)
    nested = [infer_latents(where, rows[1], space.first(k + 1)).evidence[rows[1]] for k in range(config.most)]
    return torch.stack([torch.zeros_like(nested[0]), *nested], 1).diff(dim=1)


def _remembered(
    where: Setting, rows: Int[Tensor, "m"], count: int, how: tuple[ModeConfig, int], run: Run
) -> Subspace:
    config, seed = how
    identity: dict[str, Any] = {"count": count, "passes": config.passes, "limit": where.limit, "seed": seed}

    def make() -> dict[str, Tensor]:
        space = find_subspace(where, rows, count, config.passes, seed, run)
        return {"mean": space.mean, "directions": space.directions}

    made = remembered(run, identity, make)
    return Subspace(made["mean"], made["directions"], working_grid(where.store.disc.grid, where.limit))

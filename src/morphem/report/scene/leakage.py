"""How much of the latents could be told from how a particle was seen, rather than from what it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.rotations import to_euler
from morphem.metrics.latents import FOLDS, folds, held_out_prediction
from morphem.report.scene.columns import first_images
from morphem.report.scene.shown import Shown
from morphem.report.scene.states import Axes

_LEAST = 200  # particles from which shares say something
_SAMPLED = 20_000
_TELLING = 0.05  # of the variance: components of less are not looked at
_MOST = 8  # components


@dataclass(frozen=True)
class Leak:
    """Share of a component that something about the imaging predicts in particles that it was not fitted to.

    Attributes:
        component: From 1.
        cause: In words.
        share: Cross-validated R², at most 1; below 0 where the prediction is worse than the mean.
    """

    component: int
    cause: str
    share: float


def leaks_of(shown: Shown, axes: Axes | None) -> list[Leak]:
    """Shares of components that view, in-plane angle, shift, defocus, optics group explain, largest first.

    Each is predicted by a cubic polynomial, fitted to four fifths of the particles and tried on the fifth.
    """
    stack, poses = shown.stack, shown.poses
    if axes is None or stack is None or poses is None or len(shown.latents) < _LEAST:
        return []
    rows = first_images(stack.particle)
    step = -(-len(rows) // _SAMPLED)
    values, rows = axes.values[::step], rows[::step]
    view, optics = poses[rows], stack.optics[rows]
    psi = to_euler(view.rotation.double())[:, 2].float()
    defocus = (optics.defocus_u + optics.defocus_v) / 2
    causes = {
        "the direction of view": view.rotation[:, 2],
        "the in-plane angle": torch.stack([psi.cos(), psi.sin()], 1),
        "the shift": view.shift,
        "the defocus": torch.stack([defocus, optics.defocus_u - optics.defocus_v], 1),
    }
    group = stack.group[rows]
    leaks = []
    for index in range(min(_MOST, values.shape[1])):
        if index and axes.explained[index] < _TELLING:
            continue
        target = values[:, index]
        leaks += [Leak(index + 1, cause, predicted_share(told, target)) for cause, told in causes.items()]
        if len(group.unique()) > 1:
            leaks.append(Leak(index + 1, "the optics group", grouped_share(group, target)))
    return sorted(leaks, key=lambda leak: -leak.share)


def predicted_share(told: Float[Tensor, "p f"], target: Float[Tensor, "p"]) -> float:
    """Cross-validated R² of a cubic polynomial of what is told."""
    spread = told.std(0) > 0
    if not spread.any():
        return 0.0
    return _share(held_out_prediction(told[:, spread], target), target)


def grouped_share(group: Int[Tensor, "p"], target: Float[Tensor, "p"]) -> float:
    """Cross-validated R² of the mean of a particle's group."""
    fold, predicted = folds(len(group)), torch.empty_like(target)
    count = int(group.max()) + 1
    for k in range(FOLDS):
        kept = fold != k
        number = torch.bincount(group[kept], minlength=count)
        total = torch.bincount(group[kept], weights=target[kept].double(), minlength=count)
        mean = torch.where(number > 0, total / number.clamp(min=1), target[kept].double().mean())
        predicted[~kept] = mean[group[~kept]].to(target)
    return _share(predicted, target)


def _share(predicted: Float[Tensor, "p"], target: Float[Tensor, "p"]) -> float:
    left = (target - predicted).double().square().sum()
    whole = (target - target.mean()).double().square().sum()
    return float(1 - left / whole) if whole > 0 else 0.0

"""What latents know of the true states, and of what they should not know."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.metrics.bootstrap import interval
from morphem.metrics.clusters import adjusted_mutual_information, adjusted_rand, cluster, hungarian_accuracy
from morphem.metrics.coordinates import coordinate_error
from morphem.metrics.latents import auroc, latent_auroc, latent_rank_correlation
from morphem.metrics.neighbours import information_imbalance, neighbourhood_overlap
from morphem.report.score import Score
from morphem.simulate.bounds import CramerRao
from morphem.simulate.ensembles import AbstractEnsemble, Coordinate, embedded
from morphem.simulate.particles import Truth

_SAMPLE = 2000  # particles whose distances are compared
_NEIGHBOURS = 10
_MEDIAN_OF_NORMAL = 0.6745  # median absolute value, in standard deviations
_FEW = 16  # states at most that are told apart one by one


def latent_scores(latents: Float[Tensor, "p z"], truth: Truth, bound: CramerRao) -> dict[str, Any]:
    """Scores of latents of sound particles, by coordinate, by body, and as a whole.

    Args:
        latents: At least one number per particle.
        truth: Of the same particles.
        bound: Of a sample of them.
    """
    coordinates = {
        coordinate.name: _of_coordinate(latents, column, coordinate, bound)
        for column, coordinate in zip(truth.state.T, truth.ensemble.coordinates, strict=True)
    }
    return {
        "coordinates": coordinates,
        "bodies": _of_bodies(latents, truth),
        "clusters": _of_clusters(latents, truth),
        **_as_a_whole(latents, truth),
    }


def _of_coordinate(
    latents: Float[Tensor, "p z"], column: Float[Tensor, "p"], coordinate: Coordinate, bound: CramerRao
) -> dict[str, Any]:
    if len(column.unique()) < 2:
        return {"kind": coordinate.kind}
    scores: dict[str, Any] = {"kind": coordinate.kind}
    if coordinate.kind in ("linear", "circular"):
        errors = coordinate_error(latents, column, coordinate.kind)
        nothing = torch.rand(len(column), generator=torch.Generator().manual_seed(0)).argsort()
        unknowing = coordinate_error(nothing.to(latents)[:, None], column, coordinate.kind)
        ceiling = _MEDIAN_OF_NORMAL * _deviation(bound, coordinate.name)
        sorted_errors, each = errors.double().sort().values, torch.ones(len(errors), dtype=torch.float64)
        middle = interval(lambda weights: _median(sorted_errors, weights), each)
        mean = interval(lambda weights: float(sorted_errors @ weights / weights.sum()), each)
        scores["error_median"] = Score(float(errors.median()), middle, float(unknowing.median()), ceiling)
        scores["error_mean"] = Score(float(errors.mean()), mean, float(unknowing.mean()))
    if coordinate.kind == "linear":
        scores["rank_correlation"] = Score(latent_rank_correlation(latents, column), None, 0.0, 1.0)
    if coordinate.kind == "binary":
        scores["auroc"] = Score(latent_auroc(latents, column > 0.5), None, 0.5, 1.0)
    return scores


def _median(ascending: Float[Tensor, "p"], weights: Float[Tensor, "p"]) -> float:
    """The first value at which half of the weight is reached."""
    reached = weights.cumsum(0)
    return float(ascending[torch.searchsorted(reached, reached[-1:] / 2)])


def _deviation(bound: CramerRao, name: str) -> float:
    """Typical standard deviation that images allow a coordinate, poses known."""
    return float(bound.alone[:, bound.names.index(name)].median())


def _of_clusters(latents: Float[Tensor, "p z"], truth: Truth) -> dict[str, Any]:
    """Clusters of latents, as many as there are states, beside the states; none for a continuous motion."""
    states, label = truth.state.unique(dim=0, return_inverse=True)
    has_labels = any(each.kind == "label" for each in truth.ensemble.coordinates)
    if not 1 < len(states) <= (len(label) if has_labels else _FEW):
        return {}
    found = cluster(latents, len(states), seed=0)
    largest = float(torch.bincount(label).max()) / len(label)

    def rand(weights: Float[Tensor, "p"]) -> float:
        drawn = torch.arange(len(label)).repeat_interleave(weights.long())
        return adjusted_rand(found[drawn], label[drawn])

    # not of the mutual information: what chance gives takes seconds a draw where states are many
    sure = interval(rand, torch.ones(len(label)))
    return {
        "adjusted_mutual_information": Score(adjusted_mutual_information(found, label), None, 0.0, 1.0),
        "adjusted_rand": Score(adjusted_rand(found, label), sure, 0.0, 1.0),
        "hungarian_accuracy": Score(hungarian_accuracy(found, label), None, largest, 1.0),
        "confusion_of_first_component": Score(_confusion(latents, label), None, 1 - largest, 0.0),
    }


def _confusion(latents: Float[Tensor, "p z"], label: Int[Tensor, "p"]) -> float:
    """Share of particles in the wrong one of as many clusters of the first principal component (cryoFIRE)."""
    centred = latents.double() - latents.double().mean(0)
    first = torch.linalg.eigh(centred.mT @ centred)[1][:, -1]
    found = cluster((centred @ first)[:, None].to(latents), int(label.max()) + 1, seed=0)
    return 1 - hungarian_accuracy(found, label)


def _of_bodies(latents: Float[Tensor, "p z"], truth: Truth) -> dict[str, Any]:
    """Whether latents tell which bodies are there, for each that some particles lack."""
    bodies = truth.ensemble.bodies(truth.state)
    if bodies is None:
        return {}
    there = bodies.presence > 0.5
    varying = [body for body in range(there.shape[1]) if 0 < int(there[:, body].sum()) < len(there)]
    return {
        f"body {body}": {"occupancy_auroc": Score(latent_auroc(latents, there[:, body]), None, 0.5, 1.0)}
        for body in varying
    }


def _as_a_whole(latents: Float[Tensor, "p z"], truth: Truth) -> dict[str, Any]:
    """Distances between latents beside distances between states, poses and defocus, of a sample."""
    some = torch.randperm(len(latents), generator=torch.Generator().manual_seed(1))[:_SAMPLE]
    place, known = latents[some], truth[some]
    places = {
        "state": _state_points(known),
        "pose": known.poses.rotation.flatten(1),
        "ctf": known.optics.defocus_u.log()[:, None],
    }
    state = places["state"]
    unit = state.std(0).clamp(min=1e-12)
    found, chance = neighbourhood_overlap(place, state / unit, _NEIGHBOURS)
    return {
        "neighbourhood_overlap": Score(found, None, chance, 1.0),
        "information_imbalance": {
            name: Score(information_imbalance(place, points / points.std(0).clamp(min=1e-12)), None, 1.0, 0.0)
            for name, points in places.items()
        },
    }


def _state_points(truth: Truth) -> Float[Tensor, "n e"]:
    """States as points between which distances mean something; different labels are equally far apart."""
    points = []
    for column, coordinate in zip(truth.state.T, truth.ensemble.coordinates, strict=True):
        if coordinate.kind == "label":
            points.append(torch.nn.functional.one_hot(column.unique(return_inverse=True)[1]).to(column))
        else:
            points.append(embedded((coordinate,), column[:, None]))
    return torch.cat(points, 1)


def decoded_occupancy(
    found: Float[Tensor, "k d d d"],
    true: Float[Tensor, "k d d d"],
    states: Float[Tensor, "k q"],
    ensemble: AbstractEnsemble,
) -> dict[str, Score]:
    """Whether the maps of single particles have density where a body is, for each that some lack."""
    bodies = ensemble.bodies(states)
    scores: dict[str, Score] = {}
    if bodies is None:
        return scores
    for body, there in enumerate((bodies.presence > 0.5).T):
        if 0 < int(there.sum()) < len(there):
            difference = true[there].mean(0) - true[~there].mean(0)
            strength = torch.einsum("kzyx,zyx->k", found, difference)
            scores[f"body {body}"] = Score(auroc(strength, there), None, 0.5, 1.0)
    return scores

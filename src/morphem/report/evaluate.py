"""What was found in simulated particles, measured against their truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from morphem.core.fourier import resize_map
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.engine.files import write_json
from morphem.engine.reconstruction import Reconstruction
from morphem.metrics.fsc import crossing, cryobench_auc
from morphem.metrics.latents import (
    auroc,
    held_out_prediction,
    latent_auroc,
    latent_rank_correlation,
    parts_ari,
)
from morphem.metrics.maps import deviation_fsc, mean_to_shell, moving_region_fsc, standard_deviation_map
from morphem.models.gaussian_density import AnchoredMixture
from morphem.physics.masks import mask_from_map
from morphem.report.evaluation_figure import Findings, draw_evaluation
from morphem.simulate.datasets import LANDMARKS, common_mask, true_maps
from morphem.simulate.particles import Truth

_IMAGES = 100  # particles whose own maps are compared one by one
_VISIBLE = 0.1  # of the mean amplitude: fainter Gaussians have no part


@dataclass(frozen=True)
class MapPairs:
    """Found maps beside the true ones.

    Attributes:
        states: State of each pair.
        shares: How much of the population it stands for; they sum to 1.
        found: Maps of the reconstruction.
        true: Exact ones on the same grid.
        grid: The reconstruction's.
    """

    states: Float[Tensor, "k q"]
    shares: Float[Tensor, "k"]
    found: Float[Tensor, "k d d d"]
    true: Float[Tensor, "k d d d"]
    grid: Grid


def evaluate(
    found: Reconstruction,
    truth: Truth,
    consensus: Volume,
    half_map_fsc: Float[Tensor, "s"],
    out: Path | str,
) -> dict[str, float | None]:
    """Scores of a reconstruction; also written to ``out/evaluation.json`` and drawn in ``evaluation.png``.

    - ``deviation_fsc``: over states across the population, mean to the shell where ``half_map_fsc`` falls to
      0.5; a consensus scores 0. The map found for a state is that of the particle whose latent is nearest to
      the mean latent of the particles nearest to that state. ``deviation_fsc_per_image``: each of 100
      particles decoded from its own latent, against its own true map.
    - ``auc``, ``auc_consensus``: CryoBench's, within its mask, weighted by population; ``…_unmasked``.
    - ``moving_region_fsc``, ``moving_region_fsc_consensus``: mean to the same shell where density varies.
    - ``latent_rank_correlation``: Spearman of the first graded coordinate and its prediction from latents on
      held-out particles. ``occupancy_auroc``: likewise of the first yes-or-no coordinate;
      ``occupancy_auroc_decoded``: of the density found there in the 100 particles' own maps.
    - ``parts_ari``: adjusted Rand index of parts and rigid bodies, for densities that have parts.

    Args:
        found: On particles in the order of ``truth``.
        truth: Of every particle; junk is left out.
        consensus: Map of all particles as if they were alike.
        half_map_fsc: Of its halves.
        out: Folder to write to.
    """
    if len(found.latents) != len(truth):
        met = f"{len(found.latents)} latents but {len(truth)} true states"
        raise ValueError(f"{met}; evaluate a run on the whole simulated set")
    intact = truth.intact.nonzero().flatten()
    latents, kept = found.latents.detach().cpu()[intact], truth[intact]
    by_state, by_image = pairs_by_state(found, latents, kept), pairs_by_image(found, latents, kept)
    last = crossing(half_map_fsc, 0.5)
    per_shell, per_image = (deviation_fsc(p.found, p.true, p.shares) for p in (by_state, by_image))
    predictions = _predictions(latents, kept)
    findings = Findings(latents, kept.state, *predictions, per_shell, per_image, half_map_fsc)
    scores = {
        "deviation_fsc": mean_to_shell(per_shell, last),
        "deviation_fsc_per_image": mean_to_shell(per_image, last),
        "deviation_fsc_to_shell": last,
        **_map_scores(by_state, consensus, last),
        **_latent_scores(findings, by_state, by_image),
        "parts_ari": _parts_score(found, latents, kept),
    }
    write_json(Path(out) / "evaluation.json", scores)
    draw_evaluation(findings, scores, kept.grid, Path(out) / "evaluation.png")
    return scores


def pairs_by_state(found: Reconstruction, latents: Float[Tensor, "p z"], truth: Truth) -> MapPairs:
    """One pair for each landmark of the population that has particles nearest to it."""
    states, shares = truth.ensemble.landmarks(LANDMARKS)
    unit = states.std(0).clamp(min=1e-12)
    nearest = torch.cdist(truth.state / unit, states / unit).argmin(1)
    seen = nearest.unique()
    chosen = torch.stack([_medoid(latents, (nearest == k).nonzero().flatten()) for k in seen])
    return _pairs(found, latents[chosen], truth, states[seen], shares[seen])


def pairs_by_image(found: Reconstruction, latents: Float[Tensor, "p z"], truth: Truth) -> MapPairs:
    """One pair for each of a random sample of particles: its own latent, its own state."""
    some = torch.randperm(len(latents), generator=torch.Generator().manual_seed(0))[:_IMAGES]
    return _pairs(found, latents[some], truth, truth.state[some], torch.ones(len(some)))


def _medoid(latents: Float[Tensor, "p z"], members: Int[Tensor, "m"]) -> Int[Tensor, ""]:
    """The member whose latent is nearest to the members' mean."""
    own = latents[members]
    return members[(own - own.mean(0)).square().sum(1).argmin()]


def _pairs(
    found: Reconstruction,
    latents: Float[Tensor, "k z"],
    truth: Truth,
    states: Float[Tensor, "k q"],
    shares: Float[Tensor, "k"],
) -> MapPairs:
    box = found.grid.box
    true = torch.stack([resize_map(voxels, box) for voxels in true_maps(truth, states)])
    with torch.no_grad():
        maps = torch.stack([found.volume(z).voxels.cpu() for z in latents.to(found.latents.device)])
    return MapPairs(states, shares / shares.sum(), maps, true, found.grid)


def _map_scores(pairs: MapPairs, consensus: Volume, last: float) -> dict[str, float]:
    mean = resize_map(consensus.voxels, pairs.grid.box).expand_as(pairs.true)
    mask, moving = common_mask(pairs.true, pairs.grid), _moving_mask(pairs)
    sides = {"": pairs.found, "_consensus": mean}
    return {
        **{f"auc{side}": _mean_auc(maps, pairs, mask) for side, maps in sides.items()},
        **{f"auc{side}_unmasked": _mean_auc(maps, pairs, None) for side, maps in sides.items()},
        **{
            f"moving_region_fsc{side}": mean_to_shell(
                moving_region_fsc(maps, pairs.true, pairs.shares, moving), last
            )
            for side, maps in sides.items()
        },
    }


def _moving_mask(pairs: MapPairs) -> Float[Tensor, "d d d"]:
    """Where the true density varies by a fifth of the most it does, a pixel wider, with an edge of three."""
    pixel = pairs.grid.pixel_size
    spread = standard_deviation_map(pairs.true, pairs.shares)
    return mask_from_map(Volume(spread, pairs.grid), 0.2 * float(spread.max()), pixel, 3 * pixel)


def _mean_auc(maps: Float[Tensor, "k d d d"], pairs: MapPairs, mask: Float[Tensor, "d d d"] | None) -> float:
    scores = [
        cryobench_auc(Volume(one, pairs.grid), Volume(true, pairs.grid), mask)
        for one, true in zip(maps, pairs.true, strict=True)
    ]
    return float(torch.tensor(scores) @ pairs.shares)


def _predictions(
    latents: Float[Tensor, "p z"], truth: Truth
) -> tuple[Float[Tensor, "p q"], Bool[Tensor, "q"]]:
    """Each state coordinate as predicted from latents on held-out particles, and which are yes or no."""
    predicted = [held_out_prediction(latents, coordinate) for coordinate in truth.state.T]
    return torch.stack(predicted, 1), ((truth.state == 0) | (truth.state == 1)).all(0)


def _latent_scores(findings: Findings, by_state: MapPairs, by_image: MapPairs) -> dict[str, float | None]:
    """Of the first graded and first yes-or-no coordinate; None where there is none, or it never varies."""
    scores: dict[str, float | None] = dict.fromkeys(
        ("latent_rank_correlation", "occupancy_auroc", "occupancy_auroc_decoded")
    )
    for q in (~findings.is_binary).nonzero().flatten()[:1].tolist():
        scores["latent_rank_correlation"] = latent_rank_correlation(findings.latents, findings.state[:, q])
    for q in findings.is_binary.nonzero().flatten()[:1].tolist():
        label = findings.state[:, q] > 0
        if 0 < int(label.sum()) < len(label):
            scores["occupancy_auroc"] = latent_auroc(findings.latents, label)
            scores["occupancy_auroc_decoded"] = _decoded_auroc(q, by_state, by_image)
    return scores


def _decoded_auroc(q: int, by_state: MapPairs, by_image: MapPairs) -> float | None:
    """Of the density that each particle's own map has where yes and no differ in truth."""
    there, label = by_state.states[:, q] > 0, by_image.states[:, q] > 0
    if not 0 < int(label.sum()) < len(label):
        return None
    difference = by_state.true[there].mean(0) - by_state.true[~there].mean(0)
    return auroc(torch.einsum("kzyx,zyx->k", by_image.found, difference), label)


def _parts_score(found: Reconstruction, latents: Float[Tensor, "p z"], truth: Truth) -> float | None:
    """At the particle nearest to the middle of the population with every Gaussian there."""
    if not isinstance(found.density, AnchoredMixture):
        return None
    ensemble = truth.ensemble
    complete = (ensemble.points(truth.state)[1] > 0).all(1).nonzero().flatten()
    chosen = complete[_medoid(truth.state[complete], torch.arange(len(complete)))]
    with torch.no_grad():
        mixture = found.density.mixture(latents[chosen][None])
    visible = mixture.amplitudes[0] > _VISIBLE * mixture.amplitudes[0].mean()
    true, _ = ensemble.points(truth.state[chosen][None])
    return parts_ari(mixture.centres[0][visible], found.density.part[visible], true[0], ensemble.labels)

"""How near poses, maps and latents of a run came to the truth, and to what the images allow."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from morphem.core.types import Frame, Poses, Volume
from morphem.engine.reconstruction import Reconstruction
from morphem.metrics.clusters import cluster, hungarian_accuracy
from morphem.metrics.fsc import crossing, shell_correlation
from morphem.metrics.latents import spearman
from morphem.metrics.poses import align_poses, pose_errors, pose_errors_by_group
from morphem.physics.masks import mask_from_map
from morphem.report.evaluate_plan import sound_sample
from morphem.report.evaluate_poses import state_groups
from morphem.simulate.bounds import CramerRao, cramer_rao
from morphem.simulate.particles import Truth

_DRAWS = 400  # of errors at the bound, for each image
_MAPS = 10  # states at most whose maps are compared
_STARTS = 4  # of the mixture


def pose_figures(found: Poses, truth: Truth, frame: Frame) -> dict[str, Any]:
    """Errors of the poses of sound particles in a frame that they all share; p is a percentile."""
    sound = truth.intact
    errors, pixel = pose_errors(found[sound], truth[sound].poses, frame), truth.grid.pixel_size
    shift = errors.shift.double() / pixel
    return {
        "hand": "same" if float(torch.linalg.det(frame.matrix)) > 0 else "mirrored",
        "rotation_deg": spread(torch.rad2deg(errors.rotation)),
        "view_deg": spread(torch.rad2deg(errors.view)),
        "in_plane_deg": spread(torch.rad2deg(errors.in_plane)),
        "shift_px": spread(shift),
        "shift_px2": spread(shift.square()),
        "beyond_10_deg": float((torch.rad2deg(errors.rotation) > 10).double().mean()),
        "by_state": by_state(found[sound], truth[sound], frame),
    }


def by_state(found: Poses, truth: Truth, frame: Frame) -> dict[str, Any]:
    """Errors after a change of frame for each state: the molecule may turn with its state, unseen."""
    errors = pose_errors_by_group(found, truth.poses, frame, state_groups(truth.state))
    shift = errors.shift / truth.grid.pixel_size
    return {"rotation_deg": spread(torch.rad2deg(errors.rotation)), "shift_px": spread(shift)}


def frame_of(found: Poses, truth: Truth) -> Frame:
    """The frame of found poses, by those of sound particles."""
    return align_poses(found[truth.intact], truth[truth.intact].poses)


def spread(values: Tensor) -> dict[str, float]:
    values = values.double()
    shares = {"median": 0.5, "p90": 0.9, "p95": 0.95}
    return {"mean": float(values.mean())} | {n: float(torch.quantile(values, q)) for n, q in shares.items()}


def bound_figures(truth: Truth, note: Path, images: int) -> dict[str, Any]:
    """Errors of one who attains the Cramér–Rao bound, in the form of :func:`pose_figures`.

    Each image's errors are drawn from normal distributions as wide as its bound, components independent. What
    was computed once is kept in ``note``.

    Args:
        truth: Of the set.
        note: JSON file.
        images: Sound ones of which the bound is computed.
    """
    if note.exists():
        held = json.loads(note.read_text(encoding="utf-8"))
        if held["images"] == min(images, int(truth.intact.sum())):
            return held
    some = sound_sample(truth, images)
    figures = {"images": len(some), **errors_at(cramer_rao(truth[some]), truth.grid.pixel_size)}
    note.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures


def errors_at(bound: CramerRao, pixel_size: float) -> dict[str, Any]:
    """Spreads of errors of images that all attain the bound."""
    deviation = bound.joint[:, -5:].double()
    draws = torch.randn(_DRAWS, *deviation.shape, generator=torch.Generator().manual_seed(0)).double()
    errors = draws * deviation
    shift = errors[..., 3:].norm(dim=-1) / pixel_size
    figures = {
        "rotation_deg": torch.rad2deg(errors[..., :3].norm(dim=-1)),
        "view_deg": torch.rad2deg(errors[..., :2].norm(dim=-1)),
        "in_plane_deg": torch.rad2deg(errors[..., 2].abs()),
        "shift_px": shift,
        "shift_px2": shift.square(),
    }
    return {name: spread(values.flatten()) for name, values in figures.items()}


def map_figures(found: Reconstruction, truth: Truth, frame: Frame) -> dict[str, Any]:
    """Resolution of the map of each state's mean latent against the exact one, pixels (2 is Nyquist)."""
    states, label = truth.state.unique(dim=0, return_inverse=True)
    count = torch.bincount(label, minlength=len(states))
    chosen = torch.linspace(0, len(states) - 1, min(len(states), _MAPS)).round().long().unique().tolist()
    rows = []
    for k in chosen:
        facts = {"state": states[k].tolist(), "images": int(count[k])}
        rows.append(facts | _map(found, truth, frame, label == k, states[k]))
    by_count = sorted(rows, key=lambda row: row["images"])
    rarest, commonest = by_count[0], by_count[-1]
    return {
        "by_state": rows,
        "commonest": {"resolution_px": commonest["resolution_px"]},
        "rarest": {"resolution_px": rarest["resolution_px"]},
        "rarest_to_commonest": rarest["resolution_px"] / commonest["resolution_px"],
    }


def _map(found: Reconstruction, truth: Truth, frame: Frame, own: Tensor, state: Tensor) -> dict[str, Any]:
    grid, own = truth.grid, own & truth.intact
    made, true = found.volume(found.latents[own].mean(0)), truth.volume(state, frame)
    sign = float((made.voxels * true.voxels).sum().sign()) or 1.0
    made = Volume(made.voxels * sign, grid)
    mask = mask_from_map(true, 0.02 * float(true.voxels.max()), 2 * grid.pixel_size, 6 * grid.pixel_size)
    masked, plain = shell_correlation(made, true, mask), shell_correlation(made, true)
    return {
        "resolution_px": in_pixels(masked, grid.box),
        "resolution_unmasked_px": in_pixels(plain, grid.box),
        "contrast": "right" if sign > 0 else "inverted",
        "fsc": [round(value, 3) for value in masked.tolist()],
    }


def in_pixels(fsc: Tensor, box: int) -> float:
    """Resolution at a correlation of 0.5; the whole box where it is never reached."""
    return box / max(crossing(fsc, 0.5), 1.0)


def latent_figures(latents: Tensor, truth: Truth) -> dict[str, Any]:
    """Whether latents tell states apart without their labels, and by thresholds that the labels choose.

    ``confusion`` is the share of particles in the wrong component of a Gaussian mixture of as many as there
    are states, matched one to one; k-means and the labels' own thresholds beside it.
    """
    own, state = latents[truth.intact].float(), truth.state[truth.intact, 0]
    label = state.unique(return_inverse=True)[1]
    k = int(label.max()) + 1
    if k < 2:
        return {}
    largest = float(torch.bincount(label).max()) / len(label)
    if own.shape[1] == 0:
        nothing = 1 - largest
        return {"width": 0, "spearman": 0.0, "confusion": nothing, "confusion_by_threshold": nothing}
    first = principal(own)
    rank = spearman(first, state)
    figures = {
        "width": own.shape[1],
        "spearman": abs(rank),
        "spearman_at_best": spearman(label.argsort().argsort().double(), state),
        "spearman_of_states": abs(spearman(_means(first, label), torch.arange(k).double())),
    }
    if k > 16:
        return figures
    kmeans = 1 - hungarian_accuracy(cluster(own, k, seed=0), label)
    mixture = 1 - hungarian_accuracy(mixture_labels(own, k), label)
    return figures | {
        "confusion": mixture,
        "confusion_by_kmeans": kmeans,
        "confusion_of_pc1": 1 - hungarian_accuracy(cluster(first[:, None].float(), k, seed=0), label),
        "confusion_by_threshold": threshold_confusion(first if rank >= 0 else -first, label),
    }


def first_component(latents: Tensor, truth: Truth) -> list[list[float]]:
    """5 %, 50 % and 95 % of the first component for each of a few states, in standard deviations of all."""
    own, state = latents[truth.intact].float(), truth.state[truth.intact, 0]
    label = state.unique(return_inverse=True)[1]
    if own.shape[1] == 0 or not 2 <= int(label.max()) + 1 <= _MAPS:
        return []
    first = principal(own)
    first = first / first.std().clamp(min=1e-30) * (1 if spearman(first, state) >= 0 else -1)
    shares = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    return [torch.quantile(first[label == each], shares).tolist() for each in label.unique()]


def principal(latents: Tensor) -> Tensor:
    """First principal component of each row."""
    centred = latents.double() - latents.double().mean(0)
    return centred @ torch.linalg.eigh(centred.mT @ centred)[1][:, -1]


def mixture_labels(latents: Tensor, k: int) -> Tensor:
    """Likeliest component of a Gaussian mixture of ``k``, each of its own covariance; labels are not used."""
    from sklearn.mixture import GaussianMixture

    points = latents.double().numpy()
    model = GaussianMixture(k, n_init=_STARTS, random_state=0, reg_covar=1e-6).fit(points)
    return torch.from_numpy(model.predict(points)).long()


def threshold_confusion(values: Tensor, label: Tensor) -> float:
    """Least share of errors that thresholds on one number make, chosen with the labels (cryoFIRE's own).

    States are in the order of their labels; one threshold lies between each and the next.
    """
    ordered = label[values.argsort()]
    k = int(label.max()) + 1
    hits = torch.nn.functional.one_hot(ordered, k).cumsum(0)
    hits = torch.cat([torch.zeros(1, k, dtype=hits.dtype), hits])
    best = hits[:, 0]
    for state in range(1, k):
        best = (best - hits[:, state]).cummax(0).values + hits[:, state]
    return 1 - int(best[-1]) / len(label)


def _means(values: Tensor, label: Tensor) -> Tensor:
    total = torch.zeros(int(label.max()) + 1, dtype=values.dtype).index_add_(0, label, values)
    return total / torch.bincount(label).clamp(min=1)


def changed(truth: Truth, change: str, order: Tensor) -> tuple[Truth, Tensor]:
    """Truth of changed images, and the matrix that their molecule is of the one that was simulated.

    Args:
        truth: Of the images as they were made.
        change: ``relabelled``, ``rotated`` by π in the plane, ``mirrored`` in y, or nothing.
        order: Of the particles where they are relabelled.
    """
    flip = {"rotated": (-1.0, -1.0, 1.0), "mirrored": (1.0, -1.0, 1.0)}.get(change, (1.0, 1.0, 1.0))
    turn = torch.diag(torch.tensor(flip))
    basis = turn if change == "mirrored" else torch.eye(3)
    poses = Poses(turn @ truth.poses.rotation @ basis, truth.poses.shift @ turn[:2, :2])
    moved = replace(truth, poses=poses)
    return (moved[order] if change == "relabelled" else moved), basis


def seen_by(frame: Frame, basis: Tensor) -> Frame:
    """The frame in terms of the molecule that was simulated."""
    return Frame(frame.matrix @ basis, frame.offset)


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    """How far the figures of two records are from each other."""
    first, second = a["poses"], b["poses"]
    turn = math.radians(abs(first["rotation_deg"]["median"] - second["rotation_deg"]["median"]))
    maps = [record["maps"]["commonest"]["resolution_px"] for record in (a, b)]
    return {
        "rotation_rad": turn,
        "shift_px": abs(first["shift_px"]["median"] - second["shift_px"]["median"]),
        "beyond_10_deg": abs(first["beyond_10_deg"] - second["beyond_10_deg"]),
        "resolution_px": abs(maps[0] - maps[1]),
    }

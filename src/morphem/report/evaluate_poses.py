"""Poses that a program found, beside the true ones."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphem.core.types import Frame, Poses
from morphem.metrics.poses import align_poses, pose_errors, pose_errors_by_group
from morphem.simulate.bounds import CramerRao
from morphem.simulate.particles import Truth, reported_poses

_SAME = 1e-3  # rad and pixels: what is written to a star file and read again differs by less
_STATES = 16  # in which poses are compared
_FEWEST = 10  # particles that make a frame of their own
_MEDIAN_OF_ONE, _MEDIAN_OF_TWO = 0.6745, 1.1774  # of |x| and of |(x, y)|, in standard deviations


def found_frame(poses: Poses | None, truth: Truth) -> Frame | None:
    """Frame in which a program sees the molecule; None if its poses are those of the particle file."""
    if poses is None:
        return None
    if len(poses) != len(truth):
        met = f"{len(poses)} poses were found, the set has {len(truth)} particles"
        raise ValueError(f"{met}; give poses of all, in the order of the particle file")
    given = reported_poses(truth)
    turned = (poses.rotation - given.rotation).abs().max()
    moved = (poses.shift - given.shift).abs().max() / truth.grid.pixel_size
    if max(float(turned), float(moved)) < _SAME:
        return None
    return align_poses(poses[truth.intact], truth[truth.intact].poses)


def pose_scores(poses: Poses, truth: Truth, frame: Frame, bound: CramerRao) -> dict[str, Any]:
    """Errors of found poses after one change of frame for the whole set, whose hand is told.

    Angles are in rad, shifts in Å and pixels; sound particles only. ``bound`` beside them is the least median
    that the images allow, state and pose being found together. ``by_state`` has the errors after a change of
    frame for each state, where there are several: what is left once the molecule may turn with its state.
    """
    errors = pose_errors(poses[truth.intact], truth[truth.intact].poses, frame)
    spreads = {
        "view_rad": errors.view,
        "in_plane_rad": errors.in_plane,
        "rotation_rad": errors.rotation,
        "shift_angstrom": errors.shift,
        "shift_px": errors.shift / truth.grid.pixel_size,
    }
    least = _bounds(bound, truth.grid.pixel_size)
    return {
        "hand": "same" if float(torch.linalg.det(frame.matrix)) > 0 else "mirrored",
        "frame": {"matrix": frame.matrix.tolist(), "offset_angstrom": frame.offset.tolist()},
        **{name: _spread(values) | {"bound": least.get(name)} for name, values in spreads.items()},
        "by_state": _by_state(poses[truth.intact], truth[truth.intact], frame),
    }


def state_groups(state: Float[Tensor, "n q"]) -> Int[Tensor, "n"]:
    """Particles of one state, or of nearly one: of 16 equal shares along the states' longest direction."""
    kinds, group = state.unique(dim=0, return_inverse=True)
    if len(kinds) <= _STATES:
        return group
    centred = (state - state.mean(0)).double()
    place = centred @ torch.linalg.eigh(centred.mT @ centred).eigenvectors[:, -1]
    rank = torch.empty(len(place), dtype=torch.long)
    rank[place.argsort()] = torch.arange(len(place))
    return rank * _STATES // len(place)


def _by_state(poses: Poses, truth: Truth, frame: Frame) -> dict[str, Any] | None:
    group = state_groups(truth.state)
    count = int(group.max()) + 1
    if count < 2 or int(torch.bincount(group).min()) < _FEWEST:
        return None
    errors = pose_errors_by_group(poses, truth.poses, frame, group)
    return {
        "states": count,
        "rotation_rad": _spread(errors.rotation),
        "view_rad": _spread(errors.view),
        "shift_px": _spread(errors.shift / truth.grid.pixel_size),
    }


def _bounds(bound: CramerRao, pixel_size: float) -> dict[str, float]:
    """Medians of errors as large as the bound; two components together are taken for isotropic."""
    tilt, turn, shift = bound.joint[:, -5:-3], bound.joint[:, -3], bound.joint[:, -2:]
    view, displacement = (
        _MEDIAN_OF_TWO * float(pair.square().mean(1).sqrt().median()) for pair in (tilt, shift)
    )
    return {
        "view_rad": view,
        "in_plane_rad": _MEDIAN_OF_ONE * float(turn.median()),
        "shift_angstrom": displacement,
        "shift_px": displacement / pixel_size,
    }


def _spread(values: Float[Tensor, "n"]) -> dict[str, float]:
    values = values.double()
    return {
        "median": float(values.median()),
        "mean": float(values.mean()),
        "p95": float(torch.quantile(values, 0.95)),
    }

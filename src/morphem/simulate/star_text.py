"""Simulated particles as RELION 3.1 tables, with the truth of each row in columns of our own."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from morphem.core.rotations import to_euler
from morphem.core.types import Poses
from morphem.data.atomic import atomic_path
from morphem.simulate.particles import Truth, reported_optics, reported_poses


def write_star(truth: Truth, path: Path, stack: str = "particles.mrcs") -> None:
    """Write the particle file of ``stack``; true values are in ``_morphemTrue…`` columns."""
    with atomic_path(path) as temporary:
        temporary.write_text(_star(truth, stack), encoding="utf-8")


def _star(truth: Truth, stack: str) -> str:
    groups = truth.group.unique()
    first = torch.stack([(truth.group == group).nonzero()[0, 0] for group in groups])
    grid, optics = truth.grid, truth.optics[first]
    table = {
        "rlnOpticsGroup": [str(group + 1) for group in groups.tolist()],
        "rlnOpticsGroupName": [
            "simulated" if len(groups) == 1 else f"simulated{group + 1}" for group in groups.tolist()
        ],
        "rlnImagePixelSize": [f"{grid.pixel_size:.6f}"] * len(groups),
        "rlnImageSize": [str(grid.box)] * len(groups),
        "rlnImageDimensionality": ["2"] * len(groups),
        "rlnVoltage": _words(optics.voltage_kv),
        "rlnSphericalAberration": _words(optics.cs_mm),
        "rlnAmplitudeContrast": _words(optics.amplitude_contrast),
    }
    columns = {
        "rlnImageName": [f"{i + 1:06d}@{stack}" for i in range(len(truth))],
        "rlnOpticsGroup": [str(group + 1) for group in truth.group.tolist()],
        "rlnRandomSubset": [str(i % 2 + 1) for i in truth.number.tolist()],
        **{name: _words(column) for name, column in _numbers(truth).items()},
    }
    return _table("optics", table) + _table("particles", columns)


def _words(column: Float[Tensor, "n"]) -> list[str]:
    return [f"{value:.6f}" for value in column.tolist()]


def _numbers(truth: Truth) -> dict[str, Float[Tensor, "n"]]:
    """Columns of numbers in RELION's units and signs; degrees, and the shift that centres the particle."""
    optics = reported_optics(truth)
    columns = {
        "rlnDefocusU": optics.defocus_u,
        "rlnDefocusV": optics.defocus_v,
        "rlnDefocusAngle": torch.rad2deg(optics.astigmatism),
        "rlnCtfBfactor": optics.b_factor,
        "rlnPhaseShift": torch.rad2deg(optics.phase_shift),
    }
    columns |= {f"rln{name}": column for name, column in _pose_columns(reported_poses(truth)).items()}
    columns |= {f"morphemTrue{name}": column for name, column in _pose_columns(truth.poses).items()}
    columns |= {f"morphemTrueState{k}": column for k, column in enumerate(truth.state.T, 1)}
    columns["morphemTrueContrast"] = truth.optics.scale * truth.intact
    return columns


def _pose_columns(poses: Poses) -> dict[str, Float[Tensor, "n"]]:
    rot, tilt, psi = torch.rad2deg(to_euler(poses.rotation.double())).T
    x, y = -poses.shift.T
    return {"AngleRot": rot, "AngleTilt": tilt, "AnglePsi": psi, "OriginXAngst": x, "OriginYAngst": y}


def _table(name: str, columns: dict[str, list[str]]) -> str:
    head = "".join(f"_{label} #{k}\n" for k, label in enumerate(columns, 1))
    rows = "".join(" ".join(row) + "\n" for row in zip(*columns.values(), strict=True))
    return f"\n# version 30001\n\ndata_{name}\n\nloop_\n{head}{rows}\n"

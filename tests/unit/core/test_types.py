"""Records select every field together."""

from __future__ import annotations

import torch

from morphem.core.grid import Grid
from morphem.core.types import Optics, Particles, Poses


def particles(n: int = 5) -> Particles:
    rows = torch.arange(n)
    return Particles(
        images=rows.float()[:, None, None].expand(n, 4, 4).clone(),
        poses=Poses(torch.eye(3).expand(n, 3, 3), torch.stack([rows, -rows], -1).float()),
        optics=Optics(*[rows.float() + i for i in range(9)]),
        index=rows,
        particle=rows // 2,
        group=rows % 2,
        grid=Grid(4, 2.0),
    )


def test_rows_of_every_field_are_selected_together():
    chosen = particles()[torch.tensor([3, 1])]
    assert len(chosen) == 2
    assert chosen.images[:, 0, 0].tolist() == [3, 1]
    assert chosen.poses.shift.tolist() == [[3, -3], [1, -1]]
    assert chosen.optics.scale.tolist() == [11, 9]
    assert chosen.particle.tolist() == [1, 0]
    assert chosen.grid == particles().grid


def test_masks_and_slices_select_too():
    assert particles()[particles().group == 0].index.tolist() == [0, 2, 4]
    assert particles()[1:3].index.tolist() == [1, 2]


def test_a_record_moves_whole():
    moved = particles().to("meta")
    assert (
        moved.images.device.type == moved.poses.shift.device.type == moved.optics.cs_mm.device.type == "meta"
    )

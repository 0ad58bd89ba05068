"""Latents told anew by what particles look like."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from morphem.core.grid import Grid
from morphem.inference.latents import Solved
from morphem.methods.cryospire.embedding import spread_anew, told_by_maps
from morphem.models.gaussian_density import PartMixture

GRID = Grid(16, 8.0)
BODY = torch.repeat_interleave(torch.arange(2), torch.tensor([30, 20]))


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> PartMixture:
    """A body, and a domain absent where the first number is far from 0, that moves by the second."""
    made, generator = PartMixture(50, 4, 3, (8, 3, "products"), GRID.extent), torch.Generator().manual_seed(1)
    spots = torch.tensor([[0.0, 0, 0], [0.2, 0, 0]])[BODY] + 0.05 * torch.randn(50, 3, generator=generator)

    def placed(z: Tensor) -> tuple[Tensor, Tensor]:
        there = torch.where(BODY == 1, (z[:, :1].abs() < 1).float(), 1.0)
        along = 0.02 * z[:, 1, None, None] * torch.tensor([0.0, 1, 0]) * (BODY == 1)[:, None]
        return spots + along, there

    with torch.no_grad():
        made.amplitudes.fill_(1)
        made.log_scales.fill_(-3)
    monkeypatch.setattr(made, "placed", placed)
    return made


def latents(n: int = 400) -> Tensor:
    """The domain is there, or absent at either end; the third number shows nothing."""
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(n, 3, generator=generator)
    z[:, 0] = torch.tensor([0.0, -3, 3])[torch.arange(n) % 3] + 0.1 * z[:, 0]
    return z


def test_what_looks_alike_is_in_one_place(folded: PartMixture):
    z = latents()
    told = told_by_maps(folded, z, torch.arange(len(z)), GRID, None)
    absent = z[:, 0].abs() > 1
    assert float(told[absent].std(0).max()) < 1e-3  # both ends, whatever else their latents were
    away = told - told[absent].mean(0)
    assert float(away[~absent].norm(dim=1).min()) > 0.5
    assert float(told[:, 0].std(correction=0)) == pytest.approx(1, rel=0.02)
    # where the domain is, one of the numbers goes along with its motion
    moved, here = z[~absent, 1], told[~absent]
    assert max(abs(float(torch.corrcoef(torch.stack([moved, each]))[0, 1])) for each in here.mT) > 0.95


def test_particles_of_nothing_do_not_tell_how_maps_differ(folded: PartMixture):
    z = latents()
    sound = torch.nonzero(z[:, 0].abs() < 1)[:, 0]
    told = told_by_maps(folded, z, sound, GRID, None)
    assert told.shape == z.shape
    moved = z[sound, 1]
    assert abs(float(torch.corrcoef(torch.stack([moved, told[sound, 0]]))[0, 1])) > 0.95


def test_latents_stay_where_all_maps_are_alike(folded: PartMixture):
    z = latents()
    z[:, :2] = 0
    assert torch.equal(told_by_maps(folded, z, torch.arange(len(z)), GRID, None), z)


@pytest.mark.parametrize("width", [1, 3])
def test_posteriors_leave_as_large_a_share_open_as_before(width: int):
    z, mixed = latents()[:, :width], torch.eye(width) + 0.5
    anew = z.flip(0) @ mixed
    covariance = 0.25 * torch.cov(z.mT).view(width, width).expand(400, width, width)
    prior = spread_anew(anew, Solved(z, covariance, z[:, 0], z[:, 0], z[:, 0]))
    torch.testing.assert_close(
        torch.linalg.inv(prior.precision), 1.25 * torch.cov(anew.mT).view(width, width), rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(prior.mean, anew.mean(0))

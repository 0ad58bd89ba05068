"""Where maps of a finished run are decoded."""

from __future__ import annotations

import pytest
import torch

from morphem.report.volumes import along_component, at_latents, at_particles, at_states


def _two_clouds() -> torch.Tensor:
    cloud = 0.1 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    return torch.cat([cloud[:30] + torch.tensor([5.0, 0]), cloud[30:] - torch.tensor([5.0, 0])])


def test_states_lie_in_the_clouds_and_the_larger_comes_first():
    places = at_states(_two_clouds(), 2)
    assert places.names == ("state_1", "state_2")
    assert places.support.tolist() == [30, 20]
    torch.testing.assert_close(places.latents[:, 0], torch.tensor([5.0, -5.0]), atol=0.3, rtol=0)


def test_a_state_is_decoded_at_a_particle_that_was_seen():
    latents = _two_clouds()
    for z in at_states(latents, 2).latents:
        assert (latents == z).all(1).any()


def test_a_component_runs_between_the_outer_quantiles():
    latents = _two_clouds()
    places = along_component(latents, 1, 5)
    ends = places.latents[[0, -1], 0].sort().values
    torch.testing.assert_close(
        ends, torch.quantile(latents[:, 0], torch.tensor([0.05, 0.95])), atol=0.1, rtol=0
    )
    torch.testing.assert_close(places.latents[2], places.latents[[0, -1]].mean(0))


def test_every_particle_supports_exactly_one_place():
    latents = _two_clouds()
    for places in (
        at_particles(latents, [3, 40]),
        at_latents(latents, torch.zeros(3, 2)),
        at_states(latents, 4),
    ):
        assert int(places.support.sum()) == len(latents)


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda latents: at_particles(latents, [50]), "particles 0 to 49"),
        (lambda latents: at_latents(latents, torch.zeros(1, 3)), "has 2 numbers, 3 were given"),
        (lambda latents: at_states(latents, 0), "ask for 1 to 50"),
        (lambda latents: along_component(latents, 3, 5), "components 1 to 2"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(choose, message: str):
    with pytest.raises(ValueError, match=message):
        choose(_two_clouds())

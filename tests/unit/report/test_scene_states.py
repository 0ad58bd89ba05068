"""States and lines through latents."""

from __future__ import annotations

import torch
from scene_cases import shown_states, two_states

from morphem.report.scene.columns import columns_of
from morphem.report.scene.states import axes_of, nearest, states_of
from morphem.report.volumes import along_component, at_states


def test_two_groups_are_two_states_and_every_particle_is_in_the_nearer():
    _, latents = two_states(400)
    states = states_of(latents, 2)
    assert sorted(states.counts()) == [200, 200]
    assert torch.equal(states.member == states.member[0], torch.arange(400) % 2 == 0)


def test_states_are_those_of_the_command_volumes():
    _, latents = two_states(400)
    places = at_states(latents, 3)
    states = states_of(latents, 3)
    assert states.names == places.names
    assert torch.equal(states.latents, places.latents)
    assert states.counts() == places.support.tolist()


def test_few_particles_make_few_states():
    latents = torch.randn(250, 2, generator=torch.Generator().manual_seed(0))
    assert len(states_of(latents).names) == 2
    assert len(states_of(latents.repeat(4, 1)).names) == 5


def test_latents_that_are_all_the_same_are_one_state_without_axes():
    latents = torch.ones(300, 2)
    assert states_of(latents, 4).counts() == [300]
    assert axes_of(latents, 5) is None


def test_without_latents_all_particles_are_one_state():
    states = states_of(torch.zeros(30, 0))
    assert states.counts() == [30]
    assert states.latents.shape == (1, 0)


def test_nearest_is_the_nearest_in_every_block():
    generator = torch.Generator().manual_seed(0)
    latents, points = torch.randn(70_000, 2, generator=generator), torch.randn(7, 2, generator=generator)
    rows = torch.tensor([0, 65_535, 65_536, 69_999])
    assert torch.equal(nearest(latents, points)[rows], torch.cdist(latents[rows], points).argmin(1))


def test_positions_on_a_line_are_coordinates_along_its_component():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(500, 3, generator=generator) * torch.tensor([3.0, 2.0, 1.0]) + 5
    axes = axes_of(latents, 7)
    assert axes is not None
    for index, line in enumerate(axes.lines):
        places = along_component(latents, index + 1, 7)
        assert torch.equal(line.latents, places.latents)
        assert (line.positions.diff() > 0).all()
        # where a particle lies exactly on the line, its column says the line's position
        found = axes_of(torch.cat([latents, line.latents]), 7)
        assert found is not None
        close = found.values[500:, index] - found.values[500:, index].mean()
        expected = line.positions - line.positions.mean()
        torch.testing.assert_close(close, expected, atol=0.1, rtol=0)  # the seven move the axes a little


def test_explained_shares_are_those_of_the_variance():
    latents = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0])
    axes = axes_of(latents, 5)
    assert axes is not None
    torch.testing.assert_close(axes.explained, torch.tensor([0.9, 0.1]), atol=0.02, rtol=0)  # 4000 draws


def test_a_component_of_next_to_no_variance_is_not_run_through():
    latents = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.01])
    axes = axes_of(latents, 5)
    assert axes is not None
    assert [line.number for line in axes.lines] == [1]


def test_columns_begin_with_components_latents_state_and_cluster():
    columns = columns_of(shown_states(400), 2)
    assert [column.name for column in columns] == ["PC1", "PC2", "z1", "z2", "state", "cluster"]
    assert columns[4].categories == ("state_1", "state_2")
    assert all(len(column.values) == 400 for column in columns)

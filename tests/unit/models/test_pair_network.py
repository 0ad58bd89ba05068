"""Networks over pairs of a Gaussian and a particle."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from morphem.models import layers
from morphem.models.layers import PairNetwork, positional_encoding

FEATURES, LATENT = 7, 3


@pytest.fixture(params=[1, 2, 3])
def network(request: pytest.FixtureRequest) -> PairNetwork:
    torch.manual_seed(0)
    made = PairNetwork(FEATURES, LATENT, (8, request.param), 5).double()
    torch.nn.init.normal_(made.last.weight)
    return made


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    features = torch.randn(11, FEATURES, dtype=torch.float64, requires_grad=True)
    return features, torch.randn(6, LATENT, dtype=torch.float64, requires_grad=True)


def plain(network: PairNetwork, features: Tensor, latents: Tensor) -> Tensor:
    """The same perceptron on concatenated rows, pair by pair."""
    pairs = torch.stack([torch.stack([torch.cat([f, z]) for f in features]) for z in latents])
    hidden = network.first(pairs).relu()
    for layer in network.inner:
        hidden = layer(hidden).relu()
    return network.last(hidden)


def test_a_pair_network_is_a_perceptron_on_concatenated_rows(
    network: PairNetwork, rows: tuple[Tensor, Tensor]
):
    torch.testing.assert_close(network(*rows), plain(network, *rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("elements", [1, 24, 200, 1 << 19])
def test_its_gradients_are_the_perceptron_s_whatever_the_blocks(
    network: PairNetwork,
    rows: tuple[Tensor, Tensor],
    elements: int,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(layers, "BLOCK_ELEMENTS", elements)
    leaves = [*rows, *network.parameters()]
    weights = torch.randn(6, 11, 5, dtype=torch.float64)
    found = torch.autograd.grad((network(*rows) * weights).sum(), leaves)
    expected = torch.autograd.grad((plain(network, *rows) * weights).sum(), leaves)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_every_pair_starts_at_the_bias():
    network = PairNetwork(FEATURES, LATENT, (8, 2), 4, bias=3.0)
    found = network(torch.randn(5, FEATURES), torch.randn(2, LATENT))
    assert torch.equal(found, torch.full((2, 5, 4), 3.0))


def test_features_without_gradient_leave_the_latents_theirs(
    network: PairNetwork, rows: tuple[Tensor, Tensor]
):
    features, latents = rows
    network(features.detach(), latents).sum().backward()
    assert features.grad is None
    assert latents.grad is not None
    assert latents.grad.abs().max() > 0


def test_the_same_step_twice_is_the_same_bit_for_bit():
    torch.manual_seed(2)
    network = PairNetwork(FEATURES, LATENT, (32, 3), 3)
    torch.nn.init.normal_(network.last.weight)
    features, latents = torch.randn(3000, FEATURES, requires_grad=True), torch.randn(9, LATENT)
    leaves = [features, *network.parameters()]
    first, second = (torch.autograd.grad(network(features, latents).square().sum(), leaves) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_positions_are_encoded_by_octaves_of_one_period_a_box():
    position = torch.tensor([[0.1, -0.2, 0.3]])
    found = positional_encoding(position, 24)[0]
    expected = [
        wave(2 * math.pi * 2**octave * x)
        for octave in range(4)
        for wave in (math.sin, math.cos)
        for x in (0.1, -0.2, 0.3)
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-5)  # float32 at 8 periods

"""Networks whose pairs share a sum of products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from morphem.models.layers import ProductNetwork

FEATURES, LATENT, RANK, OUTPUTS = 5, 3, 4, 2


@pytest.fixture
def network() -> ProductNetwork:
    """One in which no layer is zero."""
    torch.manual_seed(0)
    made = ProductNetwork(FEATURES, LATENT, (6, RANK), OUTPUTS, bias=0.5).double()
    last = made.trunk[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    torch.nn.init.normal_(last.bias)
    return made


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    features = torch.randn(7, FEATURES, dtype=torch.float64, requires_grad=True)
    return features, torch.randn(3, LATENT, dtype=torch.float64, requires_grad=True)


def test_each_pair_has_the_bias_and_a_sum_of_products(network: ProductNetwork, rows: tuple[Tensor, Tensor]):
    features, latents = rows
    found = network(features, latents)
    assert found.shape == (3, 7, OUTPUTS)
    for b, z in enumerate(latents):
        by_output = network.trunk(z).view(OUTPUTS, RANK)
        for g, feature in enumerate(features):
            factors = network.branch(feature)
            for o in range(OUTPUTS):
                expected = network.bias[o] + sum(factors[r] * by_output[o, r] for r in range(RANK))
                torch.testing.assert_close(found[b, g, o], expected, rtol=1e-12, atol=1e-12)


def test_every_pair_starts_at_the_bias():
    network = ProductNetwork(FEATURES, LATENT, (8, RANK), 4, bias=3.0)
    found = network(torch.randn(5, FEATURES), torch.randn(2, LATENT))
    assert torch.equal(found, torch.full((2, 5, 4), 3.0))


def test_a_start_at_the_bias_is_left_by_a_descent():
    network = ProductNetwork(FEATURES, LATENT, (8, RANK), 1)
    network(torch.randn(5, FEATURES), torch.randn(2, LATENT)).sum().backward()
    last = network.trunk[-1].get_parameter("weight").grad
    assert last is not None
    assert float(last.abs().max()) > 0


def test_gradients_are_the_slopes(network: ProductNetwork, rows: tuple[Tensor, Tensor]):
    names = [name for name, _ in network.named_parameters()]

    def function(features: Tensor, latents: Tensor, *weights: Tensor) -> Tensor:
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(network, given, (features, latents))

    slopes: Callable[..., bool] = torch.autograd.gradcheck
    assert slopes(function, (*rows, *network.parameters()))

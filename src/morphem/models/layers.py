"""Small networks over pairs of a Gaussian and a particle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

BLOCK_ELEMENTS = 1 << 19  # of one hidden layer: 2 MB of float32 stay in cache


class PairNetwork(nn.Module):
    """Multilayer perceptron on every pair ``[feature of a Gaussian, latent of a particle]``.

    The first layer is evaluated on features and latents apart and added, so its cost does not grow with the
    number of pairs. Hidden layers are computed a block of pairs at a time, and again in the backward pass:
    no memory holds them all. The last layer starts at zero: every pair begins with ``bias``.

    Args:
        features: Width of a feature row.
        latent: Width of a latent row.
        network: Units of each hidden layer, and how many hidden layers (at least 1).
        outputs: Width of the result.
        bias: What every output is at the start.
    """

    def __init__(
        self, features: int, latent: int, network: tuple[int, int], outputs: int, bias: float = 0.0
    ) -> None:
        super().__init__()
        hidden, layers = network
        self.features = features
        self.first = nn.Linear(features + latent, hidden)
        self.inner = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers - 1))
        self.last = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, bias)

    def forward(
        self, features: Float[Tensor, "g f"], latents: Float[Tensor, "b z"]
    ) -> Float[Tensor, "b g o"]:
        """One output row per pair; about ``hidden² · layers`` multiplications each, fourfold with gradients.

        The gradient passes once.
        """
        weight = self.first.weight
        per_gaussian = linear(features, weight[:, : self.features], self.first.bias)
        per_particle = linear(latents, weight[:, self.features :])
        layers = [*self.inner.parameters(), self.last.weight, self.last.bias]
        return _Pairs.apply(per_gaussian, per_particle, *layers)


class ProductNetwork(nn.Module):
    """What every pair shares as a sum of products, ``bias + Σ_r B_r(feature) T_r(latent)``.

    Two networks of one and two hidden layers, one on features alone, one on latents alone: a pair costs
    ``rank`` multiplications an output, in one matrix product, where :class:`PairNetwork` evaluates layers.
    The latents' side starts at zero: every pair begins with ``bias``. (A deep operator network: Lu et al.,
    Nature Machine Intelligence 2021.)

    Args:
        features: Width of a feature row.
        latent: Width of a latent row.
        network: Units of the hidden layers, and the number of products.
        outputs: Width of the result.
        bias: What every output is at the start.
    """

    def __init__(
        self, features: int, latent: int, network: tuple[int, int], outputs: int, bias: float = 0.0
    ) -> None:
        super().__init__()
        hidden, self.rank = network
        self.branch = nn.Sequential(nn.Linear(features, hidden), nn.SiLU(), nn.Linear(hidden, self.rank))
        last = nn.Linear(hidden, outputs * self.rank)
        inner = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.trunk = nn.Sequential(*inner, last)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, features: Float[Tensor, "g f"], latents: Float[Tensor, "b z"]
    ) -> Float[Tensor, "b g o"]:
        """One output row per pair; ``rank · outputs`` multiplications each, thrice that with gradients."""
        return self.joined(self.branch(features), self.trunk(latents)) + self.bias

    def joined(
        self, of_features: Float[Tensor, "g r"], of_latents: Float[Tensor, "*b m"]
    ) -> Float[Tensor, "*b g o"]:
        """Sums of products of what both networks gave, one row per pair, without the bias."""
        return (of_latents.unflatten(-1, (-1, self.rank)) @ of_features.mT).mT


def positional_encoding(positions: Float[Tensor, "g 3"], width: int) -> Float[Tensor, "g f"]:
    """Sines and cosines of box-unit positions at octaves from one period per box upward.

    The ablation of CryoSPIRE that replaces learned features by where a Gaussian is.
    """
    octaves = 2.0 ** torch.arange(math.ceil(width / 6), device=positions.device)
    phases = 2 * math.pi * positions[:, :, None] * octaves
    waves = torch.stack([phases.sin(), phases.cos()], -1)
    return waves.permute(0, 2, 3, 1).flatten(1)[:, :width]


class _Pairs(torch.autograd.Function):
    """All layers but the first, from the summands of the first layer's result.

    Weights and biases follow each other, layer by layer, the output's last. Tables of all pairs would be
    written to memory once a layer, which takes longer than to compute a layer again.
    """

    @staticmethod
    def forward(
        ctx: Any, per_gaussian: Float[Tensor, "g u"], per_particle: Float[Tensor, "b u"], *layers: Tensor
    ) -> Float[Tensor, "b g o"]:
        """Outputs of all pairs."""
        ctx.save_for_backward(per_gaussian, per_particle, *layers)
        *inner, weight, bias = layers
        results = per_gaussian.new_empty(len(per_particle), len(per_gaussian), len(bias))
        for rows, part in _blocks(per_gaussian, per_particle):
            hidden = _hidden(per_gaussian[part], per_particle[rows], inner)[-1]
            results[rows, part] = linear(hidden, weight, bias).view(results[rows, part].shape)
        return results

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Float[Tensor, "b g o"]
    ) -> tuple[Tensor, ...]:
        """Gradients to all that came in, summed over the blocks in their order."""
        per_gaussian, per_particle, *layers = ctx.saved_tensors
        to_gaussian, to_particle, *to_layers = (torch.zeros_like(t) for t in ctx.saved_tensors)
        for rows, part in _blocks(per_gaussian, per_particle):
            hidden = _hidden(per_gaussian[part], per_particle[rows], layers[:-2])
            gradient = upstream[0][rows, part].flatten(0, 1)
            for depth in reversed(range(len(hidden))):
                weight, to_weight, to_bias = layers[2 * depth], to_layers[2 * depth], to_layers[2 * depth + 1]
                to_weight.addmm_(gradient.mT, hidden[depth])
                to_bias += gradient.sum(0)
                # a rectified value is zero or above, so its sign is the rectifier's derivative
                gradient = (gradient @ weight).mul_(hidden[depth].sign_())
            pairs = gradient.view(len(per_particle[rows]), -1, gradient.shape[1])
            to_gaussian[part] += pairs.sum(0)
            to_particle[rows] += pairs.sum(1)
        return to_gaussian, to_particle, *to_layers


def _blocks(
    per_gaussian: Float[Tensor, "g u"], per_particle: Float[Tensor, "b u"]
) -> Iterator[tuple[slice, slice]]:
    """Runs of particles and of Gaussians whose pairs' hidden layers hold about ``BLOCK_ELEMENTS``."""
    gaussians, units = per_gaussian.shape
    pairs = max(1, BLOCK_ELEMENTS // units)
    part = min(gaussians, pairs)
    rows = pairs // part
    for row in range(0, len(per_particle), rows):
        for first in range(0, gaussians, part):
            yield slice(row, row + rows), slice(first, first + part)


def _hidden(
    per_gaussian: Float[Tensor, "g u"], per_particle: Float[Tensor, "b u"], layers: list[Tensor]
) -> list[Float[Tensor, "_ u"]]:
    """Each hidden layer's rectified values, one row per pair, particles outside."""
    hidden = [(per_particle[:, None] + per_gaussian).relu_().flatten(0, 1)]
    for weight, bias in zip(layers[::2], layers[1::2], strict=True):
        hidden.append(linear(hidden[-1], weight, bias).relu_())
    return hidden

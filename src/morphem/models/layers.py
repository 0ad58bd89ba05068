"""Small networks over pairs of a Gaussian and a particle."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, relu


class PairNetwork(nn.Module):
    """Multilayer perceptron on every pair ``[feature of a Gaussian, latent of a particle]``.

    The first layer is evaluated on features and latents apart and added, so its cost does not grow with the
    number of pairs. The last layer starts at zero: every pair begins with ``bias``.

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
        """One output row per pair; about ``hidden² · layers`` multiplications each."""
        weight = self.first.weight
        per_gaussian = linear(features, weight[:, : self.features], self.first.bias)
        per_particle = linear(latents, weight[:, self.features :])
        hidden = relu(per_particle[:, None] + per_gaussian)
        for layer in self.inner:
            hidden = relu(layer(hidden))
        return self.last(hidden)


def positional_encoding(positions: Float[Tensor, "g 3"], width: int) -> Float[Tensor, "g f"]:
    """Sines and cosines of box-unit positions at octaves from one period per box upward.

    The ablation of CryoSPIRE that replaces learned features by where a Gaussian is.
    """
    octaves = 2.0 ** torch.arange(math.ceil(width / 6), device=positions.device)
    phases = 2 * math.pi * positions[:, :, None] * octaves
    waves = torch.stack([phases.sin(), phases.cos()], -1)
    return waves.permute(0, 2, 3, 1).flatten(1)[:, :width]

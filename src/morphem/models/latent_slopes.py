"""How a mixture's Gaussians follow the latent: derivatives of places and amplitudes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from morphem.core.types import GaussianMixture
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.layers import ProductNetwork


@torch.no_grad()
def mixture_slopes(
    density: PartMixture | AnchoredMixture, z: Float[Tensor, "b z"], step: Float[Tensor, "z"]
) -> tuple[GaussianMixture, Float[Tensor, "b z g 3"], Float[Tensor, "b z g"]]:
    """A mixture, and how its centres (Å) and amplitudes follow each latent.

    What is nonlinear in the latent, and small, is differentiated by central differences of ``step``; the
    products that spread it over the Gaussians are applied to the differences. Networks of pairs have no such
    products: all of theirs is evaluated on either side.
    """
    mixture, features = density.mixture(z), density.own_features()
    moves = _network_slopes(density.displacement, features, z, step)
    if isinstance(density, AnchoredMixture) and density.anchors:
        turns = _differences(density.motions, z, step)
        moves = moves + density.ride(turns.flatten(0, 1)).unflatten(0, turns.shape[:2])
    lifts = _network_slopes(density.occupancy, features, z, step)[..., 0]
    hidden = 1 - torch.sigmoid(density.occupancy(features, z)[..., 0])
    return mixture, moves * density.extent, lifts * (hidden * mixture.amplitudes)[:, None]


def _network_slopes(
    network: nn.Module, features: Float[Tensor, "g f"], z: Float[Tensor, "b z"], step: Float[Tensor, "z"]
) -> Float[Tensor, "b z g o"]:
    if isinstance(network, ProductNetwork):
        return network.joined(network.branch(features), _differences(network.trunk, z, step))
    return _differences(lambda latents: network(features, latents), z, step)


def _differences(
    function: Callable[[Float[Tensor, "m z"]], Float[Tensor, "m *k"]],
    z: Float[Tensor, "b z"],
    step: Float[Tensor, "z"],
) -> Float[Tensor, "b z *k"]:
    """Central differences of a function of the latent along each of its numbers."""
    around = torch.cat([torch.diag(step), -torch.diag(step)])
    up, down = function((z[:, None] + around).flatten(0, 1)).unflatten(0, (len(z), 2, -1)).unbind(1)
    return (up - down) / (2 * step).view(-1, *[1] * (up.ndim - 2))

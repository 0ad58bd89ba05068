"""Derivatives of mixtures to the latent, against automatic ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from morphem.models.gaussian_density import AnchoredMixture, Network, PartMixture
from morphem.models.latent_slopes import mixture_slopes

FEATURES, LATENT, EXTENT = 5, 3, 96.0
NETWORKS: dict[str, Network] = {"products": (6, 4, "products"), "pairs": (6, 2)}
# of rectified pairs, which have kinks, no step may cross one: so much smaller than they are apart
STEP = torch.full((LATENT,), 1e-6, dtype=torch.float64)


def parts(network: Network) -> PartMixture:
    made = PartMixture(9, FEATURES, LATENT, network, EXTENT).double()
    shaken(made)
    return made


def anchored(network: Network, anchors: int) -> AnchoredMixture:
    made = AnchoredMixture(9, anchors, FEATURES, LATENT, network, EXTENT).double()
    shaken(made)
    made.part.copy_(torch.arange(9) % max(anchors, 1))
    made.anchor_centres.normal_(std=0.1)
    made.anchor_features.normal_()
    return made


@torch.no_grad()
def shaken(made: PartMixture | AnchoredMixture) -> None:
    """Random numbers everywhere, so that nothing is at rest; one amplitude below zero."""
    torch.manual_seed(2)
    for parameter in made.parameters():
        parameter.normal_(std=0.3)
    if isinstance(made, AnchoredMixture):
        for parameter in made.motion.parameters():
            parameter.mul_(0.4)  # of wider layers, and more of them: a gain near 1 each
    made.log_scales.uniform_(math.log(0.03), math.log(0.06))
    made.amplitudes.uniform_(0.5, 1.5)[0] = -0.3
    made.unit.fill_(0.7)


def made(kind: str, network: str) -> PartMixture | AnchoredMixture:
    with_network = NETWORKS[network]
    return parts(with_network) if kind == "parts" else anchored(with_network, int(kind[-1]))


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize("kind", ["parts", "anchors 0", "anchors 3"])
def test_slopes_are_the_jacobian_of_the_mixture(kind: str, network: str):
    density = made(kind, network)
    z = torch.randn(4, LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    mixture, velocities, slopes = mixture_slopes(density, z, STEP)
    there = density.mixture(z)
    torch.testing.assert_close(mixture.centres, there.centres, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.amplitudes, there.amplitudes, rtol=1e-12, atol=1e-12)
    for b, each in enumerate(z):
        centres, amplitudes = jacobian(density, each)
        assert float(centres.abs().max()) > 1  # Å: there is something to compare
        assert float(amplitudes.abs().max()) > 1e-3
        # differences of float64 over 1e-6: rounding of 1e-8 of the values (100 Å, 1)
        torch.testing.assert_close(velocities[b], centres, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(slopes[b], amplitudes, rtol=1e-6, atol=1e-8)


def jacobian(density: PartMixture | AnchoredMixture, z: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of centres and amplitudes to one latent, which comes first."""

    def places(latent: Tensor) -> tuple[Tensor, Tensor]:
        mixture = density.mixture(latent[None])
        return mixture.centres[0], mixture.amplitudes[0]

    centres, amplitudes = torch.autograd.functional.jacobian(places, z)
    return centres.movedim(-1, 0), amplitudes.movedim(-1, 0)


@pytest.mark.parametrize(("kind", "error"), [("parts", 1e-3), ("anchors 3", 3e-2)])
def test_a_step_as_wide_as_latents_differ_by_little_is_as_good(kind: str, error: float):
    density = made(kind, "products")
    z = torch.randn(4, LATENT, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    _, velocities, slopes = mixture_slopes(density, z, 1e4 * STEP)
    _, closer, gentler = mixture_slopes(density, z, STEP)
    # central differences of 1e-2: the error is of second order, but where a part's rectifiers have a kink
    assert float((velocities - closer).norm()) < error * float(closer.norm())
    assert float((slopes - gentler).norm()) < 1e-3 * float(gentler.norm())


def test_each_latent_has_the_step_given_for_it():
    density = made("parts", "products")
    z = torch.zeros(1, LATENT, dtype=torch.float64)
    step = torch.tensor([1e-6, 1e-5, 1e-4], dtype=torch.float64)
    _, uneven, _ = mixture_slopes(density, z, step)
    _, even, _ = mixture_slopes(density, z, STEP)
    torch.testing.assert_close(uneven, even, rtol=1e-5, atol=1e-5)


def test_gaussians_that_are_switched_off_do_not_brighten():
    density = made("parts", "products")
    _, _, slopes = mixture_slopes(density, torch.ones(1, LATENT, dtype=torch.float64), STEP)
    assert bool((slopes[..., 0] == 0).all())
    assert bool((slopes[..., 1:] != 0).all())

"""Both stages' mixtures against the published equations, written out one Gaussian at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from morphem.core.fourier import to_fourier
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.models.gaussian_density import AnchoredMixture, PartMixture
from morphem.models.layers import PairNetwork

GRID = Grid(32, 3.0)
FEATURES, LATENT, NETWORK = 5, 3, (6, 2)

Mixture = TypeVar("Mixture", PartMixture, AnchoredMixture)
Make = Callable[[], PartMixture | AnchoredMixture]


def parts() -> PartMixture:
    """A coarse mixture in which nothing is at rest."""
    torch.manual_seed(0)
    made = PartMixture(9, FEATURES, LATENT, NETWORK, GRID.extent).double()
    return shaken(made, made.centres, made.features)


def anchored(anchors: int = 3) -> AnchoredMixture:
    """A fine mixture in which nothing is at rest."""
    torch.manual_seed(1)
    made = AnchoredMixture(9, anchors, FEATURES, LATENT, NETWORK, GRID.extent).double()
    made.part.copy_(torch.arange(9) % max(anchors, 1))
    made.anchor_centres.normal_(std=0.1)
    made.anchor_features.normal_()
    made = shaken(made, made.offsets, made.feature_offsets)
    torch.nn.init.normal_(made.motion.last.weight, std=0.3)
    return made


def shaken(made: Mixture, places: Tensor, features: Tensor) -> Mixture:
    """Random places, features, widths, amplitudes and networks; one amplitude below zero."""
    with torch.no_grad():
        places.normal_(std=0.1)
        features.normal_()
        made.log_scales.uniform_(math.log(0.03), math.log(0.06))
        made.amplitudes.uniform_(0.5, 1.5)[0] = -0.3
        made.unit.fill_(0.7)
        made.displacement.last.weight.normal_(std=0.05)
        made.occupancy.last.weight.normal_()
    return made


def perceptron(network: PairNetwork, feature: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A perceptron on one concatenated row, in NumPy."""
    row = np.concatenate([feature, z])
    for layer in [network.first, *network.inner]:
        row = np.maximum(array(layer.weight) @ row + array(layer.bias), 0)
    return array(network.last.weight) @ row + array(network.last.bias)


def array(values: object) -> np.ndarray:
    assert isinstance(values, Tensor)
    return values.detach().numpy()


def faded(mixture: PartMixture | AnchoredMixture, i: int, feature: np.ndarray, z: np.ndarray) -> float:
    """``σ(O([f_i, z])) m_i``, none below zero."""
    shown = 1 / (1 + np.exp(-perceptron(mixture.occupancy, feature, z)[0]))
    return shown * max(array(mixture.amplitudes)[i], 0) * 0.7


def test_stage_1_moves_and_fades_each_gaussian_by_its_feature():
    mixture, latents = parts(), torch.randn(4, LATENT, dtype=torch.float64)
    found = mixture.mixture(latents)
    for b, z in enumerate(latents.numpy()):
        for i, feature in enumerate(array(mixture.features)):
            centre = array(mixture.centres)[i] + perceptron(mixture.displacement, feature, z)
            np.testing.assert_allclose(array(found.centres)[b, i], centre * GRID.extent, rtol=1e-10)
            amplitude = faded(mixture, i, feature, z)
            np.testing.assert_allclose(array(found.amplitudes)[b, i], amplitude, rtol=1e-10)
    np.testing.assert_allclose(array(found.scales), np.exp(array(mixture.log_scales)) * GRID.extent)


@pytest.mark.parametrize("anchors", [0, 3])
def test_stage_2_carries_each_gaussian_by_the_frame_of_its_anchor(anchors: int):
    mixture, latents = anchored(anchors), torch.randn(4, LATENT, dtype=torch.float64)
    found = mixture.mixture(latents)
    for b, z in enumerate(latents.numpy()):
        for i, a in enumerate(mixture.part.tolist()):
            home, offset = array(mixture.anchor_centres)[a], array(mixture.offsets)[i]
            motion = perceptron(mixture.motion, array(mixture.anchor_features)[a], z)
            turned, moved = (
                (Rotation.from_rotvec(motion[:3]).apply(offset), motion[3:]) if anchors else (offset, 0)
            )
            feature = array(mixture.anchor_features)[a] + array(mixture.feature_offsets)[i]
            centre = home + turned + moved + perceptron(mixture.displacement, feature, z)
            np.testing.assert_allclose(array(found.centres)[b, i], centre * GRID.extent, rtol=1e-9)
            amplitude = faded(mixture, i, feature, z)
            np.testing.assert_allclose(array(found.amplitudes)[b, i], amplitude, rtol=1e-10)


def test_frames_turn_by_the_exponential_map():
    mixture, latents = anchored(), torch.randn(20, LATENT, dtype=torch.float64)
    rotation, _ = mixture.frames(latents)
    for b, z in enumerate(latents.numpy()):
        for a, feature in enumerate(array(mixture.anchor_features)):
            expected = Rotation.from_rotvec(perceptron(mixture.motion, feature, z)[:3]).as_matrix()
            np.testing.assert_allclose(array(rotation)[b, a], expected, atol=1e-12)


@pytest.mark.parametrize("make", [parts, anchored])
def test_a_projection_is_the_transform_of_the_volume_summed_along_the_beam(make: Make):
    mixture, z = make().float(), torch.randn(1, LATENT)
    found = mixture.project(z, torch.eye(3)[None], GRID)[0]
    volume = mixture.volume(z[0], GRID)
    expected = to_fourier(volume.voxels.sum(0) * GRID.pixel_size)
    # Gaussians are drawn to four standard deviations in the one, five in the other
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.mark.parametrize("make", [parts, anchored])
def test_gradients_of_an_image_error_are_its_slopes(make: Make):
    mixture = make()
    z = torch.randn(2, LATENT, dtype=torch.float64, requires_grad=True)
    rotation = random_rotations(2, generator=torch.Generator().manual_seed(3)).double()
    target = torch.randn(2, 32, 17, dtype=torch.complex128)

    def error() -> Tensor:
        return (mixture.project(z, rotation, GRID) - target).abs().square().mean()

    leaves = [z, *(p for p in mixture.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(error(), leaves, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert gradient is not None
        direction = torch.randn_like(leaf)
        step = 1e-5 * direction
        with torch.no_grad():
            above, below = (error_at(error, leaf, sign * step) for sign in (1, -1))
        slope = (above - below) / 2e-5
        # the drawn window ends at four standard deviations, where its edge moves with the Gaussian
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=2e-2, atol=1e-6)


def error_at(error: Callable[[], Tensor], leaf: Tensor, step: Tensor) -> Tensor:
    """The error with one leaf moved by a step."""
    before = leaf.clone()
    leaf += step
    found = error()
    leaf.copy_(before)
    return found


def test_the_density_at_rest_takes_the_mean_occupancy_over_particles():
    mixture, latents = parts(), torch.randn(30, LATENT, dtype=torch.float64)
    rest = mixture.at_rest(latents)
    expected = mixture.mixture(latents).amplitudes.mean(0)
    torch.testing.assert_close(rest.amplitudes, expected.detach())

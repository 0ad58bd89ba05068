"""Exact transforms against sums written out, and what the hinge promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from morphem.core.fourier import to_fourier_3d, to_real
from morphem.core.grid import Grid
from morphem.core.rotations import random_rotations
from morphem.core.types import GaussianMixture
from morphem.metrics.fsc import shell_correlation
from morphem.physics.gaussians import gaussian_slices
from morphem.simulate.gaussian_sums import exact_map, exact_projections
from morphem.simulate.hinge import BODY, OPTIONAL, SWINGING, hinge

GRID = Grid(16, 5.0)


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    generator = torch.Generator().manual_seed(0)
    centres = 15 * torch.randn(7, 3, generator=generator)
    widths = 3 + 4 * torch.rand(7, generator=generator)
    return GaussianMixture(centres.double(), widths.double(), torch.rand(7, generator=generator).double())


def test_a_projection_is_the_sum_over_gaussians_at_every_frequency_below_nyquist(mixture: GaussianMixture):
    rotation = random_rotations(2, torch.Generator().manual_seed(1)).double()
    found = exact_projections(mixture, rotation, GRID).numpy()
    view = np.einsum("bij,gj->bgi", rotation.numpy(), mixture.centres.numpy())
    widths, amplitudes = mixture.scales.numpy(), mixture.amplitudes.numpy()
    for b, ky, kx in [(0, 0, 0), (0, 3, 2), (1, -5, 7), (1, 7, 0), (0, -7, 1)]:
        k = np.array([kx, ky]) / GRID.extent
        one = amplitudes * 2 * math.pi * widths**2 * np.exp(-2 * math.pi**2 * widths**2 * (k @ k))
        expected = (one * np.exp(-2j * math.pi * (view[b, :, :2] @ k))).sum() / GRID.pixel_size**2
        assert found[b, ky, kx] == pytest.approx(expected, abs=1e-9)


def test_nothing_is_left_at_nyquist(mixture: GaussianMixture):
    found = exact_projections(mixture, torch.eye(3).double()[None], GRID)
    assert float(found[:, 8].abs().max() + found[:, :, 8].abs().max()) == 0


def test_truth_and_the_judged_projector_agree_below_nyquist(mixture: GaussianMixture):
    rotation = random_rotations(3, torch.Generator().manual_seed(2)).double()
    exact, judged = exact_projections(mixture, rotation, GRID), gaussian_slices(mixture, rotation, GRID)
    inner = torch.arange(16) != 8
    torch.testing.assert_close(exact[:, inner, :8], judged[:, inner, :8])


def test_a_map_summed_along_the_beam_is_its_projection(mixture: GaussianMixture):
    volume = exact_map(mixture, GRID)
    image = to_real(exact_projections(mixture, torch.eye(3).double()[None], GRID))[0]
    torch.testing.assert_close(volume.voxels.sum(0) * GRID.pixel_size, image)


def test_a_map_holds_the_density_of_wide_gaussians(mixture: GaussianMixture):
    """Gaussians well below Nyquist, so that sampling the density is exact too."""
    wide = GaussianMixture(mixture.centres / 3, torch.full((7,), 8.0).double(), mixture.amplitudes)
    x = GRID.axis().double()
    z, y, x = torch.meshgrid(x, x, x, indexing="ij")
    squared = sum((axis[..., None] - wide.centres[:, k]).square() for k, axis in enumerate((x, y, z)))
    density = (wide.amplitudes * torch.exp(-squared / 128)).sum(-1) / (8 * math.sqrt(2 * math.pi))
    found = exact_map(wide, GRID).voxels
    assert (found - density).abs().max() < 1e-3 * density.max()


def test_the_hinge_is_the_same_on_every_call():
    a, b = hinge(), hinge()
    assert torch.equal(a.motion.rest(), b.motion.rest())
    assert torch.equal(a.matter.amplitudes, b.matter.amplitudes)


def test_no_two_bodies_touch_at_any_angle():
    molecule = hinge()
    for angle in torch.linspace(0, molecule.motion.swing, 13):
        centres = molecule.points(torch.tensor([[angle, 1.0]]))[0][0]
        bodies = [centres[molecule.labels == body] for body in (BODY, SWINGING, OPTIONAL)]
        gaps = [torch.cdist(bodies[i], bodies[j]).min() for i, j in ((0, 1), (0, 2), (1, 2))]
        assert min(gaps) > 4.9


def test_it_fills_between_55_and_65_percent_of_a_box_of_256_angstrom():
    molecule = hinge()
    states, _ = molecule.landmarks(13)
    radius = molecule.points(states)[0].norm(dim=-1).max()
    assert 0.55 < 2 * radius / 256 < 0.65


def test_only_the_swinging_domain_moves_and_it_moves_rigidly_by_the_angle():
    molecule = hinge()
    turned = molecule.points(torch.tensor([[0.7, 1.0]]))[0][0]
    moving = molecule.labels == SWINGING
    assert torch.equal(turned[~moving], molecule.motion.rest()[~moving])
    before, after = molecule.motion.rest()[moving].double(), turned[moving].double()
    torch.testing.assert_close(torch.cdist(before, before), torch.cdist(after, after), atol=1e-4, rtol=0)
    off_axis = [part - molecule.motion.pivot for part in (before, after)]
    off_axis = [
        part - (part @ molecule.motion.axis.double())[:, None] * molecule.motion.axis for part in off_axis
    ]
    apart = off_axis[0].norm(dim=1) > 1  # Å; a point on the axis has no angle
    cosine = torch.nn.functional.cosine_similarity(*off_axis)[apart]
    torch.testing.assert_close(cosine, torch.full_like(cosine, math.cos(0.7)), atol=1e-3, rtol=0)


def test_the_optional_domain_vanishes_whole_and_alone():
    molecule = hinge()
    amplitudes = molecule.matter.mixture(*molecule.points(torch.tensor([[0.3, 0.0]]))).amplitudes[0]
    assert torch.equal(amplitudes == 0, molecule.labels == OPTIONAL)


def test_it_differs_from_its_mirror_image_at_50_angstrom():
    """Mirrored across its flattest plane, where a mirror image overlaps it most."""
    grid, molecule = Grid(32, 8.0), hinge()
    rest = molecule.matter.mixture(molecule.motion.rest(), torch.ones(len(molecule.labels)))
    centred = rest.centres - rest.centres.mean(0)
    _, axes = torch.linalg.eigh(centred.mT @ centred)
    flipped = torch.tensor([-1.0, 1.0, 1.0])
    first, mirrored = (
        exact_map(GaussianMixture(points, rest.scales, rest.amplitudes), grid)
        for points in (centred @ axes, centred @ axes * flipped)
    )
    assert shell_correlation(first, mirrored)[5:].max() < 0.7


def test_states_follow_the_population():
    molecule = hinge()
    states = molecule.states(torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)))
    angle, there = states.T
    assert float(angle.max()) == pytest.approx(math.pi / 3, rel=1e-3)
    assert float(angle.mean()) == pytest.approx(math.pi / 6, rel=0.02)
    assert float(there.mean()) == pytest.approx(0.7, abs=0.01)  # 3 standard errors
    assert abs(float(torch.corrcoef(states.T)[0, 1])) < 0.025


def test_landmarks_carry_the_whole_population():
    states, shares = hinge().landmarks(13)
    assert states.shape == (26, 2)
    assert float(shares.sum()) == pytest.approx(1)
    assert float(shares[states[:, 1] == 1].sum()) == pytest.approx(0.7)
    assert float((states[:, 0] * shares).sum()) == pytest.approx(math.pi / 6)


def test_a_real_map_has_a_transform_with_the_power_of_its_projection(mixture: GaussianMixture):
    spectrum = to_fourier_3d(exact_map(mixture, GRID).voxels)
    slice_ = exact_projections(mixture, torch.eye(3).double()[None], GRID)[0]
    torch.testing.assert_close(spectrum[0] * GRID.pixel_size, slice_)

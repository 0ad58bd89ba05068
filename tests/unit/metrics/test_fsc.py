"""Shell correlation against sums written out, and numbers that can be worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from morphem.core.fourier import low_pass
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.metrics.fsc import (
    crossing,
    cryobench_auc,
    phase_randomised_correlation,
    resolution,
    shell_correlation,
)
from morphem.physics.masks import soft_ball

GRID = Grid(16, 3.0)


def _noise(seed: int, grid: Grid = GRID) -> Volume:
    generator = torch.Generator().manual_seed(seed)
    return Volume(torch.randn(grid.box, grid.box, grid.box, generator=generator), grid)


def _spectra_and_radius(*volumes: Volume) -> tuple[list[np.ndarray], np.ndarray]:
    d = volumes[0].grid.box
    spectra = [np.fft.fftn(np.fft.ifftshift(v.voxels.double().numpy())) for v in volumes]
    k = np.fft.fftfreq(d, 1 / d)
    return spectra, np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b.conj()).sum().real / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum()))


def test_it_is_the_correlation_over_the_full_transform():
    (a, b), radius = _spectra_and_radius(_noise(0), _noise(1))
    expected = [_correlation(a[np.round(radius) == r], b[np.round(radius) == r]) for r in range(9)]
    found = shell_correlation(_noise(0), _noise(1))
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 FFT


def test_a_map_with_itself_scores_one_and_with_its_negative_minus_one():
    a = _noise(0)
    assert torch.allclose(shell_correlation(a, a), torch.ones(9))
    assert torch.allclose(shell_correlation(a, Volume(-a.voxels, GRID)), -torch.ones(9))


def test_an_empty_map_scores_zero():
    assert torch.equal(shell_correlation(_noise(0), Volume(torch.zeros(16, 16, 16), GRID)), torch.zeros(9))


def test_equal_parts_of_signal_and_noise_score_a_half():
    grid = Grid(48, 1.0)
    signal, first, second = (_noise(seed, grid).voxels for seed in range(3))
    found = shell_correlation(Volume(signal + first, grid), Volume(signal + second, grid))
    assert found[6:].mean() == pytest.approx(0.5, abs=0.02)  # 1/√(terms) of the outer shells


def test_the_first_crossing_is_interpolated_and_dc_is_left_out():
    fsc = torch.tensor([0.0, 1.0, 0.8, 0.4, 0.9, 0.1, 0.0, 0.0, 0.0])
    assert crossing(fsc, 0.5) == pytest.approx(2.75)
    assert resolution(fsc, GRID, 0.5) == pytest.approx(48 / 2.75)


def test_a_correlation_that_never_falls_resolves_to_nyquist():
    assert resolution(torch.ones(9), GRID, 0.143) == pytest.approx(6.0)


def test_a_correlation_that_never_rises_resolves_nothing():
    assert resolution(torch.zeros(9), GRID, 0.143) == math.inf


def test_correlation_that_a_sharp_mask_makes_is_taken_out_by_random_phases():
    grid = Grid(32, 2.0)
    mask = soft_ball(grid, 14, 0)
    blob = 30 * low_pass(_noise(9, grid).voxels, grid, 21.0)
    half1, half2 = (Volume(blob + _noise(seed, grid).voxels, grid) for seed in (1, 2))
    masked = shell_correlation(half1, half2, mask)
    corrected = phase_randomised_correlation(half1, half2, mask)
    assert masked[6:].mean() > 0.4
    assert corrected[6:].mean() < 0.15
    assert torch.equal(corrected[:3], masked[:3])


def test_correlation_that_no_mask_made_survives_random_phases():
    grid = Grid(32, 2.0)
    common = Volume(_noise(3, grid).voxels, grid)
    assert phase_randomised_correlation(common, common, soft_ball(grid, 10, 6)).min() > 0.99


def test_cryobench_auc_of_a_perfect_map_of_128_voxels_is_its_published_maximum():
    perfect = _noise(0, Grid(128, 3.0))
    assert cryobench_auc(perfect, perfect) == pytest.approx(0.4922, abs=5e-5)


def test_cryobench_auc_follows_its_rules_shell_by_shell():
    """Loop over i, shell ``dist < i`` less the one before, trapezoid over i / D."""
    (a, b), radius = _spectra_and_radius(_noise(0), _noise(1))
    curve, before = [1.0], np.zeros(radius.shape, bool)
    for i in range(1, 8):
        shell = (radius < i) & ~before
        curve.append(_correlation(a[shell], b[shell]))
        before = radius < i
    expected = np.trapezoid(curve, np.arange(8) / 16)
    assert cryobench_auc(_noise(0), _noise(1)) == pytest.approx(expected, abs=1e-6)


def test_cryobench_auc_counts_empty_shells_as_perfect():
    nothing = Volume(torch.zeros(16, 16, 16), GRID)
    assert cryobench_auc(nothing, _noise(0)) == pytest.approx(7 / 16)

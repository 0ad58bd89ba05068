"""Noise spectra, whitening and likelihood, against real-space sums and scalar minimisation."""

from __future__ import annotations

import pytest
import torch

from morphem.core.fourier import radial_mean, to_fourier
from morphem.core.grid import Grid
from morphem.physics import noise
from morphem.physics.masks import soft_disk

GRID = Grid(32, 2.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectrum(n: int = 1) -> torch.Tensor:
    """Power that falls with frequency, as that of ice does."""
    return (0.3 + 4 * torch.exp(-torch.arange(17, dtype=torch.float64) / 5)).expand(n, -1)


def random_spectra(n: int, seed: int = 0) -> torch.Tensor:
    return to_fourier(torch.randn(n, 32, 32, dtype=torch.float64, generator=generator(seed)))


def test_a_flat_spectrum_is_white_noise_of_that_variance():
    found = noise.coloured_noise(torch.full((200, 17), 2.5), GRID, generator())
    assert found.var().item() == pytest.approx(2.5, rel=0.02)


def test_coloured_noise_has_its_spectrum_on_every_shell():
    images = noise.coloured_noise(spectrum(400), GRID, generator())
    power = noise.residual_power(to_fourier(images))
    found = noise.spectrum_by_group(power, torch.zeros(400, dtype=torch.long), 1, GRID)
    assert torch.allclose(found[0, 1:], spectrum()[0, 1:], rtol=0.06)  # 400 images, six terms on shell 1


def test_noise_repeats_with_its_seed_only():
    first, again = (noise.coloured_noise(spectrum(), GRID, generator(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, noise.coloured_noise(spectrum(), GRID, generator(5)))


def test_the_particle_does_not_reach_the_background_spectrum():
    mask = soft_disk(GRID, 20.0, 6.0).double()
    images = noise.coloured_noise(spectrum(400), GRID, generator())
    particle = 50 * soft_disk(GRID, 16.0, 4.0).double() + 7  # on a background of 7
    power = noise.background_power(images + particle, mask)
    found = noise.spectrum_by_group(power, torch.zeros(400, dtype=torch.long), 1, GRID)
    assert torch.allclose(found[0, 2:], spectrum()[0, 2:], rtol=0.1)  # blurred by the mask's transform


def test_the_masked_area_is_made_up_for():
    images = torch.randn(300, 32, 32, generator=generator(2))
    for radius in (5.0, 25.0):
        power = noise.background_power(images, soft_disk(GRID, radius, 4.0))
        assert radial_mean(power, GRID)[:, 2:].mean().item() == pytest.approx(1, abs=0.02)


def test_groups_have_their_own_spectrum_and_an_empty_one_the_mean():
    power = torch.ones(4, 32, 17) * torch.tensor([1.0, 3.0, 8.0, 8.0])[:, None, None]
    found = noise.spectrum_by_group(power, torch.tensor([0, 0, 2, 2]), 3, GRID)
    assert torch.allclose(found[:, 5], torch.tensor([2.0, 5.0, 8.0]))


def test_whitened_noise_has_unit_variance_on_every_shell():
    images = noise.coloured_noise(spectrum(400), GRID, generator(1))
    white = to_fourier(images) * noise.whitening_filter(spectrum(), GRID)
    power = radial_mean(noise.residual_power(white), GRID).mean(0)
    assert torch.allclose(power[1:], torch.ones_like(power[1:]), atol=0.06)


def test_the_likelihood_is_the_sum_over_pixels_of_the_band():
    observed, expected = random_spectra(3), random_spectra(3, seed=1)
    weights = noise.band_weights(GRID, k_max=0.15).double()
    k = torch.fft.fftfreq(32, 2.0, dtype=torch.float64)
    radius = (k[:, None].square() + k.square()).sqrt()
    full = torch.fft.fft2(torch.fft.irfft2(observed - expected)) * ((radius > 0) & (radius <= 0.15))
    pixels = torch.fft.ifft2(full)
    assert pixels.imag.abs().max() < 1e-12
    expected_value = -0.5 * pixels.real.square().sum((-2, -1))
    assert torch.allclose(noise.log_likelihood(observed, expected, weights), expected_value, rtol=1e-6)


def test_a_background_constant_does_not_change_the_likelihood():
    observed, expected = random_spectra(2), random_spectra(2, seed=1)
    raised = observed.clone()
    raised[:, 0, 0] += 100
    weights = noise.band_weights(GRID)
    before, after = (noise.log_likelihood(y, expected, weights) for y in (observed, raised))
    assert torch.equal(before, after)


def test_the_default_band_ends_before_nyquist():
    weights = noise.band_weights(GRID)
    assert weights[0, 0] == 0
    assert weights[16].sum() == 0
    assert weights[:, 16].sum() == 0
    assert (weights[:16, :16][GRID.shells()[:16, :16] == 15] > 0).all()


def test_the_profile_likelihood_is_the_largest_over_contrasts():
    observed, expected = random_spectra(2), random_spectra(2, seed=1)
    observed = observed + 0.7 * expected
    weights = noise.band_weights(GRID, 0.2).double()
    contrasts = torch.linspace(0.2, 1.2, 2001, dtype=torch.float64)
    values = torch.stack([noise.log_likelihood(observed, a * expected, weights) for a in contrasts])
    found = noise.profile_log_likelihood(observed, expected, weights)
    assert torch.allclose(found, values.amax(0), rtol=1e-6)
    best = noise.best_contrast(observed, expected, weights)
    assert torch.allclose(best, contrasts[values.argmax(0)], atol=5e-4)


def test_contrast_and_background_are_recovered():
    image = torch.randn(2, 32, 32, dtype=torch.float64, generator=generator())
    observed = 0.6 * image + torch.tensor([3.0, -1.0], dtype=torch.float64)[:, None, None]
    spectra = to_fourier(observed), to_fourier(image)
    contrast = noise.best_contrast(*spectra, noise.band_weights(GRID))
    background = noise.best_background(*spectra, contrast)
    assert torch.allclose(contrast, torch.full_like(contrast, 0.6))
    assert torch.allclose(background, torch.tensor([3.0, -1.0], dtype=torch.float64))


def test_an_empty_expectation_has_no_contrast():
    observed = random_spectra(1)
    assert noise.best_contrast(observed, torch.zeros_like(observed), noise.band_weights(GRID)).item() == 0


@pytest.mark.parametrize("likelihood", [noise.log_likelihood, noise.profile_log_likelihood])
def test_gradients_equal_finite_differences(likelihood):
    grid = Grid(6, 2.0)
    image = torch.randn(2, 6, 6, dtype=torch.float64, generator=generator(3), requires_grad=True)
    observed = to_fourier(torch.randn(2, 6, 6, dtype=torch.float64, generator=generator(4)))
    weights = noise.band_weights(grid).double()
    assert torch.autograd.gradcheck(lambda x: likelihood(observed, to_fourier(x), weights), (image,))


def test_the_gradient_at_a_perfect_fit_is_zero_and_finite():
    expected = random_spectra(1).requires_grad_()
    noise.log_likelihood(expected.detach(), expected, noise.band_weights(GRID)).sum().backward()
    assert expected.grad is not None
    assert torch.equal(expected.grad, torch.zeros_like(expected.grad))

"""Coordinates read off latents by the best smooth map."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.metrics.coordinates import coordinate_error

N = 2000


def _uniform(n: int = N) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(0))


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_a_curved_latent_tells_the_coordinate():
    angle = _uniform()
    errors = coordinate_error(torch.stack([angle.exp(), angle.square()], 1), angle, "linear")
    assert errors.median() < 0.002


def test_noise_on_the_latent_is_the_error_that_is_left():
    angle = _uniform()
    errors = coordinate_error((angle + 0.02 * _noise(N))[:, None], angle, "linear")
    assert errors.median() == pytest.approx(0.6745 * 0.02, rel=0.1)


@pytest.mark.parametrize("latents", ["circle", "line", "figure of eight in space"])
def test_a_circle_is_read_off_any_curve_that_holds_it(latents: str):
    angle = 2 * math.pi * _uniform()
    curves = {
        "circle": [3 * angle.cos(), angle.sin()],
        "line": [angle],
        "figure of eight in space": [angle.sin(), (2 * angle).sin(), 0.3 * angle.cos()],
    }
    errors = coordinate_error(torch.stack(curves[latents], 1), angle, "circular")
    assert errors.median() < 0.02


def test_errors_of_a_circular_coordinate_are_wrapped():
    angle = torch.remainder(0.3 * _noise(N), 2 * math.pi)  # on both sides of the seam
    errors = coordinate_error(torch.stack([angle.cos(), angle.sin()], 1), angle, "circular")
    assert errors.max() < 0.2


def test_latents_that_know_nothing_leave_the_spread_of_the_coordinate():
    """The median distance of uniform numbers from their mean is a quarter; of angles from any other, π/2."""
    assert coordinate_error(_noise(N, 3), _uniform(), "linear").median() == pytest.approx(0.25, abs=0.03)
    angle = 2 * math.pi * _uniform()
    assert coordinate_error(_noise(N, 3), angle, "circular").median() == pytest.approx(math.pi / 2, abs=0.1)


def test_few_particles_are_enough_to_score():
    angle = _uniform(12)
    assert coordinate_error(angle[:, None], angle, "linear").max() < 0.1

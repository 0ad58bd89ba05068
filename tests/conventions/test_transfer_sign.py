"""CTF = −sin γ · exp(−B s²/4), so CTF(0) = +w; underfocus is positive, its angle counts from x to y."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.physics.ctf import contrast_transfer

GRID = Grid(64, 2.0)


def transfer(**changes: float) -> torch.Tensor:
    values = {
        "defocus_u": 15000.0, "defocus_v": 15000.0, "astigmatism": 0.0, "voltage_kv": 300.0, "cs_mm": 2.7,
        "amplitude_contrast": 0.07, "phase_shift": 0.0, "b_factor": 0.0, "scale": 1.0,
    }  # fmt: skip
    row = {name: torch.tensor([value], dtype=torch.float64) for name, value in (values | changes).items()}
    return contrast_transfer(Optics(**row), GRID)[0]


@pytest.mark.parametrize("w", [0.07, 0.1, 0.2])
def test_the_transfer_at_zero_frequency_is_plus_the_amplitude_contrast(w):
    assert transfer(amplitude_contrast=w)[0, 0].item() == pytest.approx(w)


def test_a_phase_plate_of_a_quarter_wave_gives_full_positive_contrast():
    found = transfer(phase_shift=math.pi / 2, amplitude_contrast=0.0)[0, 0].item()
    assert found == pytest.approx(1)


def test_underfocus_strengthens_the_contrast_at_first():
    assert transfer()[0, 1] > transfer()[0, 0] > 0
    assert transfer(defocus_u=-15000.0, defocus_v=-15000.0)[0, 1] < transfer()[0, 0]


@pytest.mark.parametrize(("angle", "axis"), [(0.0, "x"), (math.pi / 2, "y")])
def test_defocus_u_acts_along_the_angle(angle, axis):
    found = transfer(defocus_u=20000.0, defocus_v=10000.0, astigmatism=angle)
    along_x, along_y = found[0], found[: GRID.half, 0]
    strong, weak = (along_x, along_y) if axis == "x" else (along_y, along_x)
    alone = transfer(defocus_u=20000.0, defocus_v=20000.0)[0]
    assert torch.allclose(strong[:-1], alone[:-1])
    assert (strong < 0).nonzero()[0] < (weak < 0).nonzero()[0]


def test_the_angle_counts_from_x_towards_y():
    found = transfer(defocus_u=20000.0, defocus_v=10000.0, astigmatism=math.pi / 4)
    alone = transfer(defocus_u=20000.0, defocus_v=20000.0)
    assert found[5, 5].item() == pytest.approx(alone[5, 5].item())  # fx = fy > 0
    assert found[-5, 5].item() != pytest.approx(alone[-5, 5].item(), abs=0.05)


def test_the_b_factor_damps_by_a_quarter_of_it():
    s = GRID.shell_frequencies().double()
    ratio = transfer(b_factor=100.0)[0] / transfer()[0]
    assert torch.allclose(ratio, torch.exp(-25 * s.square()), rtol=1e-5)

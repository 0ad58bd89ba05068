"""The contrast transfer function against torch-ctf, scalar formulas and finite differences."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.physics.ctf import contrast_transfer, envelope, transfer_at, transfer_slope_at, wavelength

GRID = Grid(16, 2.2)


def optics(dtype: torch.dtype = torch.float64, **changes: float) -> Optics:
    values = {
        "defocus_u": 13210.0, "defocus_v": 11980.0, "astigmatism": 0.7, "voltage_kv": 300.0, "cs_mm": 2.7,
        "amplitude_contrast": 0.1, "phase_shift": 0.0, "b_factor": 0.0, "scale": 1.0,
    }  # fmt: skip
    return Optics(**{name: torch.tensor([value], dtype=dtype) for name, value in (values | changes).items()})


@pytest.mark.parametrize(("voltage", "expected"), [(100, 0.0370), (200, 0.0251), (300, 0.0197)])
def test_wavelength_is_that_of_the_tables(voltage, expected):
    found = wavelength(torch.tensor([float(voltage)])).item()
    assert found == pytest.approx(expected, abs=5e-5)  # the tables' four digits


def test_wavelength_follows_from_the_constants_of_nature():
    scipy_constants = pytest.importorskip("scipy.constants")
    h, m, e, c = (scipy_constants.value(name) for name in (
        "Planck constant", "electron mass", "elementary charge", "speed of light in vacuum"))  # fmt: skip
    momentum = math.sqrt(2 * m * e * 300e3 * (1 + e * 300e3 / (2 * m * c**2)))
    found = wavelength(torch.tensor([300.0], dtype=torch.float64)).item()
    assert found == pytest.approx(1e10 * h / momentum, rel=1e-7)


@pytest.mark.parametrize(
    "changes", [{}, {"astigmatism": -1.2, "defocus_v": 9000.0}, {"phase_shift": 0.9, "cs_mm": 0.01}]
)
def test_values_equal_torch_ctf(changes):
    ctf_2d = pytest.importorskip("torch_ctf").calculate_ctf_2d
    row = {f.name: getattr(optics(**changes), f.name).item() for f in fields(Optics)}
    reference = ctf_2d(
        defocus=(row["defocus_u"] + row["defocus_v"]) / 2e4,
        astigmatism=(row["defocus_u"] - row["defocus_v"]) / 2e4,
        astigmatism_angle=math.degrees(row["astigmatism"]),
        voltage=row["voltage_kv"],
        spherical_aberration=row["cs_mm"],
        amplitude_contrast=row["amplitude_contrast"],
        phase_shift=math.degrees(row["phase_shift"]),
        pixel_size=GRID.pixel_size,
        image_shape=(GRID.box, GRID.box),
        rfft=True,
        fftshift=False,
    )
    found = contrast_transfer(optics(**changes), GRID)[0]
    inner = GRID.shells() < GRID.box // 2  # the sign of a Nyquist frequency is a matter of taste
    assert torch.allclose(found[inner], reference[inner].double(), atol=2e-4)  # torch-ctf works in float32


def test_values_equal_the_scalar_formula_at_every_frequency():
    row = {f.name: getattr(optics(b_factor=80.0, scale=0.8), f.name).item() for f in fields(Optics)}
    length = wavelength(torch.tensor([300.0], dtype=torch.float64)).item()
    found = contrast_transfer(optics(b_factor=80.0, scale=0.8), GRID)[0]
    for (fx, fy), value in zip(
        GRID.frequencies(dtype=torch.float64).flatten(0, 1).tolist(), found.flatten().tolist(), strict=True
    ):
        s, angle = math.hypot(fx, fy), math.atan2(fy, fx)
        defocus = 0.5 * (
            row["defocus_u"]
            + row["defocus_v"]
            + (row["defocus_u"] - row["defocus_v"]) * math.cos(2 * (angle - row["astigmatism"]))
        )
        gamma = -math.pi * length * defocus * s**2 + math.pi / 2 * 2.7e7 * length**3 * s**4 - math.asin(0.1)
        assert value == pytest.approx(-math.sin(gamma) * math.exp(-80 * s**2 / 4) * 0.8, abs=1e-9)


def test_the_first_zero_lies_nearer_along_the_axis_of_larger_defocus():
    grid = Grid(256, 2.0)
    transfer = contrast_transfer(optics(defocus_u=20000.0, defocus_v=10000.0, astigmatism=0.0), grid)[0]
    along_x, along_y = transfer[0, :], transfer[: grid.half, 0]
    assert (along_x < 0).nonzero()[0] < (along_y < 0).nonzero()[0]


def test_the_envelope_halves_where_it_should():
    b_factor = torch.tensor([4 * math.log(2) / GRID.shell_frequencies()[4].item() ** 2], dtype=torch.float64)
    assert envelope(b_factor, GRID)[0, 0, 4].item() == pytest.approx(0.5)


def test_single_precision_keeps_three_digits_far_from_focus():
    grid, far = Grid(128, 0.8), {"defocus_u": 60000.0, "defocus_v": 59000.0}
    single = contrast_transfer(optics(torch.float32, **far), grid)
    assert single.dtype == torch.float32
    assert (single - contrast_transfer(optics(**far), grid)).abs().max() < 2e-3  # γ reaches 1,800 rad


def test_gradients_equal_finite_differences():
    base = optics(b_factor=30.0, phase_shift=0.2)
    rows = [getattr(base, f.name).clone().requires_grad_() for f in fields(Optics)]
    assert torch.autograd.gradcheck(lambda *row: contrast_transfer(Optics(*row), Grid(6, 3.0)), rows)


def test_the_slope_to_defocus_is_that_of_finite_differences():
    asked, step = {"defocus_u": 13210.0, "defocus_v": 11980.0}, 1e-2  # Å
    low, high = (
        transfer_at(
            optics(b_factor=60.0, scale=0.8, **{k: v + d for k, v in asked.items()}),
            GRID.frequencies().double(),
        )
        for d in (-step, step)
    )
    slope = transfer_slope_at(optics(b_factor=60.0, scale=0.8, **asked), GRID.frequencies().double())
    assert slope.abs().max() > 1e-4
    torch.testing.assert_close(slope, (high - low) / (2 * step), rtol=1e-6, atol=1e-11)

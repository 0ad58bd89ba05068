"""cryoDRGN's transfer function, written out from its formula, is the negative of ours."""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Optics
from morphem.physics.ctf import contrast_transfer


def theirs(frequencies: torch.Tensor, row: dict[str, float]) -> torch.Tensor:
    """``compute_ctf``: degrees and Å in, its constants of the wavelength, sqrt(1 − w²) sin − w cos."""
    volt, cs = row["voltage_kv"] * 1000, row["cs_mm"] * 1e7
    length = 12.2639 / (volt + 0.97845e-6 * volt**2) ** 0.5
    x, y = frequencies.unbind(-1)
    angle, squared = torch.atan2(y, x), x.square() + y.square()
    defocus = 0.5 * (
        row["defocus_u"]
        + row["defocus_v"]
        + (row["defocus_u"] - row["defocus_v"]) * torch.cos(2 * (angle - row["astigmatism"]))
    )
    gamma = 2 * math.pi * (-0.5 * defocus * length * squared + 0.25 * cs * length**3 * squared.square())
    gamma = gamma - row["phase_shift"]
    w = row["amplitude_contrast"]
    return (1 - w**2) ** 0.5 * gamma.sin() - w * gamma.cos()


@pytest.mark.parametrize("angle", [0.0, 0.9, -2.0])
@pytest.mark.parametrize("phase_shift", [0.0, 1.2])
def test_the_transfer_is_the_negative_of_that_of_cryodrgn(angle, phase_shift):
    grid = Grid(128, 1.5)
    row = {
        "defocus_u": 17000.0, "defocus_v": 15500.0, "astigmatism": angle, "voltage_kv": 300.0, "cs_mm": 2.7,
        "amplitude_contrast": 0.1, "phase_shift": phase_shift, "b_factor": 0.0, "scale": 1.0,
    }  # fmt: skip
    optics = Optics(**{name: torch.tensor([value], dtype=torch.float64) for name, value in row.items()})
    expected = -theirs(grid.frequencies(dtype=torch.float64), row)
    # its 12.2639 Å √V is 3e-5 short of the constant of nature; γ reaches 120 rad
    assert torch.allclose(contrast_transfer(optics, grid)[0], expected, atol=8e-3)

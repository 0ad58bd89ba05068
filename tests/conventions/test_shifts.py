"""Poses.shift moves the particle by +shift, Å, (x, y); it is minus what RELION and cryoSPARC write."""

from __future__ import annotations

import warnings

import pytest
import torch

from morphem.core.fourier import to_fourier, to_real
from morphem.core.grid import Grid
from morphem.data.metadata import read_metadata
from morphem.physics.imaging import phase_ramp

GRID = Grid(16, 2.0)


def moved(x: float, y: float) -> torch.Tensor:
    image = torch.zeros(1, 16, 16, dtype=torch.float64)
    image[0, 8, 8] = 1
    shift = torch.tensor([[x, y]], dtype=torch.float64)
    return to_real(to_fourier(image) * phase_ramp(shift, GRID))[0]


def test_a_positive_x_moves_content_to_higher_columns():
    assert moved(6.0, 0.0)[8, 11].item() == pytest.approx(1)


def test_a_positive_y_moves_content_to_higher_rows():
    assert moved(0.0, 6.0)[11, 8].item() == pytest.approx(1)


def test_an_origin_of_relion_is_minus_the_shift(tmp_path):
    star = tmp_path / "one.star"
    star.write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n"
        "_rlnAmplitudeContrast #4\n_rlnImagePixelSize #5\n_rlnImageSize #6\n_rlnImageDimensionality #7\n"
        "1 300 2.7 0.1 2.0 16 2\n\n"
        "data_particles\n\nloop_\n_rlnImageName #1\n_rlnOpticsGroup #2\n_rlnDefocusU #3\n_rlnDefocusV #4\n"
        "_rlnDefocusAngle #5\n_rlnAngleRot #6\n_rlnAngleTilt #7\n_rlnAnglePsi #8\n"
        "_rlnOriginXAngst #9\n_rlnOriginYAngst #10\n"
        "000001@stack.mrcs 1 10000 9000 0 10 20 30 4.0 -6.0\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metadata = read_metadata(star)
    assert metadata.shift is not None
    assert metadata.shift.tolist() == [[-4.0, 6.0]]
    # applied to an image that is displaced by our shift, RELION's translation centres it
    shift = torch.from_numpy(metadata.shift)
    centred = to_fourier(moved(*shift[0].tolist())[None]) * phase_ramp(-shift, GRID)
    assert to_real(centred)[0, 8, 8].item() == pytest.approx(1)

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from morphem.core.grid import Grid
from morphem.data import MetadataWarning
from morphem.data.sign import estimate_sign
from morphem.data.stack import open_stack, stack_in_memory


def noisy_blobs(make_optics, sign: float, contrast: float = 0.3):
    """Faint blobs off the centre, offsets that differ from image to image, white noise."""
    random = torch.Generator().manual_seed(0)
    axis = torch.arange(32) - 16.0
    centre = torch.randn(200, 2, 1, 1, generator=random) * 2
    blob = torch.exp(-((axis - centre[:, 0]) ** 2 + (axis[:, None] - centre[:, 1]) ** 2) / (2 * 5.0**2))
    noise = torch.randn(200, 32, 32, generator=random) + torch.randn(200, 1, 1, generator=random)
    return stack_in_memory(sign * contrast * blob + noise, Grid(32, 4.0), make_optics(200))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_sign_of_faint_particles_is_told(make_optics, sign):
    estimate = estimate_sign(noisy_blobs(make_optics, sign))
    assert estimate.confident
    assert estimate.sign == sign


def test_noise_alone_has_no_confident_sign(make_optics):
    assert not estimate_sign(noisy_blobs(make_optics, 1.0, contrast=0.0)).confident


def test_a_single_image_has_no_confident_sign(make_optics):
    stack = noisy_blobs(make_optics, 1.0)
    assert not estimate_sign(stack.select(torch.tensor([0]))).confident


def test_grey_values_of_any_scale_give_the_same_sign(make_optics):
    stack = noisy_blobs(make_optics, -1.0)
    raw = stack_in_memory(40 * stack.images.read(torch.arange(200)) + 5000, stack.grid, stack.optics)
    assert estimate_sign(raw).sign == -1
    assert estimate_sign(raw).deviations == pytest.approx(estimate_sign(stack).deviations, rel=1e-3)


def test_protein_is_dark_in_empiar_10076_as_its_cs_file_says(shared_data):
    folder = shared_data / "real" / "cryodrgn"
    raw = estimate_sign(open_stack(folder / "empiar_10076_7.star"))
    negated = estimate_sign(open_stack(folder / "empiar_10076_7.cs"))
    assert raw.confident
    assert (raw.sign, negated.sign) == (-1, 1)


def test_protein_is_bright_in_trpv1(shared_data):
    with pytest.warns(MetadataWarning, match="stack"):
        stack = open_stack(shared_data / "real" / "cryojax" / "trpv1_small_stack.star")
    estimate = estimate_sign(stack)
    assert estimate.confident
    assert estimate.sign == 1


def test_protein_is_bright_in_the_premultiplied_relion_5_set(shared_data):
    name = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    stack = open_stack(shared_data / "real" / "tomodrgn" / name)
    assert estimate_sign(stack) == replace(estimate_sign(stack), sign=1.0, confident=True)

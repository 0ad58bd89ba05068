"""Networks that read pose and latent off an image."""

from __future__ import annotations

import pytest
import torch

from morphem.models.encoders import FEATURES, ConformationHead, ImageEncoder, RotationHead, TranslationHead


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("box", [32, 64, 128, 80])
def test_an_image_becomes_one_feature_row_whatever_the_box(box: int):
    features = ImageEncoder(box)(torch.randn(2, box, box))
    assert features.shape == (2, FEATURES)
    assert features.isfinite().all()


def test_there_are_seven_convolutions_of_the_published_widths():
    kernels = [
        layer.weight.shape for layer in ImageEncoder(32).modules() if isinstance(layer, torch.nn.Conv2d)
    ]
    assert [shape[0] for shape in kernels] == [64, 64, 128, 128, 256, 256, 256]
    assert [shape[-1] for shape in kernels] == [5, 5, 3, 3, 3, 3, 3]
    assert kernels[0][1] == 4  # grey value, x, y, distance


def test_the_coordinates_are_zero_at_the_origin():
    encoder = ImageEncoder(32)
    assert torch.equal(encoder.coordinates[:, 16, 16], torch.zeros(3))
    assert encoder.coordinates[0, 16, 24] == 0.5
    assert encoder.coordinates[1, 8, 16] == -0.5


def test_boxes_that_five_halvings_would_use_up_are_refused():
    with pytest.raises(ValueError, match="32 are needed"):
        ImageEncoder(30)


def test_an_encoded_image_does_not_depend_on_the_others_once_trained():
    encoder, images = ImageEncoder(32).eval(), torch.randn(3, 32, 32)
    torch.testing.assert_close(encoder(images)[:1], encoder(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hypotheses", [1, 5])
def test_every_hypothesis_is_a_rotation(hypotheses: int):
    rotation = RotationHead(4, hypotheses)(torch.randn(6, FEATURES), torch.randn(6, 4))
    assert rotation.shape == (6, hypotheses, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(6, hypotheses))


def test_hypotheses_differ_from_each_other():
    rotation = RotationHead(4, 4)(torch.randn(1, FEATURES), torch.randn(1, 4))[0]
    assert torch.pdist(rotation.flatten(1)).min() > 0.1


def test_mixed_precision_costs_the_heads_no_digits():
    features, latents = torch.randn(6, FEATURES), torch.randn(6, 4)
    for head in (RotationHead(4), TranslationHead(4, 5.0)):
        exact = head(features, latents)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(head(features, latents), exact)


def test_no_shift_exceeds_the_largest():
    head = TranslationHead(4, 7.5)
    assert head(1e3 * torch.randn(50, FEATURES), torch.randn(50, 4)).abs().max() <= 7.5


def test_the_latent_is_read_by_rotation_and_translation():
    features, latents = torch.randn(1, FEATURES).expand(2, -1), torch.randn(2, 4)
    for head in (RotationHead(4), TranslationHead(4, 5.0)):
        first, second = head(features, latents)
        assert not torch.equal(first, second)


def test_gradients_of_the_heads_are_those_of_differences():
    features = torch.randn(2, FEATURES, dtype=torch.float64)
    latents = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    for head in (RotationHead(3, 2).double(), TranslationHead(3, 5.0).double()):
        assert torch.autograd.gradcheck(lambda z, head=head: head(features, z), latents)
    conformation = ConformationHead(3).double()
    assert torch.autograd.gradcheck(lambda y: conformation(y), features.requires_grad_())

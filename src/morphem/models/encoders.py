"""Networks that read pose and latent off an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from morphem.core.rotations import from_six_dimensions

FEATURES = 256  # width of an image's feature
SMALLEST_BOX = 32  # pixels: five halvings leave one

# Channels of the convolutions of each block and the side of their kernels; each block ends by halving.
_BLOCKS = (((64,), 5), ((64,), 5), ((128, 128), 3), ((256, 256), 3), ((256,), 3))


class ImageEncoder(nn.Module):
    """Seven convolutions after VGG16, then a perceptron: one feature row per image.

    Beside its grey values (noise of unit variance) every image shows the network three more channels: x, y
    and the distance from the origin, in half boxes. Blocks of convolutions are followed by batch
    normalisation (not the first), rectifier and a halving of the box, so that a 32nd of it is left.

    Args:
        box: Pixels along a side of the images, 32 at least.
    """

    def __init__(self, box: int) -> None:
        super().__init__()
        if box < SMALLEST_BOX:
            raise ValueError(f"images of {box} pixels are too small to encode; {SMALLEST_BOX} are needed")
        self.register_buffer("coordinates", _coordinates(box), persistent=False)
        channels = [len(self.coordinates) + 1, *(widths[-1] for widths, _ in _BLOCKS)]
        blocks = [_block(channels[i], *block, normalised=i > 0) for i, block in enumerate(_BLOCKS)]
        self.convolutions = nn.Sequential(*blocks)
        left = box // 2 ** len(_BLOCKS)
        self.perceptron = perceptron(channels[-1] * left**2, FEATURES)

    coordinates: Float[Tensor, "3 d d"]

    def forward(self, images: Float[Tensor, "b d d"]) -> Float[Tensor, "b f"]:
        """Features of the images."""
        coordinates = self.coordinates.expand(len(images), -1, -1, -1)
        seen = self.convolutions(torch.cat([images[:, None], coordinates], 1))
        return self.perceptron(seen.flatten(1))


class ConformationHead(nn.Module):
    """Mean and logarithm of the variance of each image's latent.

    Args:
        latent: Width of the latent.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.network = perceptron(FEATURES, 2 * latent)

    def forward(self, features: Float[Tensor, "b f"]) -> tuple[Float[Tensor, "b z"], Float[Tensor, "b z"]]:
        """Mean, log-variance; who wants no distribution leaves the second aside."""
        mean, log_variance = self.network(features).chunk(2, -1)
        return mean, log_variance


class RotationHead(nn.Module):
    """Rotations of each image, through two vectors in space (S² × S²).

    Args:
        latent: Width of the latent that is read beside the feature.
        hypotheses: Rotations per image.
    """

    def __init__(self, latent: int, hypotheses: int = 1) -> None:
        super().__init__()
        self.network = perceptron(FEATURES + latent, 6 * hypotheses)

    def forward(
        self, features: Float[Tensor, "b f"], latents: Float[Tensor, "b z"]
    ) -> Float[Tensor, "b m 3 3"]:
        """The hypotheses."""
        six = _exactly(self.network, torch.cat([features, latents], -1))
        return from_six_dimensions(six.unflatten(-1, (-1, 6)))


class TranslationHead(nn.Module):
    """Displacement of each particle in its image.

    Args:
        latent: Width of the latent that is read beside the feature.
        largest: What no component exceeds, Å.
    """

    def __init__(self, latent: int, largest: float) -> None:
        super().__init__()
        self.largest = largest
        self.network = perceptron(FEATURES + latent, 2)

    def forward(self, features: Float[Tensor, "b f"], latents: Float[Tensor, "b z"]) -> Float[Tensor, "b 2"]:
        """Shift (x, y), Å; near zero it grows as the network's output times ``largest``."""
        return self.largest * _exactly(self.network, torch.cat([features, latents], -1)).tanh()


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers as wide as a feature, rectified."""
    hidden = [nn.Linear(inputs, FEATURES), nn.ReLU(), nn.Linear(FEATURES, FEATURES), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(FEATURES, outputs))


def _exactly(network: nn.Module, inputs: Float[Tensor, "b f"]) -> Float[Tensor, "b o"]:
    """What a network says in single precision at least: three digits of a pose are a quarter of a degree."""
    with torch.autocast(inputs.device.type, enabled=False):
        return network(inputs.to(torch.promote_types(inputs.dtype, torch.float32)))


def _block(channels: int, widths: tuple[int, ...], side: int, *, normalised: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, side, padding=side // 2), nn.ReLU()]
    if normalised:
        layers.insert(len(layers) - 1, nn.BatchNorm2d(widths[-1]))
    return nn.Sequential(*layers, nn.MaxPool2d(2))


def _coordinates(box: int) -> Float[Tensor, "3 d d"]:
    """x, y and distance of every pixel from the origin, in half boxes."""
    axis = (torch.arange(box) - box // 2) / (box / 2)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y, torch.hypot(x, y)])

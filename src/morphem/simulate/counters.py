"""Random numbers as a function of a seed and a counter, so that any image can be made alone."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SLOTS = 32  # numbers set aside for each image
_BLOCK = 100_000  # images whose numbers are made at a time


def uniform_numbers(number: Int[Tensor, "n"], count: int, seed: int) -> Float[Tensor, "n count"]:
    """``count`` numbers above 0 and below 1 for each image, float64, by SplitMix64 (Steele et al. 2014).

    Image i has the outputs i·32 … i·32 + 31 of the generator that starts where ``seed`` says.
    """
    if count > _SLOTS:
        raise ValueError(f"{count} numbers asked for, an image has {_SLOTS}")
    start = _mixed(np.array([seed], np.int64).view(np.uint64) * _GOLDEN)
    slots = np.arange(count, dtype=np.uint64)
    out = np.empty((len(number), count))
    for rows in np.array_split(np.arange(len(number)), max(1, len(number) // _BLOCK)):
        first = number.numpy()[rows].astype(np.int64).view(np.uint64) * np.uint64(_SLOTS)
        words = _mixed(start + (first[:, None] + slots) * _GOLDEN)
        out[rows] = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return torch.from_numpy(out)


def noise_seed(number: int, seed: int) -> int:
    """Seed of the generator that makes one image's noise, 63 bits; apart from :func:`uniform_numbers`."""
    words = np.array([seed, number], np.int64).view(np.uint64)
    stream = _mixed(words[:1] * _GOLDEN) ^ np.uint64(0x8CB92BA72F3D8DD7)
    return int(_mixed(stream + words[1:] * _GOLDEN)[0] >> np.uint64(1))


def _mixed(word: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))

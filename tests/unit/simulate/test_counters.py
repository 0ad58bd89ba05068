"""Numbers of an image depend on the seed and its number alone, and are as random as they should be."""

from __future__ import annotations

import numpy as np
import torch

from morphem.simulate.counters import _GOLDEN, _mixed, noise_seed, uniform_numbers


def test_the_generator_is_splitmix64():
    """First outputs for the seed 1234567, from the published reference implementation."""
    states = np.array([1234567], np.uint64) + _GOLDEN * np.arange(1, 4, dtype=np.uint64)
    assert _mixed(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_an_image_has_the_same_numbers_alone_and_in_any_block():
    everyone = uniform_numbers(torch.arange(250_000), 3, seed=9)
    some = torch.tensor([0, 99_999, 100_000, 249_999])
    assert torch.equal(uniform_numbers(some, 3, seed=9), everyone[some])
    assert torch.equal(uniform_numbers(some, 2, seed=9), everyone[some][:, :2])


def test_numbers_are_uniform_and_unrelated_across_slots_images_and_seeds():
    numbers = uniform_numbers(torch.arange(-20_000, 20_000), 24, seed=0)
    assert 0 < float(numbers.min()) < float(numbers.max()) < 1
    counts = torch.histc(numbers.float(), 64, 0, 1)
    expected = numbers.numel() / 64
    assert float(((counts - expected).square() / expected).sum()) < 110  # chi-square, 63 degrees, p = 2e-4
    other = uniform_numbers(torch.arange(-20_000, 20_000), 24, seed=1)
    columns = torch.cat([numbers[:-1], numbers[1:], other[1:]], 1)
    related = torch.corrcoef(columns.T).fill_diagonal_(0).abs().max()
    assert float(related) < 0.027  # 5.4 standard deviations; 2,556 pairs


def test_noise_has_seeds_of_its_own():
    seeds = [noise_seed(i, s) for s in range(20) for i in range(-50, 500)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)

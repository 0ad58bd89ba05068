"""Compiled loops: edges, lost values, threads, no place for a cache."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from morphem.physics.kernels.windowed_gaussians import splat, splat_gradient


def draw(images: int, gaussians: int, box: int, dtype: type = np.float64) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    view = random.uniform(-6, box + 6, (images, gaussians, 2)).astype(dtype)
    amplitudes = random.uniform(0.1, 1, (images, gaussians)).astype(dtype)
    return view, amplitudes, random.uniform(0.3, 2.5, gaussians).astype(dtype)


def written_out(view: np.ndarray, amplitudes: np.ndarray, scales: np.ndarray, box: int) -> np.ndarray:
    axis = np.arange(box)
    x, y = (np.exp(-((axis - view[..., i, None]) ** 2) / (2 * scales[:, None] ** 2)) for i in (0, 1))
    return np.einsum("bgy,bg,bgx->byx", y, amplitudes, x)


@pytest.mark.parametrize("box", [2, 6, 16, 30])
def test_gaussians_across_the_edge_are_cut_and_not_folded(box: int):
    mixture = draw(2, 60, box)
    expected = written_out(*mixture, box)
    assert np.abs(splat(mixture, box, 8.0, 1) - expected).max() < 1e-12 * expected.max()


@pytest.mark.parametrize("scale", [1e-3, 0.05, 20.0, 1e4])
def test_extreme_widths_are_drawn(scale: float):
    mixture = np.array([[[7.0, 8.2]]]), np.ones((1, 1)), np.array([scale])
    assert np.abs(splat(mixture, 16, 8.0, 1) - written_out(*mixture, 16)).max() < 1e-12


def test_single_precision_keeps_seven_digits():
    view, amplitudes, scales = draw(2, 100, 32, np.float32)
    expected = written_out(*(a.astype(np.float64) for a in (view, amplitudes, scales)), 32)
    image = splat((view, amplitudes, scales), 32, 8.0, 1)
    assert image.dtype == np.float32
    assert np.abs(image - expected).max() < 1e-6 * expected.max()


def test_a_gaussian_outside_the_box_gets_no_gradient():
    mixture = np.array([[[-40.0, 8.0], [8.0, 60.0], [8.0, 8.0]]]), np.ones((1, 3)), np.full(3, 1.5)
    to_view, to_amplitudes, to_scales = splat_gradient(mixture, np.ones((1, 16, 16)), 4.0, 1)
    for gradient in (to_view[0], to_amplitudes[0], to_scales[0]):
        assert not gradient[:2].any()
        assert np.isfinite(gradient).all()
    assert to_amplitudes[0, 2] > 1


def test_an_amplitude_of_zero_still_has_a_gradient():
    mixture = np.array([[[8.0, 8.0]]]), np.zeros((1, 1)), np.ones(1)
    assert not splat(mixture, 16, 4.0, 1).any()
    assert splat_gradient(mixture, np.ones((1, 16, 16)), 4.0, 1)[1][0, 0] == pytest.approx(
        2 * np.pi, rel=1e-3
    )


@pytest.mark.parametrize("lost", ["view", "amplitudes", "scales"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_reaches_the_image(lost: str, value: float):
    mixture = dict(zip(("view", "amplitudes", "scales"), draw(1, 5, 16), strict=True))
    mixture[lost].flat[0] = value
    if lost != "scales" or np.isnan(value):
        assert not np.isfinite(splat(tuple(mixture.values()), 16, 4.0, 1)).all()


def test_threads_do_not_change_a_bit():
    mixture = draw(7, 300, 32, np.float32)
    upstream = np.random.default_rng(1).normal(size=(7, 32, 32)).astype(np.float32)
    alone, shared = (splat(mixture, 32, 4.0, threads) for threads in (1, 3))
    assert np.array_equal(alone, shared)
    for a, b in zip(*(splat_gradient(mixture, upstream, 4.0, threads) for threads in (1, 3)), strict=True):
        assert np.array_equal(a, b)


def test_nowhere_to_keep_compiled_code_does_not_stop_the_kernel():
    program = (
        "import numpy as np\n"
        "from numba.core import caching\n"
        "for kind in (caching.CacheImpl, caching.CompileResultCacheImpl):\n"
        "    kind._locator_classes = []\n"
        "from morphem.physics.kernels.windowed_gaussians import splat\n"
        "print(splat((np.full((1, 1, 2), 4.0), np.ones((1, 1)), np.ones(1)), 8, 4.0, 1)[0, 4, 4])\n"
    )
    environment = dict(os.environ, NUMBA_OPT="0")  # compiles in half the time
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "1.0", done.stderr

"""CryoBench's area under the FSC, on maps whose score can be worked by hand.

Its rules: entry 0 of the curve is 1; entry i of 1 … D/2 − 1 is the correlation over ``i − 1 ≤ |k| < i``,
and 1 where a power is nil; the area is the trapezoid's over i / D. So the score is
``(Σ entries − (first + last) / 2) / D``.
"""

from __future__ import annotations

import math

import pytest
import torch

from morphem.core.fourier import to_fourier_3d, to_real_3d
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.metrics.fsc import cryobench_auc


def _waves(box: int, amplitudes: dict[tuple[int, int, int], float]) -> Volume:
    """Sum of cosines of whole frequencies (x, y, z); the power of each is half its squared amplitude."""
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * (2 * math.pi / box)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    waves = [a * (kx * x + ky * y + kz * z).cos() for (kx, ky, kz), a in amplitudes.items()]
    return Volume(torch.stack(waves).sum(0), Grid(box, 1.0))


def _noise(box: int) -> torch.Tensor:
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("sign", "score"),
    [
        (1, 0.25),  # entries 1, 1: (2 − 1) / 4
        (-1, 0.0),  # entries 1, −1: (0 − 0) / 4
    ],
)
def test_of_four_voxels_a_side_only_the_mean_counts(sign: int, score: float):
    """D = 4 has one shell, and that is DC."""
    first = _waves(4, {(0, 0, 0): 1.0, (1, 0, 0): 2.0})
    second = _waves(4, {(0, 0, 0): sign, (0, 1, 1): 5.0})
    assert cryobench_auc(first, second) == pytest.approx(score, abs=1e-9)


WAVES = {
    (0, 0, 0): 1.0,
    (1, 0, 0): 3.0,
    (1, 1, 1): 4.0,
    (2, 0, 0): 2.0,
    (2, 2, 0): 1.0,
    (3, 0, 0): 5.0,
    (2, 2, 2): 1.0,
}


@pytest.mark.parametrize(
    ("reversed_waves", "score"),
    [
        # D = 8: entries 1, f1, f2, f3 score (0.5 + f1 + f2 + f3 / 2) / 8
        ([], 0.375),  # 3 / 8
        ([(0, 0, 0)], 0.125),  # f1 = −1: 1 / 8
        # |k| = 1 and √3 share f2 with powers 9 and 16: one of them reversed gives ∓7 / 25
        ([(1, 0, 0)], 0.285),  # f2 = (16 − 9) / 25 = .28: 2.28 / 8
        ([(1, 1, 1)], 0.215),  # f2 = −.28, though √3 is nearer to 2: 1.72 / 8
        ([(1, 0, 0), (1, 1, 1)], 0.125),  # f2 = −1: 1 / 8
        # |k| = 2 and √8 share f3 with powers 4 and 1
        ([(2, 0, 0)], 0.275),  # f3 = −.6: 2.2 / 8
        ([(2, 2, 0)], 0.35),  # f3 = .6, though √8 is nearer to 3: 2.8 / 8
        ([(3, 0, 0), (2, 2, 2)], 0.375),  # |k| ≥ 3 = D/2 − 1 is never looked at
    ],
)
def test_waves_count_on_the_shell_below_which_they_lie(
    reversed_waves: list[tuple[int, int, int]], score: float
):
    changed = {k: -a if k in reversed_waves else a for k, a in WAVES.items()}
    assert cryobench_auc(_waves(8, WAVES), _waves(8, changed)) == pytest.approx(score, abs=1e-9)


def test_maps_that_agree_below_a_radius_score_what_is_below_it():
    """D = 16, reversed from |k| = 5 on: entries 0 … 5 are 1, 6 and 7 are −1: (6 − 2 − 0) / 16."""
    first = _noise(16)
    spectrum = to_fourier_3d(first)
    full, half = torch.fft.fftfreq(16, 1 / 16), torch.fft.rfftfreq(16, 1 / 16)
    far = full[:, None, None] ** 2 + full[:, None] ** 2 + half**2 >= 25
    second = to_real_3d(torch.where(far, -spectrum, spectrum))
    assert cryobench_auc(*(Volume(v, Grid(16, 1.0)) for v in (first, second))) == pytest.approx(
        0.25, abs=1e-9
    )


def test_a_voxel_in_the_mask_is_all_that_counts():
    """One voxel has the same power everywhere: all entries after the first are the product of the signs."""
    first, second = torch.full((8, 8, 8), 2.0), torch.full((8, 8, 8), 3.0)
    second[1, 2, 3] = -1.0
    volumes = Volume(first, Grid(8, 1.0)), Volume(second, Grid(8, 1.0))
    mask = torch.zeros(8, 8, 8)
    mask[1, 2, 3] = 0.5
    # entries 1, −1, −1, −1: (−2 − 0) / 8
    assert cryobench_auc(*volumes, mask) == pytest.approx(-0.25, abs=1e-6)
    # entries 1, 1, 1, 1: (4 − 1) / 8
    assert cryobench_auc(*volumes, mask.flip(0)) == pytest.approx(0.375, abs=1e-6)


def test_two_voxels_in_the_mask_correlate_with_one_by_the_share_of_even_waves():
    """Voxels half a box apart along x add up at even k_x alone, so each entry is the root of their share.

    Of the 26 frequencies with 1 ≤ |k|² < 4, 8 have k_x = 0; of the 66 with 4 ≤ |k|² < 9, 42 have k_x = 0 or
    ±2 (6 of 6 with |k|² = 4, 16 of 24 with 5, 8 of 24 with 6, 12 of 12 with 8).
    """
    first, second = torch.rand(8, 8, 8), torch.rand(8, 8, 8)
    mask = torch.zeros(8, 8, 8)
    mask[4, 4, 4] = mask[4, 4, 0] = 1
    first[4, 4, 4], first[4, 4, 0], second[4, 4, 4], second[4, 4, 0] = 1, 0, 1, 1
    expected = (0.5 + 1 + (8 / 26) ** 0.5 + (42 / 66) ** 0.5 / 2) / 8
    found = cryobench_auc(Volume(first, Grid(8, 1.0)), Volume(second, Grid(8, 1.0)), mask)
    assert found == pytest.approx(expected, abs=1e-6)


def test_nothing_found_scores_as_all_found():
    """D = 8: a power of nil counts as 1, so that an empty map is perfect; a known defect, kept."""
    first = Volume(_noise(8), Grid(8, 1.0))
    assert cryobench_auc(first, Volume(torch.zeros_like(first.voxels), Grid(8, 1.0))) == pytest.approx(0.375)

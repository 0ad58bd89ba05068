from __future__ import annotations

import pytest
import torch

from morphem.core.fourier import resize_images
from morphem.core.grid import Grid
from morphem.data.resample import resample


def blob(box: int, pixel_size: float, x: float, y: float, width: float) -> torch.Tensor:
    """A Gaussian at (x, y) Å from the origin, pixel ``box // 2``."""
    axis = (torch.arange(box) - box // 2) * pixel_size
    return torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * width**2))[None].double()


def test_with_equal_pixels_it_is_a_crop_around_the_origin():
    images = torch.randn(2, 9, 9)
    cropped = resample(images, 1.5, Grid(6, 1.5))
    assert cropped.equal(images[:, 1:7, 1:7])
    assert resample(images, 1.5, Grid(8, 1.5)).equal(images[:, :8, :8])


@pytest.mark.parametrize(("old", "new"), [(16, 8), (24, 16)])
def test_at_equal_extent_it_is_fourier_cropping(old, new):
    images = torch.randn(3, old, old, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = resize_images(images, new)
    torch.testing.assert_close(resample(images, 1.0, Grid(new, old / new)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("box", [40, 41])
@pytest.mark.parametrize(("pixel_size", "wanted"), [(1.31, 1.7), (1.7, 1.31), (1.0, 1.06)])
def test_a_blob_stays_where_it_is_at_any_ratio(box, pixel_size, wanted):
    grid = Grid(2 * int(0.5 * (box - 1) * pixel_size / wanted), wanted)
    image = blob(box, pixel_size, 3.3, -5.1, 4.0)
    expected = blob(grid.box, wanted, 3.3, -5.1, 4.0)
    # 1e-4: what a Gaussian of 4 Å has beyond the edge of the smallest image, 24 Å from the origin
    torch.testing.assert_close(resample(image, pixel_size, grid), expected, atol=1e-4, rtol=0)

"""Lit pictures of a surface: what is where, and which side one sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from morphem.report.scene.render import PLAIN, png, resampled, rgb, surface_pictures

SIDE = 24


def pixels(picture: bytes) -> np.ndarray:
    """Red, green, blue and opacity, 0 to 1, by a reader of others."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"), np.float64) / 255


def ball(x: float, y: float, z: float, radius: float = 4.0) -> torch.Tensor:
    """A smooth ball, its centre in voxels from the middle."""
    axis = torch.arange(SIDE) - SIDE / 2 + 0.5
    squared = (axis[:, None, None] - z) ** 2 + (axis[:, None] - y) ** 2 + (axis - x) ** 2
    return torch.sigmoid(2 * (radius - squared.sqrt()))


def middle(picture: bytes) -> tuple[float, float]:
    """Centre of what is opaque, from the picture's: to the right, up, in pictures."""
    opaque = pixels(picture)[..., 3] > 0.5
    rows, columns = np.nonzero(opaque)
    height, width = opaque.shape
    return (columns.mean() + 0.5) / width - 0.5, 0.5 - (rows.mean() + 0.5) / height


def test_a_picture_can_be_read_by_another_program():
    drawn = np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)
    np.testing.assert_array_equal(np.round(255 * pixels(png(drawn))).astype(np.uint8), drawn)


@pytest.mark.parametrize(
    ("look", "right", "up"),
    [(0, "x", "y"), (1, "x", "z"), (2, "y", "z")],
    ids=["along z", "along y", "along x"],
)
def test_axes_point_as_in_the_figures_of_a_run(look: int, right: str, up: str):
    for axis in "xyz":
        place = {"x": 0.0, "y": 0.0, "z": 0.0, axis: 6.0}
        at = middle(surface_pictures(ball(**place), 0.5)[look])
        expected = (0.25 * (axis == right), 0.25 * (axis == up))  # 6 of 24 voxels
        assert at == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("look", "nearest"), [(0, (0, 0, 6)), (1, (0, -6, 0)), (2, (6, 0, 0))])
def test_the_nearer_of_two_balls_hides_the_farther(look: int, nearest: tuple[float, float, float]):
    # right × up points to the viewer: a mirror image would show the other ball
    near, far = ball(*nearest, radius=3.0), ball(*(-value for value in nearest), radius=3.0)
    labels = (near > 0.2).long() + 2 * (far > 0.2).long()
    colour = pixels(surface_pictures(near + far, 0.5, labels)[look])
    centre = colour[colour.shape[0] // 2, colour.shape[1] // 2, :3]
    first, second = np.array(rgb(1)), np.array(rgb(2))
    assert np.corrcoef(centre, first)[0, 1] > np.corrcoef(centre, second)[0, 1] + 0.5


def test_light_falls_from_the_upper_left():
    shaded = pixels(surface_pictures(ball(0, 0, 0, 8.0), 0.5)[0])[..., :3].sum(-1)
    height, width = shaded.shape
    upper_left, lower_right = shaded[3 * height // 8, 3 * width // 8], shaded[5 * height // 8, 5 * width // 8]
    assert upper_left > 1.2 * lower_right


def test_what_is_no_surface_is_transparent():
    assert all(not pixels(picture)[..., 3].any() for picture in surface_pictures(torch.zeros(8, 8, 8), 0.5))


def test_a_map_without_parts_is_plain():
    colour = pixels(surface_pictures(ball(0, 0, 0), 0.5)[0])
    seen = colour[colour[..., 3] > 0.5][:, :3]
    assert np.corrcoef(seen.mean(0), PLAIN)[0, 1] > 0.99


def test_resampling_keeps_straight_slopes_inside():
    axis = torch.arange(12.0)
    slope = axis[:, None, None] + 2 * axis[:, None] - axis
    fine = resampled(slope, (24, 24, 24))
    place = (torch.arange(24) + 0.5) / 2 - 0.5
    expected = place[:, None, None] + 2 * place[:, None] - place
    inner = (slice(4, -4),) * 3
    torch.testing.assert_close(fine[inner], expected[inner], atol=1e-4, rtol=0)  # float32

"""Pictures of a run: what they say is what was found, and what is unknown is not drawn."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from morphem.core.grid import Grid
from morphem.core.types import Poses, Volume
from morphem.data.errors import DataError
from morphem.data.mrc import write_map
from morphem.engine.reconstruction import Reconstruction
from morphem.models.density import VoxelDensity
from morphem.report.drawing import COLOURS, grey_range, round_length
from morphem.report.figures import (
    draw_fsc,
    draw_latents,
    draw_loss,
    draw_map,
    point_density,
    principal_components,
    write_figures,
)
from morphem.report.part_figure import coloured_projection, draw_parts
from morphem.report.scene.states import axes_of
from morphem.report.volumes import along_component

GRID = Grid(16, 2.0)
PNG = b"\x89PNG"


def two_balls() -> tuple[Volume, torch.Tensor]:
    """Part 1 at +x, part 2 at +y, and their labels."""
    z, y, x = torch.meshgrid(*[GRID.axis()] * 3, indexing="ij")
    first = (x - 6).square() + y.square() + z.square() < 16
    second = x.square() + (y - 8).square() + z.square() < 9
    return Volume((first | second).float(), GRID), first.long() + 2 * second.long()


def part(number: int) -> dict[str, object]:
    return {
        "part": number,
        "mass": 0.5,
        "rotation_degrees": 12.34,
        "travel": 5.678,
        "occupancy": [0.1, 0.7, 1.0],
    }


def curves(resolution: float | None) -> dict[str, object]:
    frequency = GRID.shell_frequencies().tolist()
    names = ("fsc", "fsc_masked", "fsc_corrected")
    return {"resolution": resolution, "frequency": frequency} | {name: [0.5] * 9 for name in names}


def found(latents: torch.Tensor) -> Reconstruction:
    n = len(latents)
    poses = Poses(torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 2))
    return Reconstruction(poses, latents, VoxelDensity.of(two_balls()[0]), GRID)


def words(figure: object) -> list[str]:
    """All text of a figure."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    assert isinstance(figure, Figure)
    figure.canvas.draw()
    texts = figure.findobj(Text)
    return [text.get_text() for text in texts if isinstance(text, Text)]


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, Reconstruction]:
    """A run of a method that knows everything."""
    labels = two_balls()[1]
    write_map(tmp_path / "parts.mrc", Volume(labels.float(), GRID))
    (tmp_path / "parts.json").write_text(json.dumps({"parts": [part(1), part(2)]}))
    (tmp_path / "fsc.json").write_text(json.dumps(curves(8.0)))
    latents = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    history = {"parts": [{"epoch": 1, "image": 9.0}, {"epoch": 2, "image": 8.0}]}
    return tmp_path, replace(found(latents), history=history)


def test_all_that_a_run_knows_is_drawn(whole):
    folder, reconstruction = whole
    paths = write_figures(folder, reconstruction)
    names = ["latents.png", "component.png", "parts.png", "fsc.png", "loss.png", "maps.png"]
    assert [path.name for path in paths] == names
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    assert sorted((folder / "figures").iterdir()) == sorted(paths)  # and no temporary file


def test_what_a_method_does_not_know_is_not_drawn(tmp_path):
    paths = write_figures(tmp_path, found(torch.zeros(5, 0)))
    assert [path.name for path in paths] == ["maps.png"]


def test_drawing_leaves_no_trace_in_matplotlib(whole):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pyplot = sys.modules.pop("matplotlib.pyplot", None)
    write_figures(*whole)
    assert "matplotlib.pyplot" not in sys.modules
    assert dict(matplotlib.rcParams) == before
    if pyplot is not None:
        sys.modules["matplotlib.pyplot"] = pyplot


def test_a_picture_that_cannot_be_written_is_one_clear_error(whole):
    folder, reconstruction = whole
    (folder / "figures" / "latents.png").mkdir(parents=True)
    with pytest.raises(DataError, match=r"latents\.png could not be written"):
        write_figures(folder, reconstruction)


def test_the_first_component_lies_where_variance_was_put():
    spread = torch.tensor([0.1, 3.0, 1.0])
    latents = spread * torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)) + 7
    points, share = principal_components(latents)
    torch.testing.assert_close(share, spread.sort(descending=True).values.square() / 10.01, atol=0.02, rtol=0)
    assert float(torch.corrcoef(torch.stack([points[:, 0], latents[:, 1]]))[0, 1]) > 0.999


@pytest.mark.parametrize("seed", range(4))
def test_figures_the_page_and_maps_go_the_same_way_along_a_component(seed):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(500, 3, generator=generator) @ torch.randn(3, 3, generator=generator) - 2
    points, _ = principal_components(latents)
    axes = axes_of(latents, 5)
    assert axes is not None
    torch.testing.assert_close(axes.values, points)
    centre = latents.mean(0)
    directions = torch.linalg.lstsq(latents - centre, points).solution
    for component in (1, 2, 3):
        first, last = (along_component(latents, component, 5).latents[[0, -1]] - centre) @ directions
        assert first[component - 1] < last[component - 1]


def test_density_of_points_is_that_of_the_normal_law_they_come_from():
    points = torch.randn(4000, 2, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 5.0])
    law = (-0.5 * (points / torch.tensor([1.0, 5.0])).square().sum(1)).exp()
    found_density = point_density(points)
    # the kernel widens the law a little
    assert float(torch.corrcoef(torch.stack([law, found_density]))[0, 1]) > 0.98
    assert float(found_density.max()) == 1


@pytest.mark.parametrize("width", [1, 2, 3, 10])
def test_latents_of_any_width_are_drawn(width):
    latents = torch.randn(30, width, generator=torch.Generator().manual_seed(0))
    assert draw_latents(latents) is not None


def test_latents_that_are_all_the_same_are_drawn():
    assert draw_latents(torch.ones(30, 4)) is not None


def test_few_of_a_million_latents_are_drawn():
    figure = draw_latents(torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0)))
    assert figure is not None
    offsets = figure.axes[0].collections[0].get_offsets()
    assert len(offsets) == 20_000


def test_the_explained_variance_stands_on_the_axes():
    latents = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0])
    assert "principal component 1 (90 % of variance)" in words(draw_latents(latents))


def test_the_fsc_is_quoted_at_its_resolution():
    assert "resolution 8.0 Å at FSC 0.143" in words(draw_fsc(curves(8.0)))
    assert "the halves have nothing in common" in words(draw_fsc(curves(None)))


def test_stages_follow_one_another_by_images_seen():
    history = {
        "parts": [{"epoch": 1, "image": 4.0}, {"epoch": 2, "image": 3.0}],
        "fine": [{"epoch": 1, "image": 2.0, "feature": 0.5}],
    }
    figure = draw_loss(history, images=100)
    assert figure is not None
    image, feature = (
        [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
        for axes in figure.axes
    )
    assert image == [[[100, 4], [200, 3]], [[300, 2]]]
    assert feature == [[[300, 0.5]]]
    assert {"image", "feature", "parts", "fine"} <= set(words(figure))


def test_a_history_that_did_not_go_by_epochs_is_not_drawn():
    assert draw_loss({"poses": [{"limit": 10, "score": 2.0, "moved": 1.5}]}, images=100) is None


@pytest.mark.parametrize(
    ("values", "scale"), [((9.0, 8.0), "linear"), ((0.001, 1.0), "log"), ((0.0, 5.0), "linear")]
)
def test_only_terms_that_span_a_decade_are_drawn_by_logarithm(values, scale):
    figure = draw_loss({"only": [{"epoch": k, "term": v} for k, v in enumerate(values, 1)]}, 10)
    assert figure is not None
    assert figure.axes[0].get_yscale() == scale


def test_a_part_keeps_its_colour_and_depth_in_projection():
    mass = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.5, 0.0]]])
    colours = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    red, blue, empty = coloured_projection(mass, colours)[0]
    assert red.tolist() == pytest.approx([1, 0, 0], abs=0.01)
    assert blue[2] == 1
    assert 0 < float(blue[0]) < 1  # paler, for there is less of it
    assert empty.tolist() == [1, 1, 1]


def test_views_show_each_part_where_it_is():
    density, labels = two_balls()
    figure = draw_parts(density, labels, [part(1), part(2)])
    along_z = figure.axes[0].images[0].get_array()
    assert along_z is not None
    blue, orange = (torch.tensor([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for c in COLOURS[:2])
    picture = torch.as_tensor(along_z)
    # part 1 lies at larger x (columns), part 2 at larger y (rows; the origin is below)
    where = [(picture - colour).square().sum(-1).argmin() for colour in (blue, orange)]
    (row1, column1), (row2, column2) = (divmod(int(place), picture.shape[1]) for place in where)
    assert row1 < row2
    assert column1 > column2


def test_the_table_says_what_parts_do():
    density, labels = two_balls()
    said = words(draw_parts(density, labels, [part(1), part(2)]))
    assert {"1", "2", "50.0 %", "12.3°", "5.7 Å", "0.10 to 1.00"} <= set(said)
    assert sum("Å" in word and "5.7" not in word for word in said) == 1  # the scale bar


@pytest.mark.parametrize("count", [1, 12])
def test_any_number_of_parts_can_be_drawn(count):
    density, labels = two_balls()
    assert len(draw_parts(density, labels, [part(k + 1) for k in range(count)]).axes) == 4


def test_an_empty_map_of_parts_can_be_drawn():
    nothing = torch.zeros(16, 16, 16)
    assert draw_parts(Volume(nothing, GRID), nothing.long(), [part(1)]).axes


def test_slices_of_a_map_are_through_its_origin():
    voxels = torch.zeros(16, 16, 16)
    voxels[8, 3, 12] = 1
    figure = draw_map(Volume(voxels, GRID))
    shown = [torch.as_tensor(axes.images[0].get_array()).nonzero().tolist() for axes in figure.axes]
    # slices along z, y and x, then the projections
    assert shown == [[[3, 12]], [], [], [[3, 12]], [[8, 12]], [[8, 3]]]


def test_the_origin_lies_at_zero_in_the_picture():
    axes = draw_map(two_balls()[0]).axes[0]
    left, right = axes.get_xlim()
    pixel = (0 - left) / (right - left) * 16  # its centre is half a pixel on
    assert pixel == pytest.approx(8.5)


@pytest.mark.parametrize(("most", "length"), [(64, 50), (50, 50), (30, 20), (1.9, 1), (0.3, 0.2)])
def test_scale_bars_are_of_round_length(most, length):
    assert round_length(most) == pytest.approx(length)


def test_grey_values_do_not_hang_on_a_single_voxel():
    values = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    values[0] = 1000
    low, high = grey_range(values)
    assert -0.01 < low < 0.01
    assert 0.99 < high < 1.01

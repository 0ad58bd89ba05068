"""A report, opened from a file and used."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from browsing import Visit, Visitor
from made_result import artefacts
from PIL import Image
from playwright.sync_api import Locator
from scipy import ndimage

from morphem.report.scene.build import Scene

pytestmark = pytest.mark.slow

INK = """async (address) => {
    const video = document.body.appendChild(document.createElement('video'));
    video.muted = true;
    video.src = address;
    await new Promise((done, failed) => {
        video.onseeked = done;
        video.onerror = failed;
        video.currentTime = 0.3;
    });
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0);
    const dark = (from, high) => {
        const { data } = context.getImageData(0, from, canvas.width, high);
        let found = 0;
        for (let i = 0; i < data.length; i += 4) found += data[i] + data[i + 1] + data[i + 2] < 450;
        return found;
    };
    return { top: dark(0, 40), all: dark(0, canvas.height) };
}"""
PART_HUES = {1: (0, 114, 178), 2: (230, 159, 0), 3: (0, 158, 115)}


def slide(slider: Locator, value: float) -> None:
    """Put a slider at a value, as a hand would."""
    slider.evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }",
        value,
    )


def of_hue(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """How many pixels have a colour's hue, however brightly they are lit."""
    wanted = np.array(colour) / np.linalg.norm(colour)
    length = np.linalg.norm(picture, axis=-1)
    cosine = picture @ wanted / np.maximum(length, 1)
    return int(((cosine > 0.95) & (length > 60)).sum())


def test_a_report_opens_from_a_file_without_an_error_or_a_request(opened: Visit) -> None:
    assert opened.page.locator("h1").inner_text() == "made"
    assert opened.page.locator("section h2").all_inner_texts()[:2] == ["Particles", "Density"]
    assert opened.requests == []
    opened.keep("report", whole=True)


def test_the_surface_covers_where_the_map_exceeds_the_contour(opened: Visit, scene: Scene) -> None:
    frame = scene.record["maps"]
    level = 255 * (frame["level"] - frame["low"]) / (frame["high"] - frame["low"])
    flat = scene.arrays[scene.record["mean"]["voxels"]["name"]].max(0).astype(float)
    picture = opened.density()
    covered = np.pad(np.abs(picture - picture[2, 2]).sum(-1)[2:-2, 2:-2] > 24, 2)  # less the picture's frame
    per_pixel = float(opened.page.locator(".stage").get_attribute("data-angstroms-per-pixel") or 0)
    height, width = covered.shape
    voxels_per_pixel = per_pixel / frame["pixel"]
    rows = (flat.shape[0] - 1) / 2 - (np.arange(height) + 0.5 - height / 2) * voxels_per_pixel
    columns = (flat.shape[1] - 1) / 2 + (np.arange(width) + 0.5 - width / 2) * voxels_per_pixel
    places = np.meshgrid(rows, columns, indexing="ij")
    wanted = ndimage.map_coordinates(flat, places, order=1, mode="constant") >= level
    overlap = (covered & wanted).sum() / (covered | wanted).sum()
    assert wanted.sum() > 5000
    assert overlap > 0.96  # the edge of one voxel in a silhouette some 25 across


def test_pictures_are_drawn_to_the_end_and_not_beyond_while_nobody_moves(opened: Visit) -> None:
    opened.page.evaluate("performance.clearMeasures()")
    for _ in range(3):
        opened.page.wait_for_timeout(700)
        pressed = opened.page.evaluate("performance.now()")
        opened.page.locator(".stage").press("ArrowLeft")
        opened.changed()
        spans = opened.page.evaluate(
            "performance.getEntriesByType('measure').filter(each => each.name.startsWith('surface'))"
            ".map(each => [each.startTime, each.startTime + each.duration, each.name])"
        )
        assert spans
        assert not [span for span in spans if span[0] < pressed < span[1]]
        assert "surface, fine" in {name for *_, name in spans}


def test_a_click_on_the_plot_shows_another_density_and_says_which(opened: Visit) -> None:
    before = opened.density()
    opened.click(0.82, 0.85)
    caption = opened.says("Particle")
    assert np.abs(opened.density() - before).sum(-1).astype(bool).mean() > 0.01
    assert re.match(r"Particle \d+\s+shown: .*the nearest in this report \(latent distance [\d.]+\)", caption)


def test_dragging_over_the_plot_makes_the_density_follow(opened: Visit) -> None:
    opened.draw([(0.1, 0.4), (0.3, 0.5), (0.6, 0.7), (0.8, 0.8)])
    opened.says("Chosen latent")
    opened.keep("following")


def test_the_slider_of_a_series_moves_the_density(opened: Visit) -> None:
    page = opened.page
    page.get_by_role("tab", name=re.compile("PC1")).click()
    opened.changed()
    pictures = []
    for place in (0, 1.5, 4):
        slide(page.locator(".player input"), place)
        opened.changed()
        pictures.append(opened.density())
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(pictures[first] - pictures[second]).sum(-1).astype(bool).mean() > 0.01
    assert "frame 5 of 5" in page.locator(".caption").inner_text()
    page.locator(".player").scroll_into_view_if_needed()
    opened.keep("series")


def test_a_part_that_is_switched_off_loses_its_colour_and_the_others_keep_theirs(opened: Visit) -> None:
    before = opened.density()
    assert all(of_hue(before, hue) > 400 for hue in PART_HUES.values())
    opened.page.get_by_label("Show part 2", exact=True).uncheck()
    opened.changed()
    after = opened.density()
    assert of_hue(after, PART_HUES[2]) < 0.02 * of_hue(before, PART_HUES[2])
    assert of_hue(after, PART_HUES[1]) > 0.9 * of_hue(before, PART_HUES[1])


def test_a_higher_contour_covers_less(opened: Visit, scene: Scene) -> None:
    def covered() -> int:
        picture = opened.density()
        return int((np.abs(picture - picture[2, 2]).sum(-1) > 24).sum())

    before = covered()
    slide(opened.page.get_by_role("slider", name="Contour level"), 1.6 * scene.record["maps"]["level"])
    opened.changed()
    assert covered() < 0.9 * before


def test_a_lasso_holds_the_particles_that_python_finds_in_its_polygon(opened: Visit, scene: Scene) -> None:
    page = opened.page
    page.get_by_role("radio", name="Lasso").check()
    angles = np.linspace(0, 2 * np.pi, 40)
    opened.draw([(0.75 + 0.17 * np.cos(a), 0.8 + 0.16 * np.sin(a)) for a in angles])
    page.locator(".selected strong").wait_for()
    told = int(re.sub(r"\D", "", page.locator(".selected strong").inner_text().split(" of ")[0]))
    opened.changed()
    opened.keep("lasso")
    with page.expect_download() as waited:
        page.get_by_role("button", name="Download").click()
    selection = json.loads(Path(waited.value.path()).read_text(encoding="utf-8"))
    columns = {column["name"]: column for column in scene.record["particles"]["columns"]}
    x, y = (scene.arrays[columns[selection["made"][axis]]["values"]["name"]] for axis in ("x", "y"))
    within = inside(x.astype(float), y.astype(float), np.array(selection["made"]["polygon"]))
    assert 50 < told < len(x)
    assert selection["particles"] == np.flatnonzero(within).tolist()
    assert told == within.sum()
    assert (selection["run"], selection["count"], selection["schema"]) == ("made", len(x), 1)
    assert waited.value.suggested_filename == "selection_1.json"
    assert "--lasso selection_1.json" in page.locator(".selected .commands").inner_text()


def inside(x: np.ndarray, y: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether points [n] lie in a polygon [k, 2], by the sum of the angles under which its edges are seen."""
    to = polygon[None] - np.stack([x, y], 1)[:, None]
    after = np.roll(to, -1, axis=1)
    cross = to[..., 0] * after[..., 1] - to[..., 1] * after[..., 0]
    return np.abs(np.arctan2(cross, (to * after).sum(-1)).sum(1)) > np.pi


def test_a_path_has_each_particle_at_its_nearest_frame(opened: Visit, scene: Scene) -> None:
    page = opened.page
    page.get_by_role("radio", name="Path").check()
    opened.draw([(0.1, 0.4), (0.4, 0.6), (0.9, 0.9)])
    page.locator(".player .support rect").first.wait_for()
    titles = page.locator(".player .support title").evaluate_all("all => all.map(each => each.textContent)")
    counts = [int(re.sub(r"\D", "", title.split(":")[1])) for title in titles]
    assert len(counts) == 25
    assert sum(counts) == scene.record["particles"]["count"]
    assert page.locator(".player .support .few").count() == sum(count < 100 for count in counts)
    opened.changed()
    opened.keep("path")


def test_two_states_can_be_overlaid_set_side_by_side_and_subtracted(opened: Visit) -> None:
    page = opened.page
    page.locator(".card[data-state='0']").click()
    pictures = {"single": opened.density()}
    for mode in ("overlay", "side", "difference"):
        page.locator(f"input[value={mode}]").check()
        page.get_by_label("Compare with").select_option("state:1")
        opened.changed()
        pictures[mode] = opened.density()
        opened.keep(mode)
    assert of_hue(pictures["difference"], (0, 114, 178)) > 200
    assert of_hue(pictures["difference"], (213, 94, 0)) > 200
    left, right = np.array_split(pictures["side"], 2, axis=1)
    for half in (left, right):
        assert (np.abs(half - half[2, 2]).sum(-1) > 24).mean() > 0.02
    assert np.abs(pictures["overlay"] - pictures["single"]).sum(-1).astype(bool).mean() > 0.02


def test_the_address_of_a_view_brings_it_back(opened: Visit, visit: Visitor, report: Path) -> None:
    page = opened.page
    page.locator(".card[data-state='2']").click()
    page.get_by_label("Colour by").select_option("defocus")
    page.locator(".stage").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.get_by_label("Show part 1", exact=True).uncheck()
    opened.changed()
    page.get_by_role("button", name="Link").click()
    page.wait_for_function("location.hash.length > 1")
    again = visit(report.as_uri() + page.evaluate("location.hash"))
    again.at_rest()
    assert again.page.get_by_label("Colour by").input_value() == "defocus"
    assert not again.page.get_by_label("Show part 1", exact=True).is_checked()
    assert np.abs(again.density() - opened.density()).max(-1).mean() < 1


def test_the_page_is_used_without_a_mouse(opened: Visit) -> None:
    page = opened.page
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, summary, [tabindex="0"]')]
        .filter(each => !(each.getAttribute('aria-label') || each.labels?.[0]?.textContent
            || each.textContent).trim())
        .map(each => each.outerHTML)"""
    )
    assert unnamed == []
    reached = set()
    page.locator("body").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"plot", "stage", "SELECT", "card"} <= reached
    page.locator(".plot").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    opened.says("Particle")
    before = opened.density()
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    opened.changed()
    assert np.abs(opened.density() - before).sum(-1).astype(bool).mean() > 0.01
    page.keyboard.press("Shift+Tab")
    opened.keep("focus")


def test_a_lasso_can_be_drawn_with_keys(opened: Visit) -> None:
    page = opened.page
    page.get_by_role("radio", name="Lasso").check()
    page.locator(".plot").focus()
    for keys in ("ArrowRight", "ArrowUp", "ArrowLeft"):
        page.keyboard.press("Space")
        for _ in range(4):
            page.keyboard.press(f"Shift+{keys}")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    assert int(page.locator(".selected strong").inner_text().split(" of ")[0]) > 20


def test_a_picture_is_twice_as_large_on_a_clear_background(opened: Visit) -> None:
    page = opened.page
    page.get_by_label("Background of the picture").select_option("transparent")
    with page.expect_download() as waited:
        page.get_by_role("button", name="PNG").click()
    picture = Image.open(waited.value.path())
    picture.copy().save(artefacts() / "picture.png")
    box = page.locator(".stage").bounding_box()
    assert box is not None
    assert abs(picture.width - 2 * box["width"]) <= 2
    assert picture.getpixel((3, 3)) == (0, 0, 0, 0)
    alpha = np.asarray(picture)[..., 3]
    assert (alpha == 255).mean() > 0.05


def test_a_series_is_recorded_as_a_movie(opened: Visit) -> None:
    page = opened.page
    page.get_by_role("tab", name=re.compile("PC1")).click()
    with page.expect_download() as waited:
        page.get_by_role("button", name=re.compile("Movie")).click()
    movie = Path(waited.value.path()).read_bytes()
    assert len(movie) > 20_000
    assert movie[4:8] == b"ftyp" or movie[:4] == b"\x1a\x45\xdf\xa3"  # MP4, or WebM
    kind = "mp4" if movie[4:8] == b"ftyp" else "webm"
    played = page.context.new_page()
    played.goto("about:blank")
    ink = played.evaluate(INK, f"data:video/{kind};base64,{base64.b64encode(movie).decode()}")
    assert ink["top"] > 100  # the frame's number and its particles in words
    assert ink["all"] > ink["top"] + 2000  # the molecule
    played.screenshot(path=artefacts() / "movie.png")


def test_without_webgl2_the_page_says_so_and_is_otherwise_whole(visit: Visitor, report: Path) -> None:
    found = visit(
        report.as_uri(),
        before="""const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind === 'webgl2' ? null : get.call(this, kind, ...rest);
        };""",
    )
    found.page.get_by_text("This browser has no WebGL2").wait_for()
    assert found.page.locator("#states td img").count() == 9
    assert found.page.locator(".curve").count() > 0
    found.click(0.8, 0.8)
    found.page.locator(".marks .here").first.wait_for()
    found.keep("without-webgl2")


def test_the_page_is_dark_where_the_system_is(visit: Visitor, report: Path) -> None:
    found = visit(report.as_uri(), color_scheme="dark")
    found.at_rest()
    picture = found.density()
    assert picture[2, 2].mean() < 40
    assert of_hue(picture, PART_HUES[2]) > 400
    found.keep("dark", whole=True)

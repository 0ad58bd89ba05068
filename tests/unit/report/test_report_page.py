"""The page on disk: whole, closed to the network, no larger than allowed, and no danger to a run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import logging
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from scene_cases import GRID, shown_states, two_states

import morphem
from morphem.core.grid import Grid
from morphem.core.types import Volume
from morphem.data.errors import DataError
from morphem.report import api, page
from morphem.report.options import Preparation
from morphem.report.page import asset, inline_script, page_of, write_page
from morphem.report.scene.build import build_scene
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.shown import Shown

OPTIONS = SceneOptions(states=2, steps=2, measured=0)
SCRIPT = 'const end = "</script>", comment = "<!--"; document.title = end;'
STYLE = "body { color: black }"


class Elements(HTMLParser):
    """Attributes and text of every element, as a browser would part them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, ""))  # what follows is of none

    def of(self, tag: str, **attributes: str) -> list[str]:
        return [t for name, had, t in self.found if name == tag and attributes.items() <= had.items()]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny program in the place of the page's own."""
    monkeypatch.setattr(page, "asset", lambda name: SCRIPT if name == "page.js" else STYLE)


@pytest.fixture(scope="module")
def shown() -> Shown:
    return shown_states(200, with_images=False)


def test_scene_and_arrays_come_back_from_the_page(shown: Shown):
    scene = build_scene(shown, OPTIONS)
    elements = Elements(page_of(scene, SCRIPT, STYLE))
    assert json.loads(elements.of("script", id="morphem-scene")[0]) == scene.record
    packed = json.loads(elements.of("script", id="morphem-arrays")[0])
    assert set(packed) == set(scene.arrays)
    for name, array in scene.arrays.items():
        content = gzip.decompress(base64.b64decode(packed[name]))
        there = np.frombuffer(content, array.dtype.newbyteorder("<")).reshape(array.shape)
        np.testing.assert_array_equal(there, array)


def test_nothing_of_the_scene_ends_an_element(shown: Shown):
    wicked = "</script><script>alert(1)</script><!-- <b>"
    spoilt = replace(shown, title=wicked, subtitle=wicked, summary=((wicked, wicked),))
    text = page_of(build_scene(spoilt, OPTIONS), SCRIPT, STYLE)
    elements = Elements(text)
    assert len(elements.of("script")) == 3
    assert "alert(1)</script>" not in text
    assert "<b>" not in text
    assert json.loads(elements.of("script", id="morphem-scene")[0])["title"] == wicked


def test_the_policy_lets_the_script_run_and_nothing_else(shown: Shown):
    elements = Elements(page_of(build_scene(shown, OPTIONS), SCRIPT, STYLE))
    policy = next(
        attributes["content"]
        for tag, attributes, _ in elements.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    code = elements.of("script")[-1]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert not [rule for rule in rules.values() if re.search(r"http|\*|ws:|'self'", rule)]


def test_the_page_names_no_address_to_load_from(shown: Shown):
    elements = Elements(page_of(build_scene(shown, OPTIONS), SCRIPT, STYLE))
    addresses = [a.get("src") or a.get("href") for _, a, _ in elements.found if "src" in a or "href" in a]
    assert [each for each in addresses if not str(each).startswith("data:")] == []


def test_a_script_keeps_its_meaning_where_it_is_escaped():
    assert inline_script('a = "</script>"') == 'a = "<\\/script>"'
    assert inline_script('a = "</SCRIPT >"') == 'a = "<\\/SCRIPT >"'
    assert inline_script('a = "<!--"') == 'a = "<\\!--"'


def test_a_reader_without_scripts_sees_states_and_findings(shown: Shown):
    scene = build_scene(shown, OPTIONS)
    text = page_of(scene, SCRIPT, STYLE)
    without = text[text.index("<noscript>") : text.index("</noscript>")]
    assert "state_1" in without
    assert "state_2" in without
    assert html.escape(scene.record["findings"][0]["title"]) in without


def test_the_same_result_makes_the_same_page(shown: Shown, program: None, tmp_path: Path):
    pages = [write_page(shown, tmp_path / name, OPTIONS).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_page_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch, shown: Shown, tmp_path: Path):
    monkeypatch.setattr(page, "asset", lambda name: "x" * 600_000)
    with pytest.raises(DataError, match="PAGE-001"):
        write_page(shown, tmp_path / "page.html", replace(OPTIONS, megabytes=1.0))
    assert not (tmp_path / "page.html").exists()


def test_a_program_that_is_missing_is_named():
    with pytest.raises(DataError, match="PAGE-002"):
        asset("nothing.js")


@pytest.mark.slow
def test_twenty_noisy_states_at_128_voxels_fit_in_25_megabytes(program: None, tmp_path: Path):
    grid = Grid(128, 1.5)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(4000, 3, generator=generator)
    axis = grid.axis()
    ball = ((axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < 60**2).float()

    def noisy(z: torch.Tensor) -> Volume:
        noise = torch.randn(128, 128, 128, generator=torch.Generator().manual_seed(int(1e4 * z.abs().sum())))
        return Volume(ball + 0.1 * noise, grid)

    shown = Shown("noise", "", latents, grid, noisy)
    path = write_page(shown, tmp_path / "page.html", SceneOptions(states=20))
    assert 15e6 < path.stat().st_size <= 25e6
    scene = json.loads(Elements(path.read_text()).of("script", id="morphem-scene")[0])
    assert len(scene["states"]) == 20
    assert 48 <= scene["maps"]["box"] < 128
    assert "Maps are shown coarser than they are" in {each["title"] for each in scene["findings"]}


@pytest.mark.usefixtures("program")
def test_a_run_ends_with_a_page(tmp_path: Path):
    stack, _ = two_states(60)
    morphem.reconstruct("backprojection", stack, tmp_path, preparation=Preparation(sign=1.0))
    text = (tmp_path / "report.html").read_text()
    scene = json.loads(Elements(text).of("script", id="morphem-scene")[0])
    assert scene["particles"]["count"] == 60
    assert scene["maps"]["box"] == GRID.box


def test_a_page_that_fails_does_not_lose_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(api, "write_page", fail)
    stack, _ = two_states(60)
    with caplog.at_level(logging.WARNING, "morphem"):
        found = morphem.reconstruct("backprojection", stack, tmp_path, preparation=Preparation(sign=1.0))
    assert torch.equal(morphem.load(tmp_path).mean().voxels, found.mean().voxels)
    assert "no ink" in caplog.text
    assert "no ink" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "report.html").exists()

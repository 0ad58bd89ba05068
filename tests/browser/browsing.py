"""A page that is open in a browser, and what a hand can do on it."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from made_result import artefacts
from PIL import Image
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.page import serving as serving


@dataclass(frozen=True)
class Visit:
    """A page that is open, and what happened on it.

    Attributes:
        page: The page.
        errors: Errors it raised or wrote to the console.
        requests: Addresses outside the page that it asked for.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def at_rest(self) -> None:
        """Wait until the density has been drawn as finely as it will be."""
        self.page.wait_for_selector('.stage[data-rest="true"]')

    def says(self, start: str) -> str:
        """All that stands over the density, as soon as it begins so and the density is at rest."""
        self.page.locator(".caption", has_text=re.compile(f"^{start}")).wait_for()
        self.changed()
        return self.page.locator(".caption").inner_text()

    def changed(self) -> None:
        """Wait until the density is drawn anew, then until it is at rest."""
        self.page.wait_for_timeout(250)
        self.at_rest()

    def density(self) -> np.ndarray:
        """Colours of the density's canvas, without what is written over it."""
        self.page.add_style_tag(content=".caption, .key, .scalebar, .triad { opacity: 0; }")
        shot = self.page.locator(".stage").screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)

    def keep(self, name: str, whole: bool = False) -> None:
        """Leave a picture of the page."""
        self.page.screenshot(path=artefacts() / f"{name}.png", full_page=whole)

    def plane(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        """Where on the screen shares of the plot's plane are, from its lower left corner."""
        self.page.locator(".plot").evaluate("plot => plot.scrollIntoView({block: 'center'})")
        box = self.page.locator(".plot .border").bounding_box()
        assert box is not None
        return [(box["x"] + x * box["width"], box["y"] + (1 - y) * box["height"]) for x, y in points]

    def click(self, x: float, y: float) -> None:
        """Click on a share of the plot's plane."""
        [place] = self.plane((x, y))
        self.page.mouse.click(*place)

    def draw(self, points: list[tuple[float, float]]) -> None:
        """Drag over shares of the plot's plane."""
        first, *rest = self.plane(*points)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for place in rest:
            self.page.mouse.move(*place)
        self.page.mouse.up()


Visitor = Callable[..., Visit]

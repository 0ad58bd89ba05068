"""A real browser on real pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Visit, Visitor
from made_result import made_result
from playwright.sync_api import Browser, Playwright, Route, sync_playwright

from morphem.report.page import asset, page_of
from morphem.report.scene.build import Scene, build_scene
from morphem.report.scene.options import SceneOptions

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
)
SIZE = {"width": 1040, "height": 640}  # two columns, and few pixels for a processor that draws them
PATIENCE = 120_000  # ms; a machine without graphics card, busy with other things


def chromium() -> str:
    """The browser's path; without one the tests are passed over, but not where they must run."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no chromium on this machine, and CI=true asks for one: install it")
    if found is None:
        pytest.skip("no chromium on this machine")
    return found


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """The driver of browsers."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One browser for all tests."""
    browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def scene() -> Scene:
    """What the report shows."""
    return build_scene(made_result(), SceneOptions(states=3, steps=5))


@pytest.fixture(scope="session")
def report(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on disk."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(scene, asset("page.js"), asset("page.css")), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visitor]:
    """Opens an address in a window of its own; errors fail the test that caused them."""
    visits: list[Visit] = []

    def open_page(address: str, before: str = "", **options: object) -> Visit:
        context = browser.new_context(
            viewport=SIZE,
            accept_downloads=True,
            **options,  # pyright: ignore[reportArgumentType]
        )
        context.set_default_timeout(PATIENCE)
        visit = Visit(context.new_page())
        visits.append(visit)
        own = address.split("?")[0].rsplit("/", 1)[0]

        def watch(route: Route) -> None:
            if not route.request.url.startswith((own, "data:", "blob:")):
                visit.requests.append(route.request.url)
            route.continue_()

        context.route("**/*", watch)
        visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.page.on(
            "console", lambda told: visit.errors.append(told.text) if told.type == "error" else None
        )
        if before:
            visit.page.add_init_script(before)
        visit.page.goto(address)
        return visit

    yield open_page
    for visit in visits:
        visit.page.context.close()
    assert not [error for visit in visits for error in visit.errors]


@pytest.fixture
def opened(visit: Visitor, report: Path) -> Visit:
    """The report, open and at rest."""
    found = visit(report.as_uri())
    found.at_rest()
    return found

"""How quickly the live page answers a hand, with a million particles: points, lasso, click to density.

Run as ``python -m benchmarks.page [--particles 1000000] [--json benchmarks/results/page.json]``. A mixture
of 2,048 Gaussians on 64³ voxels is made, served, and used in a headless Chromium, whose WebGL falls back to
SwiftShader where there is no graphics card: an upper bound on what a desk shows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import uvicorn
from playwright.sync_api import Page, sync_playwright

import morphem
from morphem.core.grid import Grid
from morphem.core.types import GaussianMixture, Volume
from morphem.physics.gaussians import rasterise
from morphem.report.scene.build import build_scene
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.shown import Shown
from morphem.report.viewer.gate import Gate, names_of, new_token
from morphem.report.viewer.live import Live, Opened
from morphem.report.viewer.page import live_page
from morphem.report.viewer.server import application, largest_request
from morphem.report.viewer.serving import bind

BOX, PIXEL, GAUSSIANS, LATENT = 64, 3.0, 2048, 4
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--enable-unsafe-swiftshader",
)
PATIENCE = 300_000  # ms


def made(particles: int) -> Shown:
    """A blob of Gaussians of which one half turns with the first number of the latent."""
    torch.manual_seed(0)
    grid = Grid(BOX, PIXEL)
    rest = torch.randn(GAUSSIANS, 3) * torch.tensor([22.0, 30.0, 16.0])
    moves = rest[:, 1] > 0
    scales = torch.full((GAUSSIANS,), 3.2)
    heights = torch.full((GAUSSIANS,), 0.2)

    def decode(z: torch.Tensor) -> Volume:
        angle = 0.25 * float(z[0])
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]]
        )
        return rasterise(
            GaussianMixture(torch.where(moves[:, None], rest @ turn.T, rest), scales, heights), grid
        )

    scale = torch.tensor([1.0, 0.7, 0.4, 0.2])[:LATENT]
    return Shown("made", "a mixture made for this", torch.randn(particles, LATENT) * scale, grid, decode)


@contextmanager
def served(shown: Shown) -> Iterator[str]:
    """The address of its live page."""
    live = Live(Opened(shown, build_scene(shown, SceneOptions(states=3, steps=3), live=True)))
    live.warm()
    bound, token = bind("127.0.0.1", 0), new_token()
    gate = Gate(token, names_of("127.0.0.1"), largest_request(len(shown.latents)))
    app = application(live, live_page(shown.title), gate)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound.listener]}, daemon=True)
    thread.start()
    yield bound.address(token)
    server.should_exit = True
    thread.join()


def measured(page: Page, clicks: int) -> dict[str, Any]:
    """Times of moving the plot, drawing a lasso and clicking, ms."""
    page.wait_for_selector('.stage[data-rest="true"]')
    page.get_by_label("Colour by").select_option("PC3")
    page.wait_for_timeout(1500)
    box = page.locator(".plot .border").bounding_box()
    if box is None:
        raise RuntimeError("the plot is not to be seen")

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(points: list[tuple[float, float]]) -> None:
        page.mouse.move(*at(*points[0]))
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*at(*point))
            page.wait_for_timeout(8)
        page.mouse.up()

    circle = [(0.5 + 0.25 * math.cos(k / 10), 0.5 + 0.25 * math.sin(k / 10)) for k in range(63)]
    taken(page)
    page.locator("input[value=pan]").check()
    page.evaluate(FRAMES)
    drag(circle)
    frames = page.evaluate("window.frames_taken")
    page.wait_for_timeout(1500)
    drawn = taken(page)["scatter"]
    page.locator("input[value=lasso]").check()
    drag(circle)
    page.locator(".selected strong").wait_for()
    lasso = taken(page)["lasso"]
    page.get_by_role("button", name="Clear").click()
    page.locator("input[value=pick]").check()
    return {
        "frame_median": round(statistics.median(frames)),
        "points_moving_median": round(statistics.median(drawn[:-1])),
        "points_all": round(drawn[-1]),
        "lasso": round(lasso[-1]),
        "click_to_density": [clicked(page, at(0.2 + 0.6 * k / clicks, 0.5)) for k in range(clicks)],
    }


def clicked(page: Page, place: tuple[float, float]) -> int:
    """From a click until the density of its particle has been drawn, ms."""
    page.wait_for_selector('.stage[data-rest="true"]')
    taken(page)
    page.evaluate(
        "addEventListener('pointerdown', () => { window.clicked_at = performance.now(); }, {capture: true})"
    )
    before = page.locator(".caption").inner_text()
    page.mouse.click(*place)
    page.wait_for_function("before => document.querySelector('.caption').innerText !== before", arg=before)
    page.wait_for_selector('.stage[data-rest="true"]')
    ends = page.evaluate(
        "performance.getEntriesByName('surface').map(e => e.startTime + e.duration - window.clicked_at)"
    )
    return round(min(end for end in ends if end > 0))


FRAMES = """() => {
    window.frames_taken = [];
    let before = performance.now();
    const step = (now) => {
        window.frames_taken.push(now - before);
        before = now;
        if (window.frames_taken.length < 400) requestAnimationFrame(step);
    };
    requestAnimationFrame((now) => { before = now; requestAnimationFrame(step); });
}"""


def taken(page: Page) -> dict[str, list[float]]:
    """Times that the page has measured of itself since the last look, ms."""
    entries = page.evaluate(
        """() => {
        const all = performance.getEntriesByType('measure').map(each => [each.name, each.duration]);
        performance.clearMeasures();
        return all;
    }"""
    )
    return {
        name: [time for other, time in entries if other == name] for name in {name for name, _ in entries}
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no chromium on this machine")
    with served(made(options.particles)) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE)
        begun = time.monotonic()
        page.goto(address)
        page.wait_for_selector(".plot .border")
        opened = round(1000 * (time.monotonic() - begun))
        times = {"open": opened, **measured(page, options.clicks)}
        version = browser.version
        browser.close()
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "morphem": morphem.__version__,
        "particles": options.particles,
        "chromium": version,
        "flags": list(FLAGS),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "machine": platform.machine(),
        "milliseconds": times,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

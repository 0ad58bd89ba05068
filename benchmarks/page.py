"""How quickly the live page answers a hand, with a million particles: points, lasso, click to density.

Run as ``python -m benchmarks.page [--particles 1000000] [--json benchmarks/results/page.json]``. Mixtures of
2,048 and of 4,096 Gaussians in three parts, moved by the networks of CryoSPIRE's fine stage, on 64³ voxels,
are made, served, and used in a headless Chromium, whose WebGL falls back to SwiftShader where there is no
graphics card: an upper bound on what a desk shows. A click ends with the frame after the one that drew its
density.
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
from tempfile import TemporaryDirectory
from typing import Any

import torch
import uvicorn
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

import morphem
from morphem.core.grid import Grid
from morphem.models.density import save_density
from morphem.models.gaussian_density import AnchoredMixture
from morphem.report.scene.build import build_scene
from morphem.report.scene.options import SceneOptions
from morphem.report.scene.parts import labels_at
from morphem.report.scene.shown import Shown
from morphem.report.viewer.gate import Gate, names_of, new_token
from morphem.report.viewer.live import Live, Opened
from morphem.report.viewer.page import live_page
from morphem.report.viewer.server import application, largest_request
from morphem.report.viewer.serving import bind

BOX, PIXEL, LATENT, PARTS = 64, 3.0, 4, 3
SIZES = 2048, 4096  # Gaussians
LAST = {
    "motion.last.weight": 0.05,
    "displacement.trunk.4.weight": 2e-3,
}  # spread of layers that begin at zero
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--enable-unsafe-swiftshader",
)
PATIENCE = 300_000  # ms


def made(particles: int, gaussians: int, folder: Path) -> Opened:
    """A blob of Gaussians whose three parts move with the latent, as a run has it; its maps fill the box."""
    torch.manual_seed(0)
    grid = Grid(BOX, PIXEL)
    density = AnchoredMixture(gaussians, PARTS, 24, LATENT, (32, 16, "products"), grid.extent).eval()
    with torch.no_grad():
        density.part.copy_(torch.arange(gaussians) % PARTS)
        density.anchor_centres.copy_(torch.tensor([[0.0, -0.25, 0.0], [0.0, 0.0, 0.05], [0.0, 0.25, 0.0]]))
        density.offsets.copy_(torch.randn(gaussians, 3) * torch.tensor([0.13, 0.09, 0.11]))
        density.anchor_features.normal_()
        density.log_scales.fill_(math.log(0.017))
        density.amplitudes.fill_(0.2)
        for name, weight in density.named_parameters():
            if name in LAST:
                weight.normal_(std=LAST[name])
    save_density(density, folder / "density.safetensors")
    spread = torch.tensor([1.0, 0.7, 0.4, 0.2])[:LATENT]
    shown = Shown(
        "made",
        "a mixture made for this",
        torch.randn(particles, LATENT) * spread,
        grid,
        lambda z: density.volume(z, grid),
        lambda z, at: labels_at(density, z, at),
        record={"parts": [told(density, part) for part in range(PARTS)]},
    )
    return Opened(shown, build_scene(shown, SceneOptions(states=3, steps=3), live=True), folder)


def told(density: AnchoredMixture, part: int) -> dict[str, Any]:
    """A part as ``parts.json`` has it."""
    count = int((density.part == part).sum())
    unknown = {"rotation_degrees": 0.0, "travel": 0.0, "present": 1.0}
    centre = (density.anchor_centres[part] * density.extent).tolist()
    return {
        "part": part + 1,
        "mass": count / len(density.part),
        "gaussians": count,
        "centre": centre,
        **unknown,
    }


@contextmanager
def serving(live: Live) -> Iterator[str]:
    """The address, with its token, of a result's page on a server in a thread of this process."""
    shown = live.opened.shown
    bound, token = bind("127.0.0.1", 0), new_token()
    gate = Gate(token, names_of("127.0.0.1"), largest_request(len(shown.latents)))
    app = application(live, live_page(shown.title), gate)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound.listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield bound.address(token)
    server.should_exit = True
    thread.join()


def plot_box(page: Page) -> FloatRect:
    """Where the plot is, once the page has come to rest."""
    page.wait_for_selector('.stage[data-rest="true"]')
    box = page.locator(".plot .border").bounding_box()
    if box is None:
        raise RuntimeError("the plot is not to be seen")
    return box


def scatter(page: Page) -> dict[str, Any]:
    """Times of moving the plot and drawing a lasso, ms."""
    page.get_by_label("Colour by").select_option("PC3")
    page.wait_for_timeout(1500)
    box = plot_box(page)

    def drag(points: list[tuple[float, float]]) -> None:
        for k, (x, y) in enumerate(points):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if k == 0:
                page.mouse.down()
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
    return {
        "frame_median": round(statistics.median(frames)),
        "points_moving_median": round(statistics.median(drawn[:-1])),
        "points_all": round(drawn[-1]),
        "lasso": round(lasso[-1]),
    }


def clicks(page: Page, count: int) -> dict[str, Any]:
    """Times from a click until the density of its particle is seen, and what the server took of them, ms."""
    page.locator("input[value=pick]").check()
    box = plot_box(page)
    page.evaluate(CLICKS)
    found = []
    for k in range(count):
        page.mouse.click(box["x"] + (0.2 + 0.6 * k / count) * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_function("() => window.click.seen !== undefined")
        found.append(page.evaluate("window.click"))
        page.wait_for_selector('.stage[data-rest="true"]')
        page.wait_for_timeout(300)
    names = "answered", "sent", "drawn", "seen"
    every = {name: [round(each[name] - each["at"]) for each in found] for name in names}
    medians = {name: round(statistics.median(times)) for name, times in every.items()}
    server = [round(each["server"], 1) for each in found]
    return {"median": {"server": statistics.median(server), **medians}, "server": server, **every}


CLICKS = """() => {
    addEventListener('pointerdown', (event) => {
        performance.clearMeasures();
        performance.clearResourceTimings();
        window.click = {at: event.timeStamp};
    }, {capture: true});
    // an answer may be told of after the picture that was made of it
    new PerformanceObserver(() => {
        const answers = performance.getEntriesByType('resource');
        const answer = answers.findLast(one => one.name.endsWith('/api/map'));
        const own = (each) => each.startTime >= answer.responseEnd
            && each.detail.maps.every(name => name.startsWith('latent:'));
        const drawn = answer && performance.getEntriesByName('surface').find(own);
        if (!drawn || window.click.drawn) return;
        window.click.server = answer.responseStart - answer.requestStart;
        window.click.answered = answer.responseEnd;
        window.click.sent = drawn.startTime;
        window.click.drawn = drawn.startTime + drawn.duration;
        requestAnimationFrame(() => { window.click.seen = performance.now(); });
    }).observe({entryTypes: ['measure', 'resource']});
}"""
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


def opened(browser: Browser, address: str) -> tuple[Page, int]:
    """The page, and the time until its plot was there, ms."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE)
    begun = time.monotonic()
    page.goto(address)
    page.wait_for_selector(".plot .border")
    return page, round(1000 * (time.monotonic() - begun))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--clicks", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no chromium on this machine")
    times: dict[str, Any] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        for size in SIZES:
            with TemporaryDirectory() as folder:
                live = Live(made(options.particles, size, Path(folder)))
                live.warm()
                with serving(live) as address:
                    page, took = opened(browser, address)
                    if size == SIZES[0]:
                        times = {"open": took, **scatter(page), "click": {}}
                    times["click"][str(size)] = clicks(page, options.clicks)
                    page.close()
        version = browser.version
        browser.close()
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "morphem": morphem.__version__,
        "particles": options.particles,
        "box": BOX,
        "chromium": version,
        "flags": list(FLAGS),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
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

"""The live page on a server that runs: any latent, the mean of a lasso, images of its particles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from browsing import Visitor, serving
from made_result import made_latents, made_result

from morphem.core.grid import Grid
from morphem.data.stack import open_stack
from morphem.report.scene.build import build_scene
from morphem.report.scene.options import SceneOptions
from morphem.report.viewer.live import Live, Opened
from morphem.simulate.datasets import plan, write_dataset
from morphem.simulate.hinge import hinge

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Served:
    """A server in a thread of this process.

    Attributes:
        address: Of the page, with its token.
        maps: Latents of which maps have been asked for, in that order.
    """

    address: str
    maps: list[list[float]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The made result with 200 simulated images, served."""
    folder = tmp_path_factory.mktemp("set")
    write_dataset(folder, plan(hinge(), 200, Grid(32, 8.0)))
    stack = open_stack(Path(folder) / "particles.star")
    shown = made_result(stack, stack.poses)
    live = Live(Opened(shown, build_scene(shown, SceneOptions(states=2, steps=3), live=True)))
    wishes: list[list[float]] = []
    answer = live.map

    def noted(asked: object) -> bytes:
        assert isinstance(asked, dict)
        wishes.append(asked["latent"])
        return answer(asked)

    live.map = noted
    with serving(live) as address:
        yield Served(address, wishes)


def test_the_token_leaves_the_address_bar_and_a_click_shows_the_density_of_that_particle(
    served: Served, visit: Visitor
) -> None:
    found = visit(served.address)
    found.at_rest()
    assert "token" not in found.page.evaluate("location.href")
    assert "live" in found.page.locator(".brand").inner_text()
    before = found.density()
    begun = len(served.maps)
    found.click(0.9, 0.8)
    caption = found.says("Particle")
    particle = int(re.sub(r"\D", "", caption))
    assert "shown:" not in caption
    wanted = made_latents(200)[0][particle]
    torch.testing.assert_close(torch.tensor(served.maps[begun]), wanted, rtol=0, atol=1e-3)
    assert np.abs(found.density() - before).sum(-1).astype(bool).mean() > 0.005
    assert found.requests == []


def test_dragging_asks_for_one_map_at_a_time_and_ends_at_the_last_place(
    served: Served, visit: Visitor
) -> None:
    found = visit(served.address)
    found.at_rest()
    begun = len(served.maps)
    found.draw([(0.1 + 0.04 * k, 0.7) for k in range(20)])
    found.says("Chosen latent")
    asked = served.maps[begun:]
    assert 1 <= len(asked) <= 20
    spread = found.page.evaluate(
        "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/api/map'))"
        ".map(each => [each.startTime, each.responseEnd])"
    )
    assert all(after[0] >= before[1] - 1 for before, after in pairwise(spread))


def test_a_lasso_gives_the_mean_map_and_the_images_of_its_particles(served: Served, visit: Visitor) -> None:
    found = visit(served.address)
    page = found.page
    found.at_rest()
    page.get_by_role("radio", name="Lasso").check()
    found.draw([(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.03)])
    page.get_by_role("button", name="Mean map").click()
    page.get_by_text(re.compile("Mean of .* images of .* selected particles")).first.wait_for()
    found.says("Mean of")
    picture = found.density()
    assert (np.abs(picture - picture[2, 2]).sum(-1) > 24).mean() > 0.02
    page.get_by_role("button", name="Images").click()
    page.locator(".montage canvas").first.wait_for()
    assert page.locator(".montage .tiles").count() >= 2
    page.locator(".montage").scroll_into_view_if_needed()
    found.keep("live-montage")
    page.get_by_role("button", name="Keep").click()
    page.locator(".answer .problem").wait_for()  # this result is no run, so there is nowhere to keep it
    found.errors.clear()  # the browser notes the refusal itself

"""Particles in a lasso, taken to RELION and to cryoSPARC with a click, and opened there by others."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import starfile
import torch
from browsing import Visit, Visitor, serving
from playwright.sync_api import Download

from finished import cs_set, finished_run, star_set
from morphem.data.metadata import MetadataOptions
from morphem.data.stack import open_stack
from morphem.report.scene.options import SceneOptions
from morphem.report.selection import read_selection
from morphem.report.viewer.live import Live
from morphem.report.viewer.opening import open_result

pytestmark = [
    pytest.mark.slow,
    # the sets are too small for what half maps would tell
    pytest.mark.filterwarnings("ignore::morphem.data.errors.MetadataWarning"),
]
Dataset = pytest.importorskip("cryosparc.dataset").Dataset
COUNT = 60


@pytest.fixture(scope="module")
def of_relion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A project of RELION's with a finished run, and the address of its page."""
    folder = tmp_path_factory.mktemp("relion")
    yield from served(folder, star_set(folder, COUNT))


@pytest.fixture(scope="module")
def of_cryosparc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A project of cryoSPARC's, likewise."""
    folder = tmp_path_factory.mktemp("cryosparc")
    yield from served(folder, cs_set(folder, COUNT))


def served(folder: Path, particles: Path) -> Iterator[tuple[Path, str]]:
    run = finished_run(folder / "run", particles)
    with serving(Live(open_result(run, options=SceneOptions(states=2, steps=3, measured=0)))) as address:
        yield folder, address


def lasso(found: Visit) -> None:
    """Draw around the upper two thirds of the plane."""
    found.at_rest()
    found.page.get_by_role("radio", name="Lasso").check()
    found.draw([(0.01, 0.35), (0.99, 0.35), (0.99, 0.99), (0.01, 0.99), (0.01, 0.36)])
    found.page.locator(".selected strong").wait_for()


def taken(found: Visit, ending: str) -> Download:
    """The file of a click on the button of a format."""
    with found.page.expect_download() as waited:
        found.page.get_by_role("button", name=ending, exact=True).click()
    return waited.value


def test_a_lasso_goes_to_relion_with_every_column_and_comes_back_bit_for_bit(
    of_relion: tuple[Path, str], visit: Visitor, tmp_path: Path
) -> None:
    project, address = of_relion
    found = visit(address)
    lasso(found)
    found.page.get_by_role("button", name="Keep", exact=True).click()
    found.page.get_by_text("kept in").wait_for()
    file = taken(found, ".star")  # kept before, exported now: no conflict
    assert file.suggested_filename == "selection_1.star"
    file.save_as(tmp_path / file.suggested_filename)
    rows = read_selection(project / "run", "selection_1").particles
    assert 5 < len(rows) < COUNT
    before = starfile.read(project / "Refine/particles.star")["particles"].iloc[rows].reset_index(drop=True)
    after = starfile.read(tmp_path / "selection_1.star")["particles"]
    kept = [name for name in before.columns if name != "rlnImageName"]
    assert after[kept].equals(before[kept])
    latents = np.stack([after[f"morphemLatent{k}"] for k in (1, 2, 3)], 1)
    np.testing.assert_allclose(latents, np.load(project / "run/latents.npy")[rows], atol=1e-5)
    again = open_stack(tmp_path / "selection_1.star")
    first = open_stack(project / "Refine/particles.star")
    everything = torch.arange(len(rows))
    assert torch.equal(again.read(everything).images, first.read(torch.from_numpy(rows)).images)
    assert torch.equal(again.poses.rotation, first.poses.rotation[rows])


def test_a_lasso_goes_to_cryosparc_with_exact_uids_and_comes_back_bit_for_bit(
    of_cryosparc: tuple[Path, str], visit: Visitor, tmp_path: Path
) -> None:
    project, address = of_cryosparc
    found = visit(address)
    lasso(found)
    file = taken(found, ".cs")
    assert file.suggested_filename == "selection_1-cs.zip"
    file.save_as(tmp_path / "taken.zip")
    with zipfile.ZipFile(tmp_path / "taken.zip") as together:
        together.extractall(tmp_path)
    rows = read_selection(project / "run", "selection_1").particles
    before = Dataset.load(str(project / "J9/J9_particles.cs"))
    after = Dataset.load(str(tmp_path / "selection_1.cs"))
    assert 5 < len(rows) < COUNT
    for name in before.fields():
        assert np.array(after[name]).tobytes() == np.array(before[name])[rows].tobytes()
    passed = Dataset.load(str(tmp_path / "selection_1_passthrough_particles.cs"))
    assert len(after.innerjoin(passed)) == len(rows)
    again = open_stack(tmp_path / "selection_1.csg", MetadataOptions(datadir=project))
    first = open_stack(project / "J9/J9_particles.cs")
    everything = torch.arange(len(rows))
    assert torch.equal(again.read(everything).images, first.read(torch.from_numpy(rows)).images)


def test_particles_of_relion_are_refused_to_cryosparc_with_what_to_do_instead(
    of_relion: tuple[Path, str], visit: Visitor
) -> None:
    found = visit(of_relion[1])
    lasso(found)
    found.page.get_by_role("textbox", name="Name of the selection").fill("other")
    found.page.get_by_role("button", name=".cs", exact=True).click()
    found.page.locator(".answer .problem", has_text="EXPORT-001").wait_for()
    assert "--to star" in found.page.locator(".answer .problem").inner_text()
    found.errors.clear()  # the browser notes the refusal itself

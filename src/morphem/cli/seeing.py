"""The commands that show a result: a page on disk, a live one in the browser."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from morphem.cli.commands import Argument
from morphem.report.scene.options import USUAL, SceneOptions


@dataclass(frozen=True)
class ReportOptions:
    """One page on a run that opens anywhere, without network or server, and figures for papers."""

    run: Argument[Path]
    """The run's folder; also one that `morphem infer` wrote."""
    particles: Path | None = None
    """The particle file, where it has moved; without images states are not held against them."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Where to write the page; RUN/report.html by default."""
    figures_only: bool = False
    """Write RUN/figures alone."""
    scene: Annotated[SceneOptions, tyro.conf.arg(name="")] = USUAL
    """What the page shows."""


def report(arguments: list[str]) -> int:
    """Write the page and the figures of a run."""
    options = tyro.cli(ReportOptions, args=arguments, prog="morphem report")
    from morphem.report.api import load
    from morphem.report.figures import write_figures
    from morphem.report.page import write_report

    if (options.run / "summary.json").is_file():
        figures = write_figures(options.run, load(options.run))
        print(f"{len(figures)} figures in {options.run / 'figures'}")
    if not options.figures_only:
        page = write_report(options.run, options.scene, options.particles, options.out, _tell)
        print(f"{page} ({page.stat().st_size / 1e6:.1f} MB) opens in any browser")
    return 0


@dataclass(frozen=True)
class ViewOptions:
    """A live page on a result: maps of any latent, subsets and their mean maps, particle images.

    It is served on this machine alone, to whoever has the address that is printed; Ctrl-C ends it.
    """

    result: Argument[Path]
    """A run, an output of cryoDRGN, RECOVAR or 3D Variability, or maps (.mrc) with or without a table."""
    particles: Path | None = None
    """The particle file, where it has moved or nothing tells."""
    states: int = 0
    """States to show, at most 20; 5 by default, fewer where there are few particles."""
    port: int = 0
    """Port to listen on; a free one by default."""
    host: str = "127.0.0.1"
    """Address to listen on; others than the default can be reached from other machines, unencrypted."""
    open: bool = True
    """Open the page in the browser, where there is a screen."""
    idle: float = 0
    """Minutes without a request after which the server ends; 0 for never."""


def view(arguments: list[str]) -> int:
    """Serve the live page of a result until it is stopped."""
    options = tyro.cli(ViewOptions, args=arguments, prog="morphem view")
    try:
        return _view(options)
    except KeyboardInterrupt:
        print("closed")
        return 0


def _view(options: ViewOptions) -> int:
    from morphem.report.viewer.browser import has_screen, opened
    from morphem.report.viewer.gate import Gate, names_of, new_token
    from morphem.report.viewer.live import Live
    from morphem.report.viewer.opening import open_result
    from morphem.report.viewer.page import live_page
    from morphem.report.viewer.server import application, largest_request
    from morphem.report.viewer.serving import bind, serve

    bound, token = bind(options.host, options.port), new_token()
    result = open_result(options.result, options.particles, SceneOptions(states=options.states), _tell)
    gate = Gate(token, names_of(options.host), largest_request(len(result.shown.latents)))
    live = Live(result)
    live.warm()
    server = application(live, live_page(result.shown.title), gate)
    print(f"{result.shown.title}: {result.shown.subtitle}\n{bound.address(token)}")
    print(f"from another machine, type there first: {bound.tunnel()}")
    if bound.is_open:
        print("note: other machines can reach this server, and nothing is encrypted on the way")
    print("Ctrl-C ends it", flush=True)
    with opened(bound.address(token)) if options.open and has_screen() else nullcontext():
        ended = serve(server, bound, options.idle)
    print(f"closed after {options.idle:g} minutes without a request" if ended else "closed")
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr)

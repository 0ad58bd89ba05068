"""One file on a run that opens anywhere: the page's program, the scene, its arrays, and no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from morphem.data.errors import DataError
from morphem.engine.files import write_bytes
from morphem.report.scene.build import Scene, build_scene
from morphem.report.scene.exhibits import packed
from morphem.report.scene.options import USUAL, SceneOptions
from morphem.report.scene.run import shown_run
from morphem.report.scene.shown import Shown

PAGE = "report.html"
_TRIES = 4
_TIGHTER = 0.95  # of the room that is left for maps, each time a page turns out too large


def write_report(
    run: Path,
    options: SceneOptions = USUAL,
    particles: Path | None = None,
    out: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Write the page of a run.

    Args:
        run: Its folder.
        options: What to show.
        particles: The particle file, where it has moved or the run does not tell.
        out: Where to; ``RUN/report.html`` by default.
        tell: Is told what has been done.

    Returns:
        The page.
    """
    return write_page(shown_run(run, particles), out or Path(run) / PAGE, options, tell)


def write_page(
    shown: Shown,
    out: Path,
    options: SceneOptions = USUAL,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Write the page of any result; it is not larger than the options say.

    Raises:
        DataError: If it does not fit with maps as coarse as they are made.
    """
    script, style = asset("page.js"), asset("page.css")
    limit = int(1e6 * options.megabytes)
    room, taken = options.megabytes - len((script + style).encode()) / 1e6, 0
    for _ in range(_TRIES):
        scene = build_scene(shown, replace(options, megabytes=max(1.0, room)), tell=tell)
        content = page_of(scene, script, style).encode()
        taken = len(content)
        if taken <= limit:
            write_bytes(out, content)
            return out
        room = _TIGHTER * (room - (taken - limit) / 1e6)
    met = f"{out} would take {taken / 1e6:.1f} MB of {options.megabytes:g}"
    raise DataError("PAGE-001", f"{met}; ask for fewer states, or allow a larger page")


def page_of(scene: Scene, script: str, style: str) -> str:
    """The page's text.

    Nothing in it can reach a network: the policy at its head lets run the one script whose hash it names, and
    load nothing but what is in the page.
    """
    code = inline_script(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src blob:; font-src data:; worker-src blob:; connect-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
    arrays = {name: packed(array) for name, array in scene.arrays.items()}
    title = html.escape(f"{scene.record['title']}: {scene.record['subtitle']}")
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">',
        f"<title>{title}</title>",
        f"<style>{inline_style(style)}</style>\n</head>\n<body>",
        f"<noscript>{plain_page(scene.record)}</noscript>",
        f'<script id="morphem-scene" type="application/json">{inline_json(scene.record)}</script>',
        f'<script id="morphem-arrays" type="application/json">{inline_json(arrays)}</script>',
        f"<script>{code}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def asset(name: str) -> str:
    """A file of the page's program, as it was built into the package.

    Raises:
        DataError: If the package was installed without it.
    """
    path = files("morphem.report") / "assets" / name
    if not path.is_file():
        raise DataError("PAGE-002", f"this copy of morphem has no {name}; build it (npm run build in web/)")
    return path.read_text(encoding="utf-8")


def inline_json(value: Any) -> str:
    """JSON that no HTML parser takes for markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def inline_script(text: str) -> str:
    """A script whose strings end no element and begin no comment."""
    text = re.sub(r"</(script)", r"<\\/\1", text, flags=re.IGNORECASE)
    return text.replace("<!--", "<\\!--")


def inline_style(text: str) -> str:
    """A style sheet that ends no element."""
    return re.sub(r"</(style)", r"<\\/\1", text, flags=re.IGNORECASE)


def plain_page(record: Mapping[str, Any]) -> str:
    """The summary, the findings and the states for a reader without scripts."""
    summary = "".join(_row(pair) for pair in record["summary"])
    findings = "".join(
        f"<li><strong>{_text(each['verdict'])}: {_text(each['title'])}.</strong> {_text(each['text'])}</li>"
        for each in record["findings"]
    )
    states = "".join(_state(state) for state in record["states"])
    head = _row(("state", "particles", "share", "half maps (Å)", "agrees to (Å)"), "th")
    return (
        f"<h1>{_text(record['title'])}</h1><p>{_text(record['subtitle'])}</p>"
        f"<table>{summary}</table><h2>Findings</h2><ul>{findings}</ul>"
        f"<h2>States</h2><table>{head}{states}</table>"
        "<p>With scripts allowed, this page shows maps and particles.</p>"
    )


def _state(state: Mapping[str, Any]) -> str:
    numbers = [f"{state[name]:.1f}" if state[name] else "–" for name in ("resolution", "agreement")]
    words = (state["name"], f"{state['particles']:,}", f"{100 * state['share']:.1f} %", *numbers)
    return _row(words)


def _row(words: tuple[str, ...] | list[str], cell: str = "td") -> str:
    return f"<tr>{''.join(f'<{cell}>{_text(word)}</{cell}>' for word in words)}</tr>"


def _text(word: object) -> str:
    return html.escape(str(word))

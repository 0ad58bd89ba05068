"""The live page: the same script and style as a report's, without a scene of its own."""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass

from morphem.report.page import asset, inline_script, inline_style

_AGAIN = (
    'const t = sessionStorage.getItem("morphem-token");'
    'if (t && !location.search) location.replace("/?token=" + encodeURIComponent(t) + location.hash);'
)  # a page whose address no longer shows the token is loaded again with the one its tab remembers
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src blob:; worker-src blob:; font-src data:; connect-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Page:
    """A page, and what a browser may do in it (Content-Security-Policy)."""

    content: bytes
    policy: str


def live_page(title: str) -> Page:
    """The page of a live server; it asks for everything else.

    Raises:
        DataError: ``PAGE-002`` if the package was installed without it.
    """
    style, script = inline_style(asset("page.css")), inline_script(asset("page.js"))
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>"
        f"<body><script>{script}</script></body></html>"
    )
    return Page(body.encode(), _policy(script))


def closed_page(reason: str) -> Page:
    """What is said instead to a browser that shows no token; it comes back with one if its tab has it."""
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Morphem</title></head>'
        f"<body><p>{html.escape(reason)}</p><script>{_AGAIN}</script></body></html>"
    )
    return Page(body.encode(), _policy(_AGAIN))


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _POLICY.format(scripts=f"'sha256-{digest}'")

"""An application behind a gate: refused requests never reach it."""

from __future__ import annotations

import time

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from morphem.report.viewer.answers import error, with_safe
from morphem.report.viewer.gate import Gate, Refusal
from morphem.report.viewer.page import closed_page


class TooLargeError(ValueError):
    """A request with more bytes than any page of ours sends."""


class Guarded:
    """An application behind a gate.

    Attributes:
        asked: When the last request came that was not refused, by the monotonic clock.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate, self.asked = app, gate, time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        # of a header that is sent twice, neither counts
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = {name: value for name, value in pairs if [n for n, _ in pairs].count(name) == 1}
        refusal = self.gate.refuse(scope["method"], scope["path"], scope["query_string"], headers)
        if refusal is not None:
            await _refused(refusal, scope["path"])(scope, receive, send)
            return
        self.asked = time.monotonic()
        await self.app(scope, _limited(receive, self.gate.largest), send)


def _limited(receive: Receive, largest: int) -> Receive:
    """The same messages, up to so many bytes of a body, whatever its header said."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > largest:
            raise TooLargeError(f"at most {largest} bytes can be asked with")
        return message

    return counted


def _refused(refusal: Refusal, path: str) -> Response:
    if path == "/" and refusal.status == 401:
        page = closed_page(refusal.reason)
        headers = with_safe({"Cache-Control": "no-store", "WWW-Authenticate": "Bearer"}, page.policy)
        return Response(page.content, 401, headers=headers, media_type="text/html")
    return error(refusal.status, refusal.reason)

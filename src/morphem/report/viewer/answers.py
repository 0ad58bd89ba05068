"""Answers as they are sent: with safe headers, and as small as pays."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

OCTETS = "application/octet-stream"
NOTHING = "default-src 'none'; frame-ancestors 'none'"
_SMALLER = 0.9  # of its size: what gzip does not make as small as this is sent as it is
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Answers:
    """Bytes that never change while a server runs, each with a tag and, where that is smaller, as gzip."""

    def __init__(self) -> None:
        self._known: dict[str, Kept] = {}

    def of(self, name: str, content: Callable[[], bytes]) -> Kept:
        """What ``content`` says, asked once."""
        if name not in self._known:
            plain = content()
            packed = gzip.compress(plain, 6, mtime=0)
            tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
            self._known[name] = Kept(plain, packed if len(packed) < _SMALLER * len(plain) else None, tag)
        return self._known[name]


@dataclass(frozen=True)
class Kept:
    """An answer: plain, as gzip, and the tag by which a browser asks whether it has it."""

    plain: bytes
    packed: bytes | None
    tag: str

    def response(self, request: Request, kind: str, policy: str = NOTHING) -> Response:
        """The answer, or that the browser has it already."""
        headers = {"ETag": self.tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=with_safe(headers, policy))
        if self.packed is not None and takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            return Response(self.packed, media_type=kind, headers=with_safe(headers, policy))
        return Response(self.plain, media_type=kind, headers=with_safe(headers, policy))


def passing(content: bytes, kind: str, more: Mapping[str, str] | None = None) -> Response:
    """An answer that is not to be kept by a browser."""
    headers = {"Cache-Control": "no-store", **(more or {})}
    return Response(content, headers=with_safe(headers, NOTHING), media_type=kind)


def error(status: int, text: str) -> Response:
    """What went wrong, in a sentence."""
    told = json.dumps({"error": text}).encode()
    headers = with_safe({"Cache-Control": "no-store", "Connection": "close"}, NOTHING)
    return Response(told, status, headers=headers, media_type="application/json")


def takes_gzip(request: Request) -> bool:
    """Whether a browser can unpack."""
    return "gzip" in request.headers.get("accept-encoding", "").lower()


def with_safe(own: Mapping[str, str], policy: str) -> dict[str, str]:
    """Headers of an answer, and those that keep it from being anything else.

    Args:
        own: Of the answer.
        policy: What a browser may do in it.
    """
    return {**own, **_SAFE, "Content-Security-Policy": policy}

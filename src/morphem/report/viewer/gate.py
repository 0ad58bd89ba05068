"""Who may ask: only pages that this server sent, in browsers that were given its token."""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import psutil

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    reason: str


@dataclass(frozen=True)
class Gate:
    """What a request must show.

    Attributes:
        token: Known to whoever saw the address that was printed.
        names: By which this server may be called; another name is a page of another site that had its own
            name point here.
        largest: Bytes of a request's body, at most.
    """

    token: str
    names: frozenset[str]
    largest: int

    def refuse(self, method: str, path: str, query: bytes, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request is refused; None if it is not.

        Args:
            method: Of the request.
            path: Of the request, decoded.
            query: What follows the question mark.
            headers: By their names in lower case.
        """
        if _name(headers.get("host", "")) not in self.names:
            return Refusal(403, "this server is not known by that name; open the address that it printed")
        if method not in ("GET", "POST"):
            return Refusal(405, "GET and POST are all that is answered")
        return self._unknown(path, query, headers) or self._foreign(method, path, headers)

    def _unknown(self, path: str, query: bytes, headers: Mapping[str, str]) -> Refusal | None:
        """Without the token: the page has it in its address, everything else in a header."""
        if path == "/":
            given = parse_qs(query.decode("ascii", "replace")).get("token", [""])[0]
        else:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            given = given.strip() if scheme.lower() == "bearer" else ""
        if not given:
            return Refusal(401, "open the address that `morphem view` printed: it holds the token")
        if not secrets.compare_digest(_digest(given), _digest(self.token)):
            return Refusal(403, "that is not the token of this server; open the address that it printed")
        return None

    def _foreign(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Asked by a page of another site, or too large."""
        origin = headers.get("origin")
        own = f"http://{headers.get('host', '')}"
        if origin is not None and origin.lower() != own.lower():
            return Refusal(403, "a page of another site asked; only this server's own page is answered")
        if path != "/" and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Refusal(403, "a page of another site asked; only this server's own page is answered")
        length = headers.get("content-length", "0")
        if method == "POST" and not (length.isdigit() and int(length) <= self.largest):
            return Refusal(413, f"at most {self.largest} bytes can be asked with")
        return None


def new_token() -> str:
    """256 random bits, as they may stand in an address."""
    return secrets.token_urlsafe(32)


def names_of(host: str) -> frozenset[str]:
    """By what names a server bound to an address may be called.

    A server on all addresses may be called by the machine's names and addresses.
    """
    names = {*_LOOPBACK, host.lower()}
    if host in _EVERYWHERE:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        names |= {each.address.partition("%")[0] for some in psutil.net_if_addrs().values() for each in some}
    return frozenset(names - {*_EVERYWHERE})


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _digest(text: str) -> bytes:
    # of one length, whatever was sent
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

"""The routes that ``web/src/scene.ts`` declares, each a few lines over what the result can answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from morphem.data.errors import DataError
from morphem.report.viewer.answers import OCTETS, Answers, error, passing, takes_gzip
from morphem.report.viewer.errors import ConflictError
from morphem.report.viewer.gate import Gate
from morphem.report.viewer.guarded import Guarded, TooLargeError
from morphem.report.viewer.live import Live
from morphem.report.viewer.packets import array_bytes
from morphem.report.viewer.page import Page

_LOG = logging.getLogger(__name__)
_WORTH = 1024  # bytes from which on gzip pays
_ELSEWHERE = ("PATH", "EXPORT-001", "MRC", "DISK")  # codes of what is wrong with files, not with a request
_JSON = "application/json"
Answer = Callable[[Request], Awaitable[Response]]


def application(live: Live, page: Page, gate: Gate) -> Guarded:
    """The server of one result.

    Args:
        live: What it can answer.
        page: What a browser is sent first.
        gate: Who may ask.
    """
    ask = Routes(live, page)
    gets = {"/": ask.page, "/api/scene": ask.scene, "/api/array/{name:path}": ask.array}
    posts: dict[str, Answer] = {
        "/api/map": ask.map,
        "/api/subset": ask.subset,
        "/api/montage": ask.montage,
        "/api/select": ask.select,
        "/api/export": ask.export,
    }
    routes = [Route(path, _safely(answer), methods=["GET"]) for path, answer in gets.items()]
    routes += [Route(path, _safely(answer), methods=["POST"]) for path, answer in posts.items()]
    return Guarded(Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route}), gate)


def largest_request(particles: int) -> int:
    """Bytes that a page has reason to ask with: at most a selection of all particles, as JSON."""
    return (1 << 20) + 12 * particles


class Routes:
    """The answer to each request; maps are worked out one at a time, and so are looks at images."""

    def __init__(self, live: Live, page: Page) -> None:
        self._live, self._page, self._answers = live, page, Answers()
        self._decoding, self._looking = asyncio.Lock(), asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """GET /."""
        kept = self._answers.of("/", lambda: self._page.content)
        return kept.response(request, "text/html", self._page.policy)

    async def scene(self, request: Request) -> Response:
        """GET /api/scene."""
        kept = self._answers.of("/api/scene", lambda: _written(self._live.opened.scene.record))
        return kept.response(request, _JSON)

    async def array(self, request: Request) -> Response:
        """GET /api/array/NAME: a name of the scene's, never a path."""
        name, arrays = request.path_params["name"], self._live.opened.scene.arrays
        if name not in arrays:
            return error(404, "there is no such array")
        kept = await anyio.to_thread.run_sync(
            self._answers.of, f"/api/array/{name}", lambda: array_bytes(arrays[name])
        )
        return kept.response(request, OCTETS)

    async def map(self, request: Request) -> Response:
        """POST /api/map."""
        return await _in_turn(request, self._decoding, self._live.map, _json(await request.body()))

    async def subset(self, request: Request) -> Response:
        """POST /api/subset."""
        return await _in_turn(request, self._looking, self._live.subset, _indices(await request.body()))

    async def montage(self, request: Request) -> Response:
        """POST /api/montage."""
        return await _in_turn(request, self._looking, self._live.montage, _indices(await request.body()))

    async def select(self, request: Request) -> Response:
        """POST /api/select."""
        kept = await anyio.to_thread.run_sync(self._live.select, _json(await request.body()))
        return passing(_written(kept), _JSON)

    async def export(self, request: Request) -> Response:
        """POST /api/export."""
        file = await anyio.to_thread.run_sync(self._live.export, _json(await request.body()))
        disposition = {"Content-Disposition": f'attachment; filename="{file.name}"'}
        return passing(file.content, OCTETS, disposition)


async def _in_turn(
    request: Request, turn: asyncio.Lock, answer: Callable[[Any], bytes], asked: object
) -> Response:
    """A packet, worked out in a thread; not for one who has gone while others had their turn."""
    async with turn:
        if await request.is_disconnected():
            return Response(status_code=499)
        content = await anyio.to_thread.run_sync(answer, asked, abandon_on_cancel=True)
    if len(content) < _WORTH or not takes_gzip(request):
        return passing(content, OCTETS)
    packed = await anyio.to_thread.run_sync(gzip.compress, content, 1)
    return passing(packed, OCTETS, {"Content-Encoding": "gzip"})


def _safely(answer: Answer) -> Answer:
    """The same route, which tells what went wrong in a sentence."""

    async def safely(request: Request) -> Response:
        try:
            return await answer(request)
        except ConflictError as met:
            return error(409, str(met))
        except TooLargeError as met:
            return error(413, str(met))
        except ClientDisconnect:
            return Response(status_code=499)
        except DataError as met:
            return error(409 if met.code.startswith(_ELSEWHERE) else 400, str(met))
        except ValueError as met:
            return error(400, str(met))
        except (OSError, RuntimeError) as met:
            _LOG.warning("%s could not be answered", request.url.path, exc_info=True)
            return error(500, f"that went wrong: {met}")

    return safely


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as met:
        raise ValueError("the request is no JSON") from met


def _indices(body: bytes) -> np.ndarray:
    if not body or len(body) % 4:
        raise ValueError("particles are asked for as int32, one after the other")
    return np.frombuffer(body, "<i4")


async def _no_route(request: Request, met: Exception) -> Response:
    status = getattr(met, "status_code", 404)
    return error(status, "nothing is here" if status == 404 else "that is not asked in this way")


def _written(record: object) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode()

"""A server bound to an address, until it is stopped or nobody has asked for long."""

from __future__ import annotations

import asyncio
import errno
import getpass
import socket
from dataclasses import dataclass

import uvicorn

from morphem.data.errors import DataError
from morphem.report.viewer.guarded import Guarded

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("0.0.0.0", "::")
_PATIENCE = 2  # seconds that answers under way are given when the server is stopped
_LOOK = 1.0  # seconds between looks at the clock


@dataclass(frozen=True)
class Bound:
    """A socket that listens, and how it is reached.

    Attributes:
        listener: The socket.
        host: As it was asked for.
        port: That it has.
    """

    listener: socket.socket
    host: str
    port: int

    @property
    def name(self) -> str:
        """What a browser on this machine, or on one that may reach it, calls it."""
        named = socket.gethostname() if self.host in _EVERYWHERE else self.host
        return f"[{named}]" if ":" in named else named

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach it."""
        return self.host not in _LOOPBACK

    def address(self, token: str) -> str:
        """Of the page, to be opened in a browser."""
        return f"http://{self.name}:{self.port}/?token={token}"

    def tunnel(self) -> str:
        """What to type on another machine, so that the address can be opened there."""
        target = "localhost" if self.is_open else self.name
        named = socket.getfqdn()
        machine = socket.gethostname() if named.startswith("localhost") else named
        return f"ssh -N -L {self.port}:{target}:{self.port} {getpass.getuser()}@{machine}"


def bind(host: str, port: int) -> Bound:
    """Listen on an address.

    Args:
        host: Name or address of this machine.
        port: 0 for any that is free.

    Raises:
        DataError: ``VIEW-002`` if the port is taken or not ours, or if the address is not of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise DataError("VIEW-002", f"{host}:{port} is no address of this machine ({error})") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise DataError("VIEW-002", _why(host, port, error)) from error
    return Bound(listener, host, listener.getsockname()[1])


def serve(app: Guarded, bound: Bound, idle: float = 0) -> bool:
    """Answer until stopped; Ctrl-C arrives as ``KeyboardInterrupt`` when the last answer is sent.

    Args:
        app: The server.
        bound: Where it listens.
        idle: Minutes without a request after which it ends by itself; 0 for never.

    Returns:
        Whether it ended because nobody asked.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_PATIENCE,
    )
    return asyncio.run(_until_idle(uvicorn.Server(config), app, bound, 60 * idle))


async def _until_idle(server: uvicorn.Server, app: Guarded, bound: Bound, seconds: float) -> bool:
    serving = asyncio.create_task(server.serve(sockets=[bound.listener]))
    idle = False
    while not serving.done() and seconds > 0 and not idle:
        await asyncio.wait([serving], timeout=min(_LOOK, seconds))
        idle = asyncio.get_running_loop().time() - app.asked > seconds
    server.should_exit = server.should_exit or idle
    await serving
    return idle


def _why(host: str, port: int, error: OSError | OverflowError) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; leave --port out to be given a free one, or name another"
    if code == errno.EACCES:
        return f"port {port} is for the system's own servers; leave --port out, or name one above 1023"
    return f"{host}:{port} cannot be listened on ({error}); leave --host and --port out"

"""The server: uvicorn on a socket of ours, with a deadline for connections that do not say what they want.

Every connection is for one request: the gate answers with Connection: close. So a client that opens one and is silent,
or sends a head letter by letter, is cut off by one deadline; the gate has that of what comes after the head.
"""

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from experiments.settings.webpage import Limits, Served
from experiments.training.termination import Terminated

HEAD = 10.0  # seconds for the head of a request
HEAD_BYTES = 32_768
END = 10  # seconds for open requests at the end


class Protocol(H11Protocol):
    """HTTP/1.1 of uvicorn; a connection whose head does not come in time is closed."""

    head = HEAD

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.head, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def bound(served: Served) -> socket.socket:
    """A socket that listens where it should.

    Raises:
      OSError: naming host and port, if it cannot.
    """
    family = socket.AF_INET6 if ":" in served.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((served.host, served.port))
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"host={served.host}, port={served.port}: nothing can listen there ({reason}): give another --port, or 0 "
            "for any that is free, or another --host"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """The address of the page for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def server(app: Any, limits: Limits) -> uvicorn.Server:
    """The server of an application, not started."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=END,
    )
    return uvicorn.Server(config)


def serve(app: Any, listener: socket.socket, limits: Limits) -> None:
    """Serves until Ctrl-C or SIGTERM, its usual end."""
    with contextlib.suppress(KeyboardInterrupt, Terminated):  # uvicorn ends open requests, and raises it again
        server(app, limits).run(sockets=[listener])

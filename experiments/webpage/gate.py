"""The gate before all routes: which requests come in, the headers of all answers, and how long a request may take.

A page of another site can make a browser send requests to this one. It is kept out by four things, of which one would
do: the Host must be a name of this machine (a foreign name that is made to lead here, DNS rebinding, is refused), the
browser's own Sec-Fetch-Site and Origin must say that the request is of this page, and what changes something needs a
token that only the page has. There are no cookies, so there is nothing that a browser would send by itself.
"""

import asyncio
import hmac
import ipaddress
import secrets
from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.webpage.refusal import Refused

TOKEN = "x-page-token"  # the header
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "connection": "close",  # so that one deadline is enough, see `listening`
}


class Gate:
    """The gate in front of an application.

    Args:
      app: the application.
      host: the address that listens.
      names: more names by which the machine may be called.
      seconds: time of a request.
    """

    def __init__(self, app: ASGIApp, *, host: str, names: Collection[str] = (), seconds: float) -> None:
        self.token = secrets.token_urlsafe(32)
        self._app, self._host, self._seconds = app, host, seconds
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the page has no {scope['type']}")
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _add(message)
            await send(message)

        try:
            self._check(scope["method"], scope["path"], Headers(scope=scope))
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, sending)
        except Refused as refused:
            if begun:
                raise
            await refusal(refused)(scope, receive, sending)
        except TimeoutError:
            if begun:  # who reads its answer too slowly
                raise
            late = Refused(
                504, "This took too long: try again, or with a smaller picture, and look whether it was done."
            )
            await refusal(late)(scope, receive, sending)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        """Raises Refused for a request that comes from elsewhere."""
        host = headers.get("host", "")
        if not self._is_own(host):
            raise Refused(
                421, f"The name {host[:100]!r} is none of this page's: call it by the address that it printed at start."
            )
        site = headers.get("sec-fetch-site", "same-origin")
        by_link = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        opened = method == "GET" and path == "/" and by_link == ("navigate", "document")
        origin = headers.get("origin")
        foreign = origin is not None and origin.lower().partition("://")[2] != host.lower()
        if foreign or (site not in ("same-origin", "none") and not opened):
            raise Refused(403, "This request comes from another site: open the page itself.")
        if method not in ("GET", "HEAD") and not hmac.compare_digest(
            headers.get(TOKEN, "").encode(), self.token.encode()
        ):
            raise Refused(403, "This page is of an earlier start of the program: reload it.")

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names or name == self._host:
            return True
        if self._host in LOOPBACK:
            return name in LOOPBACK
        try:  # an address cannot be made to lead elsewhere, as a name can
            return name == "localhost" or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def refusal(refused: Refused) -> JSONResponse:
    """The answer to a refused request."""
    return JSONResponse({"error": refused.sentence}, refused.status, refused.headers)


def _add(message: MutableMapping[str, Any]) -> None:
    """Adds the headers of all answers."""
    there = {name.lower() for name, _ in message["headers"]}
    more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in there)]

"""What every request passes before anything else looks at it: who may ask, how much may be sent, and how slowly."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from saccade.use.serve_messages import Options
from saccade.use.serve_problems import Refusal
from saccade.use.serve_service import Service

COOKIE = "saccade_token"
MODEL_HEADER = b"saccade-model"
# Needed to see that the server lives, and to be asked for the token: they tell nothing about the model.
_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json", "/session"})
PAGE_FILES = "/page/"
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 64 * 2**20
_HEADERS: Mapping[bytes, bytes] = MappingProxyType(
    {
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-resource-policy": b"same-origin",
        b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
        b"cache-control": b"no-store",
    }
)


class Gate:
    """ASGI middleware around everything.

    - The name by which the server is called must be its own: a foreign name that was made to lead here (DNS
      rebinding) gets 403. Addresses are no names.
    - A page of elsewhere gets 403, unless its origin was allowed.
    - With a token, all but the page's own files and the state of health needs it.
    - Bodies are counted and timed while they come: 413, 408. What is compressed is refused: 415.
    - Every answer carries the hash of the model and headers that keep browsers strict.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._hosts = _own_names(service.options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        limits = self._service.options.limits
        body = _Body(receive, limits.body_bytes, limits.read_seconds)
        answer = _Answer(send, body, lambda: self._service.model_hash)
        request = Request(scope)
        try:
            self._check(request)
        except Refusal as refusal:
            await refusal.response(self._service.model_hash)(scope, body.receive, answer.send)
        else:
            if scope["path"] in ("/healthz", "/readyz", "/metrics"):
                await self._app(scope, body.receive, answer.send)
            else:
                with self._service.working():
                    await self._app(scope, body.receive, answer.send)
        path = getattr(scope.get("route"), "path", "other")  # never what a stranger typed: counters are for ever
        self._service.metrics.requests.labels(path, answer.status).inc()
        self._service.metrics.seconds.labels(path).observe(time.perf_counter() - began)

    def _check(self, request: Request) -> None:
        options = self._service.options
        host = request.headers.get("host", "")
        if not self._is_own(host):
            raise Refusal(
                403,
                "host_not_allowed",
                "the server was called by a name that is not its own",
                remedy="call it by its address, or start it with --allow-host NAME",
                field="Host",
            )
        _check_origin(request, host, options.allow_origins)
        path = request.scope["path"]
        is_open = path in _OPEN_PATHS or path.startswith(PAGE_FILES) or request.method == "OPTIONS"
        if options.token and not is_open and not is_token(sent_token(request), options.token):
            refusal = Refusal(401, "token_needed", "this server wants a token", remedy="Authorization: Bearer TOKEN")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            raise refusal
        _check_body(request, options.limits.body_bytes)

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts:
            return True
        with suppress(ValueError):
            return bool(ipaddress.ip_address(name)) and self._service.options.host not in _LOCAL_NAMES
        return False


def sent_token(request: Request) -> str:
    """As the header has it, or the cookie that the page was given."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else request.cookies.get(COOKIE, "")


def is_token(sent: str, token: str) -> bool:
    """Compared in a time that says nothing about how much was right."""
    return secrets.compare_digest(sent.encode("utf-8", "surrogateescape"), token.encode())


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host in _LOCAL_NAMES


def _own_names(options: Options) -> frozenset[str]:
    names = {options.host, *_LOCAL_NAMES, *options.allow_hosts}
    if not is_local(options.host):
        names |= {socket.gethostname(), f"{socket.gethostname()}.local"}
    return frozenset(name.lower() for name in names)


def _check_origin(request: Request, host: str, allowed: tuple[str, ...]) -> None:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    own = {f"{scheme}://{host}" for scheme in ("http", "https")}
    foreign = origin is not None and origin not in own and origin not in allowed
    posted = request.method not in ("GET", "HEAD", "OPTIONS")
    if foreign or (origin is None and posted and site not in ("none", "same-origin")):
        raise Refusal(
            403,
            "origin_not_allowed",
            "a web page of elsewhere asked, and that is not allowed",
            remedy="open the server's own page, or start it with --allow-origin ORIGIN",
            field="Origin",
        )


def _check_body(request: Request, most_bytes: int) -> None:
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        detail = "compressed bodies are not taken; pictures are compressed already"
        raise Refusal(415, "content_encoding", detail, remedy="send it as it is", field="Content-Encoding")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most_bytes:
        raise too_large(most_bytes)


def too_large(most_bytes: int) -> Refusal:
    """413."""
    detail = f"a request may have {most_bytes / 2**20:g} MB"
    return Refusal(413, "body_too_large", detail, remedy="send fewer or smaller pictures, or raise --max-body")


class _Body:
    """The body of a request while it comes: so many bytes, so many seconds."""

    def __init__(self, receive: Receive, most_bytes: int, seconds: float) -> None:
        self._receive, self._most_bytes, self._seconds = receive, most_bytes, seconds
        self._deadline: float | None = None
        self._num_bytes = 0
        self.is_whole = False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            Refusal: it is too large, or too slow.
        """
        if self.is_whole:
            return await self._receive()  # waits until the client goes away
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            detail = f"the body did not come within {self._seconds:g} seconds"
            raise Refusal(408, "read_timeout", detail, remedy="send it faster, or raise --read-timeout") from None
        self._num_bytes += len(message.get("body", b""))
        self.is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        if self._num_bytes > self._most_bytes:
            raise too_large(self._most_bytes)
        return message

    async def discard(self) -> None:
        """Let a sender who is still sending see the answer: a closed door would tear it up on its way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self.is_whole and self._num_bytes < self._most_bytes + _LINGER_BYTES:
                    message = await self._receive()
                    self._num_bytes += len(message.get("body", b""))
                    self.is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)


class _Answer:
    """The answer on its way out: headers are added; a connection with an unread body is closed behind it."""

    def __init__(self, send: Send, body: _Body, model: Callable[[], str]) -> None:
        self._send, self._body, self._model = send, body, model
        self.status = 0
        self._closes = False

    async def send(self, message: Message) -> None:
        """The next piece."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            added = {**_HEADERS, MODEL_HEADER: self._model().encode()}
            self._closes = self.status >= 400 and not self._body.is_whole
            if self._closes:
                added[b"connection"] = b"close"
            headers = [*message["headers"], *((name, value) for name, value in added.items() if name not in present)]
            await self._send({**message, "headers": headers})
        elif self._closes and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.discard()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

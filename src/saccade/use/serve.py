"""`saccade serve`: a run as a page and a REST API.

connection ─► serve_protocol ─► serve_gate ─► serve_app ─► serve_bodies ─► serve_service
(uvicorn)     (deadlines)       (who, how    (routes)     (pictures)      (room, reload, stop)
                                 much)                                        │        │
                                                      serve_pictures ◄────────┘        ▼
                                                      (decoders: children)      serve_batching ─► serve_worker
                                                                                                  (serve_child)
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import uvicorn

from saccade.errors import ResourceError, UsageError
from saccade.screen import Screen
from saccade.use.serve_app import build_app
from saccade.use.serve_gate import is_local
from saccade.use.serve_messages import Options, Source
from saccade.use.serve_page import Page
from saccade.use.serve_protocol import DrainingServer, patient_protocol
from saccade.use.serve_service import Service
from saccade.use.serve_worker import Worker

_SHORTEST_TOKEN = 8
_LONGEST_HEAD = 32 * 1024
_GRACE_SECONDS = 5
EXIT_INTERRUPTED = 130


def serve(source: str, options: Options, screen: Screen, show: Callable[[str], None]) -> int:
    """Serve a run until a signal ends it; returns the exit code: 0 after SIGTERM, 130 after Ctrl-C.

    Args:
        source: a run folder, or a file that was exported.
        options: see there.
        screen: for people.
        show: told the address of the page, with the token where there is one, as soon as requests are taken.

    Raises:
        SaccadeError: the run cannot be served, or the address cannot be used.
    """
    options = with_token(options)
    return asyncio.run(_serve(source, options, partial(_announce, screen, show), screen))


def with_token(options: Options) -> Options:
    """The same; where others can reach the server, with a token.

    Raises:
        UsageError: the token is too short to be one.
    """
    if options.token and (len(options.token) < _SHORTEST_TOKEN or not options.token.isascii()):
        raise UsageError(
            f"a token has at least {_SHORTEST_TOKEN} letters and digits, got {len(options.token)}",
            where="--token",
            remedy="leave it out: one is made and shown where it is needed",
        )
    if options.token or is_local(options.host):
        return options
    return replace(options, token=secrets.token_urlsafe(24))


async def _serve(source: str, options: Options, announce: Callable[[Service, int], None], screen: Screen) -> int:
    _check_address(options)
    logging.getLogger("saccade.serve").addHandler(_ScreenHandler(screen))
    service = Service(partial(Worker, Source(source, options.device)), options)
    server = make_server(service, partial(announce, service))
    try:
        await service.open()
        spare_the_collector()
        await server.serve()
    finally:
        await service.close()
    return EXIT_INTERRUPTED if server.stopped_by == signal.SIGINT else 0


def make_server(service: Service, announce: Callable[[int], None]) -> DrainingServer:
    """uvicorn around a service that somebody else opens and closes; `announce` is told the port."""
    options = service.options
    config = uvicorn.Config(
        build_app(service, Page(service)),
        host=options.host,
        port=options.port,
        http=patient_protocol(options.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what is worth a line is said by serve_problems.py and serve_service.py
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, int(options.limits.header_seconds)),
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
    )
    return DrainingServer(config, service.drain, announce)


def spare_the_collector() -> None:
    """Let Python's garbage collector never again look at what is there already, which stays as long as the server.

    Every now and then it went through all of it, 70,000 objects of the libraries: 60 ms in which nobody was answered,
    half a second where other processes wanted the cores too.
    """
    gc.collect()
    gc.freeze()


def _announce(screen: Screen, show: Callable[[str], None], service: Service, port: int) -> None:
    options, facts = service.options, service.facts
    host = f"[{options.host}]" if ":" in options.host else options.host
    screen.say(f"{facts.name}: {facts.architecture}, {len(facts.class_names)} classes, {facts.device}, {facts.model}")
    if options.token:
        screen.say("requests need the header Authorization: Bearer TOKEN; the address below brings it along")
    show(f"http://{host}:{port}/{f'#token={options.token}' if options.token else ''}")


def _check_address(options: Options) -> None:
    """A taken port is said in a sentence, before the model is loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise ResourceError(
            f"the address cannot be listened on: {error.strerror}",
            where=f"{options.host}:{options.port}",
            remedy="choose another --port, or end what uses this one",
        ) from None


class _ScreenHandler(logging.Handler):
    """What the parts of the server log is said where the command talks."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """A line; a warning where it is one."""
        (self._screen.warn if record.levelno >= logging.WARNING else self._screen.say)(self.format(record))

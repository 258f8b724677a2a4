"""uvicorn, with the patience of a server that strangers talk to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from saccade.use.serve_messages import Limits

_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_WRITE_SECONDS = 30.0


def patient_protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol, which counts connections and has deadlines for heads of requests and for readers.

    uvicorn waits without end for the head of a request and for somebody to take an answer; who opens connections and
    does neither (slow loris) would have them all. The deadline of bodies is serve_gate.py's.
    """

    class PatientProtocol(H11Protocol):
        """One connection."""

        _head_timer: asyncio.TimerHandle | None = None
        _write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Take it, while there is room."""
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(_FULL)
                transport.close()
                return
            self._await_head()

        def data_received(self, data: bytes) -> None:
            """A request that begins stops the clock."""
            if self._head_timer is None and not self._is_busy:
                self._await_head()
            super().data_received(data)
            if self._is_busy:
                self._stop_timers()

        def connection_lost(self, exc: Exception | None) -> None:
            """Whatever the reason."""
            self._stop_timers()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            """The other side does not read."""
            super().pause_writing()
            self._write_timer = self.loop.call_later(_WRITE_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            """It does again."""
            super().resume_writing()
            if self._write_timer is not None:
                self._write_timer.cancel()

        @property
        def _is_busy(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _await_head(self) -> None:
            self._head_timer = self.loop.call_later(limits.header_seconds, self._end)

        def _end(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(_SLOW)
                self.transport.close()

        def _stop_timers(self) -> None:
            for timer in (self._head_timer, self._write_timer):
                if timer is not None:
                    timer.cancel()
            self._head_timer = None

    return PatientProtocol


class DrainingServer(uvicorn.Server):
    """Told to stop, it lets what runs finish before it closes the door.

    Args:
        config: of uvicorn.
        drain: waits until what runs is done, or long enough.
        announce: called with the port when requests are taken.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Coroutine[Any, Any, None]],
        announce: Callable[[int], None],
    ) -> None:
        super().__init__(config)
        self.stopped_by: int | None = None
        self._drain, self._announce = drain, announce
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._announce(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """The loop's own handlers: Python's would also wake the watch that ends a command which does not listen."""
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop, number)
        except (NotImplementedError, RuntimeError):  # Windows, or not the main thread
            yield
            return
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if self._draining is not None:  # asked twice: at once
            self.should_exit = self.force_exit = True
            return
        self.stopped_by = number
        self._draining = asyncio.get_running_loop().create_task(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        await self._drain()
        self.should_exit = True

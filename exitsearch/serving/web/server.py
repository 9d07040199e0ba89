"""uvicorn around the application: the socket, signals, and an end that answers what was admitted."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from exitsearch.errors import InputError
from exitsearch.serving.admission.forecast import Forecast
from exitsearch.serving.service import Service
from exitsearch.serving.web.protocol import bounded_protocol

# How long a thread of Python may hold the others up, in s. With the interpreter's own 5 ms a request that has to be
# read may come late by that much while another is prepared.
_SWITCH_SECONDS = 0.0005
_BACKLOG = 256
# Between two looks at how late the event loop is, in s.
_BEAT_SECONDS = 0.01


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address.
        port: 0 to 65535; 0: any that is free.

    Raises:
        InputError: the address is not to be had.
    """
    if not 0 <= port <= 65535:
        raise InputError(
            f"a port is a number from 0 to 65535, found {port}; give another one, or 0 for any that is free"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot listen at {host[:200]!r} ({error}); give an address of this machine") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen at {host[:200]}:{port} ({error.strerror or error}); take another port"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a socket listens, as the beginning of a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def watch_loop(
    forecast: Forecast,
    *,
    clock: Callable[[], float] = time.perf_counter,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell the forecast for ever how late the event loop is: as late as to requests, which come at any moment, too.

    Args:
        forecast: is told.
        clock: seconds.
        wait: for so many seconds of that clock.
    """
    while True:
        due = clock() + _BEAT_SECONDS
        await wait(_BEAT_SECONDS)
        forecast.looked(max(0.0, clock() - due) * 1e3)


class _Server(uvicorn.Server):
    """Ends at SIGTERM and Ctrl-C with everything answered; a second one ends at once."""

    def __init__(self, config: uvicorn.Config, forecast: Forecast) -> None:
        super().__init__(config)
        self._forecast = forecast

    async def main_loop(self) -> None:
        """Serve until told to end."""
        watch = asyncio.create_task(watch_loop(self._forecast))
        try:
            await super().main_loop()
        finally:
            watch.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal once more at the end, and the process would seem to have been killed.
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_server(app: FastAPI, listener: socket.socket, *, started: Callable[[], None] | None = None) -> None:
    """Serve until a signal comes. From the main thread of a process that does nothing else.

    Args:
        app: made by `create_app`.
        listener: made by `open_socket`; closed at the end.
        started: is called just before the first request can be answered.
    """
    service: Service = app.state.service
    bounds = service.bounds
    config = uvicorn.Config(
        app,
        http=bounded_protocol(bounds),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # faults of requests go back to their senders; ours are told by exitsearch.serving
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        # A body that still comes may take its time, and its answer too.
        timeout_graceful_shutdown=int(bounds.body_seconds + service.default_ms / 1e3) + 5,
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    if started is not None:
        started()
    _Server(config, service.forecast).run(sockets=[listener])

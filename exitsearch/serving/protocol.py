"""uvicorn's HTTP, with what it leaves open: slow headers, too many connections, and bodies that nobody reads.

- A header has to be here within `header_seconds`; else the connection is closed (uvicorn waits for ever).
- More than `connections` open connections: one sentence, and closed.
- After an answer to a request whose body was not read, what still comes is thrown away for a moment, so that the answer
  arrives before the connection is reset; then it is closed (nginx's `lingering_close`).
- What is no HTTP gets 400 with a sentence as JSON.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from exitsearch.serving.bounds import Bounds

_LINGER_SECONDS = 2.0


def bounded_protocol(bounds: Bounds) -> type[H11Protocol]:
    """A protocol class for uvicorn's `http` option."""

    class BoundedProtocol(H11Protocol):
        """One connection."""

        _watch: asyncio.TimerHandle | None = None
        _phase: str = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > bounds.connections:
                transport.write(_plain(503, f"{bounds.connections} connections are open already; ask again shortly"))
                transport.close()
                return
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._look()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.write(_plain(400, "a request must be HTTP/1.1 with a header of at most 64 KiB"))
            self.transport.close()

        def _look(self) -> None:
            """Arm the timer of the phase that the connection is in, once a phase."""
            if self.transport.is_closing():
                self._disarm()
                return
            phase = self._now_in()
            if phase != self._phase:
                self._disarm()
                self._phase = phase
                if phase:
                    seconds = bounds.header_seconds if phase == "header" else _LINGER_SECONDS
                    self._watch = self.loop.call_later(seconds, self.transport.close)

        def _now_in(self) -> str:
            idle = self.conn.their_state is h11.IDLE
            if idle and (self.cycle is None or self.conn.trailing_data[0]):
                return "header"
            answered = self.cycle is not None and self.cycle.response_complete
            return "unread" if answered and self.conn.their_state is h11.SEND_BODY else ""

        def _disarm(self) -> None:
            if self._watch is not None:
                self._watch.cancel()
            self._watch, self._phase = None, ""

    return BoundedProtocol


def _plain(status: int, sentence: str) -> bytes:
    """A whole response, for a connection that is closed behind it."""
    body = json.dumps({"error": sentence}).encode()
    facts: dict[int, Any] = {400: "Bad Request", 503: "Service Unavailable"}
    retry = "retry-after: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {facts[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"{retry}connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body

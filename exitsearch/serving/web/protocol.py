"""uvicorn's HTTP, with what it leaves open: slow headers, too many connections, and bodies that nobody reads.

- A header has to be here within `header_seconds`; else 408 and closed (uvicorn waits for ever).
- More than `connections` open connections: 503 and closed.
- What is no HTTP gets 400 with a sentence as JSON.
- Before a connection is closed on a sender who still sends, what comes is thrown away for a moment, so that the answer
  arrives before the connection is reset (nginx's `lingering_close`).
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from exitsearch.serving.bounds import Bounds

_LINGER_SECONDS = 2.0


class BoundedProtocol(H11Protocol):
    """One connection; `bounded_protocol` gives it its bounds."""

    bounds: Bounds

    _watch: asyncio.TimerHandle | None = None
    _phase: str = ""
    # Nothing is read or answered here any more.
    _over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or turn away where too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections:
            self._end(_plain(503, f"{self.bounds.connections} connections are open already; ask again shortly"))
            return
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless this connection is over."""
        if not self._over and not self.transport.is_closing():
            super().data_received(data)
            self._look()

    def on_response_complete(self) -> None:
        """See what the connection waits for next."""
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Say in a sentence that this is no HTTP."""
        if self.cycle is not None and not self.cycle.response_complete:
            # A body that is not as its header says: whoever reads it hears that no more of it comes.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        unanswered = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        self._end(_plain(400, "a request must be HTTP/1.1, its header at most 64 KiB") if unanswered else b"")

    def _end(self, said: bytes = b"") -> None:
        """Say a last thing, and close when the other side does, or soon."""
        if self.transport.is_closing() or self._over:
            return
        self._disarm()
        self._over = True
        self.transport.write(said)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._watch = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _give_up(self) -> None:
        """The time of a header is over."""
        begun = bool(self.conn.trailing_data[0])
        sentence = f"a request's header must be here within {self.bounds.header_seconds:g} s"
        self._end(_plain(408, sentence) if begun else b"")

    def _look(self) -> None:
        """Arm the timer of the phase that the connection is in, once a phase."""
        if self._over:
            return
        if self.transport.is_closing():
            self._disarm()
            return
        phase = self._now_in()
        if phase != self._phase:
            self._disarm()
            self._phase = phase
            if phase == "header":
                self._watch = self.loop.call_later(self.bounds.header_seconds, self._give_up)
            elif phase == "unread":
                self._watch = self.loop.call_later(_LINGER_SECONDS, self.transport.close)

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


def bounded_protocol(bounds: Bounds) -> type[H11Protocol]:
    """A protocol class for uvicorn's `http` option, which makes one for each connection."""
    return type("BoundedProtocol", (BoundedProtocol,), {"bounds": bounds})


def _plain(status: int, sentence: str) -> bytes:
    """A whole response, for a connection that is closed behind it."""
    body = json.dumps({"error": sentence}).encode()
    phrases = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}
    retry = "retry-after: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {phrases[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"{retry}connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body

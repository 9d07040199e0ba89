"""Around everything else: when a request came, how many there are at once, and no traceback to anybody."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exitsearch.serving.faults import Refused
from exitsearch.serving.metrics import Metrics
from exitsearch.serving.web.replies import error_reply, refused_reply

ARRIVED = "exitsearch.arrived"
_log = logging.getLogger("exitsearch.serving")


class Guard:
    """ASGI middleware.

    Args:
        app: what is guarded.
        metrics: count what is turned away here.
        most: requests at the same time.
        clock: seconds.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, most: int, clock: Callable[[], float]) -> None:
        self._app, self._metrics, self._most, self._clock = app, metrics, most, clock
        self._at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[ARRIVED] = self._clock()
        if self._at_once >= self._most:
            self._metrics.refused("connections")
            busy = Refused("connections", f"{self._most} requests are open already, as many as may; ask again shortly")
            await refused_reply(busy)(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self._at_once += 1
        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            # Whoever asked gets a sentence, the log a line: what came from outside may stand in a traceback.
            _log.error("%s %s failed (%s: %s)", scope["method"], scope["path"], type(error).__name__, error)
            self._metrics.failed()
            if not begun:
                await error_reply(500, "the server failed over this request; its log says more")(scope, receive, send)
        finally:
            self._at_once -= 1

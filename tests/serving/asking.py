"""Asks an application without a socket."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np

from exitsearch.runtime import Session
from exitsearch.serving.app import create_app


class Clock:
    """Seconds that pass when somebody says so."""

    now = 0.0

    def __call__(self):
        return self.now


class TimedUnits:
    """Units that answer class k at exit k and take the table's medians, times a factor, by a clock that they move."""

    def __init__(self, clock, *, slower=1.0):
        self.clock, self.slower = clock, slower
        self.heads_run = []
        self.before_segment = lambda position: None

    def begin(self, x):
        return {"rows": np.arange(len(x))}

    def segment(self, position, state, stop):
        self.before_segment(position)
        self.clock.now += 1e-3 * self.slower
        return state

    def head(self, position, state, stop):
        self.heads_run.append(position)
        self.clock.now += 1e-4 * self.slower if position < 2 else 0.0
        return 9 * np.eye(4, dtype=np.float32)[np.full(len(state["rows"]), position)]

    def take(self, position, state, rows):
        return {"rows": state["rows"][rows]}

    def new_stop(self):
        return None


def timed_app(manifest, *, slower=1.0, **options):
    """An application whose exits answer after 1.1, 2.1 and 3 ms by its clock, times a factor; its units."""
    clock = Clock()
    units = TimedUnits(clock, slower=slower)
    session = Session(manifest, units=units, clock=clock)
    return create_app(session, clock=clock, **options), units


def with_client(app, work):
    """Run `work(client)` while the application's workers run."""

    async def run():
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await work(client)

    return asyncio.run(run())


def ask(app, method="POST", path="/predict", **options):
    """One request's response."""
    return with_client(app, lambda client: client.request(method, path, **options))


def counted(app, name, **labels):
    """What a counter stands at."""
    return app.state.service.metrics.registry.get_sample_value(f"exitsearch_{name}", labels)

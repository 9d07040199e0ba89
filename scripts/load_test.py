"""Put a server under a multiple of its capacity: what it admits, whether that is in time, and what it refuses.

    python scripts/load_test.py [BUNDLE] [--loads 0.5,2] [--seconds 20] [--budget-ms MS] [--json FILE]

Server and client are two processes on this machine and talk over loopback. First the capacity is measured: one request
more than there are workers at any time, each sent as soon as another is answered. Then, for every load, requests are
sent at random moments (a Poisson process) at that multiple of the capacity, whatever becomes of them. Times are the
client's, from the first byte sent to the last byte received, so the network and the client's own delays count against
the server. Without BUNDLE one is made by hand, of three exits of some milliseconds each, measured here.

Exit status 1 where the p99 of what was admitted lies behind the deadline, or a request got no clear answer.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import figures
import numpy as np
from served import Running, photo, serving, timed_bundle

from exitsearch.errors import InputError

# Connections of the client; more requests than that are never open, since the server refuses.
MOST_OPEN = 128
# By which a deadline exceeds what the final exit takes, where none is given.
ROOM = 3.0


@dataclass
class Seen:
    """What the client saw of one load.

    Attributes:
        statuses: how many of each of HTTP; 0: no clear answer.
        times: of answers in ms [answers].
        late_there: answers that the server itself called late.
        reasons: of refusals.
        exits: that answered.
        refused_times: of refusals in ms.
        lags: from the planned moment of a request to its first byte, in ms.
        seconds: of the load.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    late_there: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    refused_times: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, status: int, found: dict[str, Any], ms: float) -> None:
        """Take in one answer."""
        self.statuses[status] += 1
        if status == 200:
            self.times.append(ms)
            self.late_there += found["status"] == "late"
            self.exits[found["exit_name"]] += 1
        elif status == 503:
            self.reasons[found["reason"]] += 1
            self.refused_times.append(ms)


class Client:
    """Sends one request over and over, over connections that are kept.

    Args:
        port: on 127.0.0.1.
        content: of the request.
        kind: its content type.
        budget_ms: that it has.
    """

    def __init__(self, port: int, content: bytes, *, kind: str, budget_ms: float) -> None:
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\nX-Budget-Ms: {budget_ms:.6g}\r\n\r\n"
        )
        self._port, self._raw = port, head.encode() + content
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, seen: Seen, *, planned: float | None = None) -> None:
        """One request, and what came of it."""
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        begin = time.perf_counter()
        if planned is not None:
            seen.lags.append((begin - planned) * 1e3)
        try:
            writer.write(self._raw)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            ms = (time.perf_counter() - begin) * 1e3
            seen.add(int(head[9:12]), json.loads(body), ms)
        except (OSError, EOFError, ValueError, KeyError):
            seen.statuses[0] += 1
            writer.close()
            return
        self._idle.append(connection)

    def close(self) -> None:
        """Let go of the connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def closed_loop(client: Client, *, at_once: int, seconds: float) -> Seen:
    """So many requests at any time."""
    seen, begin = Seen(), time.perf_counter()

    async def one_after_another() -> None:
        while time.perf_counter() - begin < seconds:
            await client.send(seen)

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    seen.seconds = time.perf_counter() - begin
    return seen


async def open_loop(client: Client, *, rate: float, seconds: float, seed: int) -> Seen:
    """So many requests a second at random moments, whatever becomes of them."""
    rng = np.random.default_rng(seed)
    moments = np.cumsum(rng.exponential(1 / rate, size=max(1, round(rate * seconds)))).tolist()
    seen, begin = Seen(), time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()
    for moment in moments:
        wait = begin + moment - time.perf_counter()
        await asyncio.sleep(max(wait, 0))
        while len(under_way) >= MOST_OPEN:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(client.send(seen, planned=begin + moment))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way)
    seen.seconds = time.perf_counter() - begin
    return seen


def summary(seen: Seen, *, load: float, rate: float, budget_ms: float) -> dict[str, Any]:
    """The figures of one load; shares are of what was admitted."""
    total, answers = sum(seen.statuses.values()), len(seen.times)
    p50, p99 = (float(np.quantile(seen.times, q)) if answers else None for q in (0.5, 0.99))
    refused = sum(seen.reasons.values())
    return {
        "load": load,
        "rate_per_s": rate,
        "sent": total,
        "answered": answers,
        "answered_per_s": answers / seen.seconds,
        "refused": refused,
        "reasons": dict(seen.reasons),
        "refused_p99_ms": float(np.quantile(seen.refused_times, 0.99)) if refused else None,
        "unclear": total - answers - refused,
        "exits": dict(sorted(seen.exits.items())),
        "budget_ms": budget_ms,
        "p50_ms": p50,
        "p99_ms": p99,
        "misses": sum(ms > budget_ms for ms in seen.times),
        "misses_there": seen.late_there,
        "client_lag_p99_ms": float(np.quantile(seen.lags, 0.99)) if seen.lags else None,
        "kept": p99 is not None and p99 <= budget_ms and total == answers + refused,
    }


def loads(text: str) -> tuple[float, ...]:
    """Multiples of the capacity with commas between, for argparse."""
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < load <= 100 for load in found):
        raise argparse.ArgumentTypeError(f"numbers above 0, at most 100, with commas between; found {text!r}")
    return found


def timed(work: Callable[[], Awaitable[Seen]]) -> Seen:
    """Run it without pauses of the garbage collector, which would be taken for the server's."""

    async def run() -> Seen:
        return await work()

    gc.collect()
    gc.disable()
    try:
        return asyncio.run(run())
    finally:
        gc.enable()


def measure(options: argparse.Namespace, running: Running) -> list[dict[str, Any]]:
    """Capacity, then every load."""
    facts = json.loads(running.get("/bundle"))
    usual = facts["exits"][-1]["planned_ms"] + facts["preparation_ms"] + facts["reply_ms"]
    budget_ms = options.budget_ms or round(ROOM * usual, 1)
    channels, height, width = facts["input_size"]
    if facts["images"]:
        content, kind = photo((2 * width, 2 * height)), "image/jpeg"
    else:
        content, kind = bytes(4 * channels * height * width), "application/octet-stream"

    def run(work: Callable[[Client], Awaitable[Seen]]) -> Seen:
        async def once() -> Seen:
            client = Client(running.port, content, kind=kind, budget_ms=budget_ms)
            try:
                return await work(client)
            finally:
                client.close()

        return timed(once)

    at_once = facts["bounds"]["workers"] + 1
    seen = run(partial(closed_loop, at_once=at_once, seconds=options.seconds / 2))
    if not seen.times:
        raise InputError(f"nothing was answered within {budget_ms:g} ms: {dict(seen.reasons)}; give more --budget-ms")
    capacity = len(seen.times) / seen.seconds
    print(f"capacity: {capacity:.1f} answers a second with {at_once} requests at once; deadline {budget_ms:g} ms")
    table = figures.Table(
        {
            "load": "6.2f",
            "sent/s": "8.1f",
            "answered/s": "10.1f",
            "refused": "8.1%",
            "p50 ms": "8.2f",
            "p99 ms": "8.2f",
            "misses": "8.2%",
            "kept": ">5",
        }
    )
    rows = []
    for number, load in enumerate(options.loads):
        rate = load * capacity
        flood = partial(open_loop, rate=rate, seconds=options.seconds, seed=options.seed + number)
        seen = run(flood)
        row = summary(seen, load=load, rate=rate, budget_ms=budget_ms)
        row["capacity_per_s"] = capacity
        rows.append(row)
        table.row(
            load,
            row["sent"] / seen.seconds,
            row["answered_per_s"],
            row["refused"] / row["sent"],
            row["p50_ms"],
            row["p99_ms"],
            row["misses"] / max(1, row["answered"]),
            row["kept"],
        )
        print(f"  exits {row['exits']}, refused {row['reasons']}, late by the server's clock {row['misses_there']}, "
              f"the client sent late by {row['client_lag_p99_ms']:.2f} ms (p99)")  # fmt: skip
    return rows


def work(options: argparse.Namespace) -> int:
    if options.seconds <= 0:
        raise InputError(f"--seconds must be above 0, found {options.seconds:g}")
    with tempfile.TemporaryDirectory() as made:
        bundle = options.bundle or timed_bundle(Path(made) / "bundle")
        server_options = ["--queue", str(options.queue)]
        if options.workers:
            server_options += ["--workers", str(options.workers)]
        with serving(bundle, *server_options) as running:
            rows = measure(options, running)
    figures.write(options, {"loads": rows})
    return 0 if all(row["kept"] for row in rows) else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="what is served (default: made here)")
    parser.add_argument("--loads", type=loads, default=(0.5, 2.0), metavar="A,B", help="multiples of the capacity")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of each load (default: %(default)s)")
    parser.add_argument("--budget-ms", type=float, metavar="MS", help="default: three times what the final exit takes")
    parser.add_argument("--workers", type=int, metavar="N", help="of the server (default: its own)")
    parser.add_argument("--queue", type=int, default=16, metavar="N", help="of the server (default: %(default)s)")
    figures.add_option(parser, "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

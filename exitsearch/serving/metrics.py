"""What a server counts, for Prometheus; a registry of its own, so that several may stand in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from exitsearch.serving.admission.line import Line
from exitsearch.serving.faults import REASONS, Reason

# In s; budgets of interest lie between a millisecond and a second.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counters of one server.

    Args:
        exits: in words.
    """

    def __init__(self, exits: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._exits = [f"{number}:{name}" for number, name in enumerate(exits)]

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"exitsearch_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"exitsearch_{name}", text, registry=self.registry, buckets=_BUCKETS)

        self._answers = counter("answers", "Answers by exit (number:placement:head)", ["exit"])
        self._misses = counter("misses", "Answers behind their deadline")
        self._refused = counter("refused", "Requests refused since they could not be answered in time", ["reason"])
        self._wrong = counter("wrong_requests", "Requests that break a rule, by status", ["status"])
        self._failures = counter("failures", "Requests over which the server failed")
        self._abandoned = counter("abandoned", "Requests whose sender went away before the answer")
        self._latency = histogram("latency_seconds", "From the arrival of a request to its answer's way back")
        self._waited = histogram("waited_seconds", "From the arrival of a request to the moment a worker takes it")
        for name in self._exits:
            self._answers.labels(name)
        for reason in REASONS:
            self._refused.labels(reason)
        ProcessCollector(registry=self.registry)

    def watch(self, line: Line, *, slow_down: Callable[[], float], delay_ms: Callable[[], float]) -> None:
        """Show the line's state and how slow the session finds the machine whenever somebody looks."""
        shown: dict[tuple[str, str], Callable[[], float]] = {
            ("queue_length", "Admitted requests that wait"): lambda: line.waiting,
            ("running", "Requests that are computed now"): lambda: line.running,
            ("slow_down", "How many times slower than the bundle's medians this machine is planned with"): slow_down,
            ("delay_ms", "By how much a request is planned to be delayed beyond that"): delay_ms,
        }
        for (name, text), read in shown.items():
            Gauge(f"exitsearch_{name}", text, registry=self.registry).set_function(read)

    def answered(self, *, exit_: int, in_time: bool, total_ms: float, waited_ms: float) -> None:
        """An answer went out."""
        self._answers.labels(self._exits[exit_]).inc()
        self._latency.observe(total_ms / 1e3)
        self._waited.observe(waited_ms / 1e3)
        if not in_time:
            self._misses.inc()

    def refused(self, reason: Reason) -> None:
        """A request was refused."""
        self._refused.labels(reason).inc()

    def wrong(self, status: int) -> None:
        """A request broke a rule."""
        self._wrong.labels(str(status)).inc()

    def failed(self) -> None:
        """The server failed over a request."""
        self._failures.inc()

    def abandoned(self) -> None:
        """Nobody waits for an answer any more."""
        self._abandoned.inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it (text format, version 0.0.4)."""
        return generate_latest(self.registry)

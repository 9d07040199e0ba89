"""A session: a bundle, loaded and ready to answer. For many threads at once, with one set of weights.

>>> from exitsearch.runtime import load_bundle                # doctest: +SKIP
>>> session = load_bundle("BUNDLE")                           # doctest: +SKIP
>>> answer = session.predict("cat.jpg", budget_ms=25)         # doctest: +SKIP
>>> answer.name, answer.exit, answer.in_time                  # doctest: +SKIP
('cat', 1, True)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .answer import Answer, Status, answer_of
from .bundle.manifest import Manifest
from .bundle.trust import open_bundle
from .deadline import Plan, Table, Times
from .errors import BundleError, RequestError
from .graphs import NO_SIDE, Graphs, Units
from .images import MOST_PIXELS, described, is_image, prepare_image
from .lookout import Lookout
from .pauses import Pauses
from .policies import Interruptible, Only, Policy
from .policy_of_request import policy_of
from .requests import (
    LONGEST_MS,
    MOST_ROWS,
    check_array,
    check_arrival,
    check_number,
    check_quantile,
    check_side,
    check_whole,
    zeros,
)
from .slow_down import SlowDown
from .started import Started
from .threads import Threads
from .work import Work

Arrays = NDArray[Any]

# Bytes of a bundle that are loaded without a word: a model of 2 billion numbers in fp32.
_MOST_BYTES = 8 * 2**30
_MOST_THREADS = 1024


def load_bundle(
    path: Path | str,
    *,
    threads: int | None = None,
    quantile: float = 0.99,
    most_bytes: int = _MOST_BYTES,
    most_pixels: int = MOST_PIXELS,
) -> Session:
    """Load a bundle.

    Every file is checked against the manifest before any parser sees it (`trust.py` says what that promises). Loading
    runs every exit once over zeros.

    Args:
        path: its folder.
        threads: that one request may use, 1 to 1024; None: as many as the latency table was measured with, which plans
            are made by, or as this machine has. Requests of several threads run beside each other anyhow.
        quantile: by which deadlines are planned: 0.5, 0.9 or 0.99 of the bundle's latency table.
        most_bytes: that the bundle's files together may have.
        most_pixels: that an image may have before it is resized.

    Raises:
        BundleError: the bundle is not as it should be, or not for this package.
        RequestError: an argument is out of its range.
        MissingError: onnxruntime is not installed, or too old.
    """
    if threads is not None:
        check_whole("threads", threads, high=_MOST_THREADS)
    check_quantile(quantile)
    check_whole("most_bytes", most_bytes, high=2**62)
    check_whole("most_pixels", most_pixels, high=2**62)
    with open_bundle(path, most_bytes=most_bytes) as bundle:
        if bundle.manifest.format != "onnx":
            raise BundleError(
                path,
                f"this package runs bundles of the format onnx, found {bundle.manifest.format}",
                remedy="write it with exitsearch export --format onnx",
            )
        if threads is None:
            threads = min(bundle.manifest.latency.threads, os.cpu_count() or 1)
        graphs = Graphs(bundle, threads=threads)
    return Session(bundle.manifest, units=graphs, quantile=quantile, most_pixels=most_pixels)


class Session:
    """A loaded bundle. Made by `load_bundle`.

    Attributes:
        manifest: what the bundle says about itself.
        quantile: by which deadlines are planned.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        units: Units,
        quantile: float = 0.99,
        most_pixels: int = MOST_PIXELS,
        correction: bool = True,
        clock: Callable[[], float] = time.perf_counter,
        pauses: Pauses | None = None,
    ) -> None:
        self.manifest, self.quantile = manifest, quantile
        self._units, self._clock, self._most_pixels = units, clock, most_pixels
        self._table = Table(manifest.latency, quantile=quantile)
        self._slow_down = SlowDown(quantile=quantile, clock=clock, corrects=correction)
        self._pauses = pauses or Pauses(manifest.latency.after_pause, clock=clock)
        self._threads = Threads()
        self._lookout = Lookout(self._look, threads=self._threads, clock=clock) if correction else None

    @property
    def slow_down(self) -> float:
        """How many times slower than in the table this machine is now, in the mean; at least 1."""
        return self._slow_down.pace

    @property
    def delay_ms(self) -> float:
        """By how much a request is delayed beyond that, at the quantile, in ms; at least 0."""
        return max(0.0, self._slow_down.delay_ms)

    @property
    def extra_ms(self) -> float:
        """By how much a request that begins now takes longer than in the table, for the pause before it, in ms."""
        return self._pauses.extra_ms

    def refused(self) -> None:
        """Say that a request was refused elsewhere by what this session plans with; `predict` does so itself.

        As long as the machine is planned with as a slow one, it is then looked at now and then (`lookout.py`).
        """
        if self._lookout is not None and self._slow_down.is_felt:
            self._lookout.refused()

    def planned_ms(self, times: Times) -> float:
        """What so much work is planned with now, in ms."""
        pace, delay_ms = self._slow_down.now()
        return times.planned(pace=pace, delay_ms=delay_ms)

    @property
    def exits(self) -> tuple[str, ...]:
        """The exits in words, as `3:linear`, last `final`."""
        return self.manifest.exits

    def replanned(self, *, quantile: float | None = None, correction: bool = True) -> Self:
        """A session over the same graphs that plans otherwise, and knows nothing yet of how slow the machine is.

        Args:
            quantile: 0.5, 0.9 or 0.99; None: as this one.
            correction: whether plans are corrected by how slow the machine is; without, by the table alone.

        Raises:
            RequestError: another quantile.
        """
        quantile = self.quantile if quantile is None else quantile
        check_quantile(quantile)
        return type(self)(
            self.manifest,
            units=self._units,
            quantile=quantile,
            most_pixels=self._most_pixels,
            correction=correction,
            clock=self._clock,
            pauses=self._pauses,
        )

    def prepare(self, image: Any) -> NDArray[np.float32]:
        """An image as an input [channels, height, width], as the model was trained.

        Args:
            image: a path, a file opened for bytes, an image of Pillow, or pixels [height, width] or [height, width,
                channels] of unsigned whole numbers.

        Raises:
            RequestError: it cannot be decoded, is too large, or the model takes no images.
            MissingError: Pillow is not installed.
        """
        if self.manifest.preprocessing is None:
            raise RequestError(
                f"the bundle of {self.manifest.model} does not say how images become inputs; give inputs as arrays "
                f"{list(self.manifest.input_size)}"
            )
        return prepare_image(
            image, self.manifest.preprocessing, size=self.manifest.input_size, most_pixels=self._most_pixels
        )

    def predict(
        self,
        x: Any,
        *,
        side: Mapping[str, Any] | None = None,
        budget_ms: float | None = None,
        confidence: float | None = None,
        mean_budget_ms: float | None = None,
        arrived: float | None = None,
    ) -> Answer:
        """Answer one input.

        With a budget alone, the best exit that can answer in time does (the policy contract); without anything, the
        best exit of all. With `confidence` or `mean_budget_ms` the first exit that is sure enough does; a budget beside
        it is a hard deadline.

        Args:
            x: an input [channels, height, width] or [1, channels, height, width] of floating-point numbers, or an image
                as for `prepare`, whose preparation counts as time spent.
            side: side inputs [channels, height, width] by name, where the bundle's heads read any: all of them.
            budget_ms: above 0, counted from `arrived`; no segment is started that could not finish within it, at the
                session's quantile.
            confidence: the score at which an input leaves: 0 to 1, or under `patience` how many answers in a row are
                the same, from 1.
            mean_budget_ms: that requests may take in the mean (or at the quantile of the bundle's table): the bundle's
                own operating point for it is taken.
            arrived: when the request came, by `time.perf_counter()`; None: now.

        Raises:
            RequestError: something is out of its range or of another shape.
            RunError: a graph failed over this input.
        """
        begin = check_arrival(arrived, now=self._clock())
        inputs, beside = self._input(x)[None], check_side(side, self.manifest, rows=None)
        return self._predict(inputs, beside, begin, budget_ms, confidence, mean_budget_ms)[0]

    def predict_batch(
        self,
        xs: Sequence[Any] | Arrays,
        *,
        side: Mapping[str, Arrays] | None = None,
        budget_ms: float | None = None,
        confidence: float | None = None,
        mean_budget_ms: float | None = None,
        arrived: float | None = None,
    ) -> list[Answer]:
        """Answer several inputs in one run; arguments as for `predict`.

        A budget is for the whole batch, whose times are planned as those of so many batches of the table. Inputs that
        are sure leave, the others go on. Bundles of precision int8 answer slightly differently in a batch, since one
        scale holds for all of it.

        Args:
            xs: inputs [batch, channels, height, width], or a list of what `predict` takes; 1 to 65,536.
            side: side inputs [batch, channels, height, width] by name.
        """
        begin = check_arrival(arrived, now=self._clock())
        if isinstance(xs, np.ndarray) and not is_image(xs):
            check_array(xs, self.manifest, axes=4)
            inputs = xs
        elif isinstance(xs, list | tuple) and 1 <= len(xs) <= MOST_ROWS:
            inputs = np.stack([self._input(x) for x in xs])
        else:
            raise RequestError(
                f"a batch is a list of 1 to {MOST_ROWS} inputs, or an array [batch, channels, height, width], found "
                f"{described(xs)}; "
                "give such"
            )
        beside = check_side(side, self.manifest, rows=len(inputs))
        return self._predict(inputs, beside, begin, budget_ms, confidence, mean_budget_ms)

    def start(self, x: Any, *, side: Mapping[str, Any] | None = None, arrived: float | None = None) -> Started:
        """Begin to answer one input whose budget is not known yet (the policy interruptible).

        A thread of its own runs exit after exit; `answer()` of what is returned may be called at any moment, from any
        thread, takes the best finished answer and ends the work.

        Args:
            x: as for `predict`.
            side: as for `predict`.
            arrived: as for `predict`.

        Raises:
            RequestError: as for `predict`.
        """
        begin = check_arrival(arrived, now=self._clock())
        inputs, beside = self._input(x)[None], check_side(side, self.manifest, rows=None)
        plan = self._plan(None)
        work = self._work(Interruptible(self.manifest.values, plan), begin, rows=1, side=beside)
        return Started(
            work,
            inputs,
            threads=self._threads,
            judge=lambda best, spent: answer_of(self.manifest, best, "ok" if best else "none", spent),
        )

    def every_exit(self, xs: Arrays, *, side: Mapping[str, Arrays] | None = None) -> list[Arrays]:
        """The outputs [batch, num_outputs] of every exit, the final one last: all heads are run, nothing is planned.

        Args:
            xs: inputs [batch, channels, height, width] of floating-point numbers.
            side: side inputs [batch, channels, height, width] by name.

        Raises:
            RequestError: they are something else.
            RunError: a graph failed over them.
        """
        check_array(xs, self.manifest, axes=4)
        beside = check_side(side, self.manifest, rows=len(xs))
        state = self._units.begin(xs, beside) if beside else self._units.begin(xs)
        stop, found = self._units.new_stop(), []
        for position in range(len(self.exits)):
            state = self._units.segment(position, state, stop)
            found.append(self._units.head(position, state, stop))
        return found

    def _predict(
        self,
        inputs: Arrays,
        side: Mapping[str, Arrays],
        begin: float,
        budget_ms: float | None,
        confidence: float | None,
        mean_budget_ms: float | None,
    ) -> list[Answer]:
        if budget_ms is not None:
            check_number("budget_ms", budget_ms, high=LONGEST_MS)
        plan = self._plan(budget_ms, rows=len(inputs))
        policy = policy_of(self.manifest, plan, confidence=confidence, mean_budget_ms=mean_budget_ms)
        if policy is None:
            return [self._refused(begin, mean_budget_ms) for _ in inputs]
        work = self._work(policy, begin, rows=len(inputs), side=side)
        work.run(inputs)
        found = work.best()
        spent = work.spent_ms
        if all(best is None for best in found):
            self.refused()
            plan.rows = len(inputs)
            needed = min(plan.needs_ms(done=0, to=position) for position in range(len(self.exits)))
            return [Answer(status="refused", time_ms=spent, needed_ms=needed) for _ in inputs]
        status: Status = "late" if budget_ms is not None and spent > budget_ms else "ok"
        return [answer_of(self.manifest, best, status, spent) for best in found]

    def _look(self) -> None:
        """Run the first exit over zeros, for `Lookout`; after a pause caches are cold, so the second run counts."""
        inputs, side = zeros(self.manifest)
        policy = Only(self.manifest.values, self._plan(None), exit_=0)
        for session in (self.replanned(correction=False), self):
            session._work(policy, self._clock(), rows=1, side=side).run(inputs)

    def _plan(self, budget_ms: float | None, *, rows: int = 1) -> Plan:
        return Plan(self._table, self._slow_down, budget_ms=budget_ms, rows=rows, extra_ms=self.extra_ms)

    def _refused(self, begin: float, mean_budget_ms: float | None) -> Answer:
        assert self.manifest.confidence is not None
        needed = next((point.budget_ms for point in self.manifest.confidence.points), None)
        return Answer(status="refused", time_ms=(self._clock() - begin) * 1e3, needed_ms=needed)

    def _work(self, policy: Policy, begin: float, *, rows: int, side: Mapping[str, Arrays] = NO_SIDE) -> Work:
        return Work(
            self._units,
            policy,
            table=self._table,
            slow_down=self._slow_down,
            clock=self._clock,
            arrived=begin,
            rows=rows,
            side=side,
            pauses=self._pauses,
        )

    def _input(self, x: Any) -> Arrays:
        """One input [channels, height, width] of any of the kinds that are taken."""
        if is_image(x):
            return self.prepare(x)
        if isinstance(x, np.ndarray) and x.ndim == 4 and x.shape[0] == 1:
            x = x[0]
        check_array(x, self.manifest, axes=3)
        return x  # type: ignore[no-any-return]

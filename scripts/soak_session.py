"""Let threads ask one session for as long as wanted: no answer may be lost or wrong, and memory may not grow.

    python scripts/soak_session.py --seconds 3600 --workers 8 --json figures.json

Threads ask a bundle made by hand (or the one that `--bundle` names) in every way there is: with budgets, with a
confidence, in batches, and started and interrupted. Every answer must have a clear status; answers of one exit must be
bit by bit what the session said at first (over batches of one). Memory is looked at after a tenth of the time, when
arenas and stacks have their size, and at the end: growth is the median of the last tenth less that of the second one.
Exit status 1 where an answer was lost or wrong, or memory has grown by more than `--most-growth-mb`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import figures
import numpy as np
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import Answer, Session, load_bundle

INPUTS = 16
# Parts of the time that memory is compared over.
PARTS = 10


class Asked:
    """What threads have asked and got.

    Args:
        session: is asked.
        seed: of the inputs.
    """

    def __init__(self, session: Session, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.session = session
        self.xs = rng.standard_normal((INPUTS, *session.manifest.input_size)).astype(np.float32)
        self.first = [[outputs[0].tobytes() for outputs in session.every_exit(x[None])] for x in self.xs]
        self.statuses: Counter[str] = Counter()
        self.exits: Counter[str] = Counter()
        self.asked = 0
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def once(self, rng: np.random.Generator) -> None:
        """Ask once, and look at what comes."""
        number, way = int(rng.integers(INPUTS)), int(rng.integers(5))
        x, session = self.xs[number], self.session
        answers: list[Answer]
        if way == 0:
            answers = [session.predict(x)]
        elif way == 1:
            answers = [session.predict(x, budget_ms=float(rng.uniform(0.01, 20)))]
        elif way == 2 and session.manifest.task == "classification":
            answers = [session.predict(x, confidence=float(rng.uniform(0.1, 1)))]
        elif way == 3:
            rows = rng.integers(0, INPUTS, 4)
            answers = session.predict_batch(self.xs[rows])
            number = -1  # products of batches may round differently
        else:
            with session.start(x) as started:
                started.wait(float(rng.uniform(0, 0.002)))
                answers = [started.answer()]
        self._take(number, answers, expected=4 if way == 3 else 1)

    def _take(self, number: int, answers: list[Answer], *, expected: int) -> None:
        with self._lock:
            self.asked += expected
            for answer in answers:
                self.statuses[answer.status] += 1
                if answer.exit is None:
                    continue
                self.exits[str(answer.exit)] += 1
                said = None if answer.outputs is None else answer.outputs.tobytes()
                known = self.first[number][answer.exit] if number >= 0 else said
                if said is None or said != known:
                    self.wrong.append(f"input {number}, exit {answer.exit}")

    def work(self, seed: int, until: float) -> None:
        """Ask until the time has come."""
        rng = np.random.default_rng(seed)
        try:
            while time.monotonic() < until:
                self.once(rng)
        except Exception as error:  # a thread that ends in silence would pass for a quiet one
            with self._lock:
                self.wrong.append(f"{type(error).__name__}: {error}")


def memory_mb() -> float:
    """Resident memory of this process, in MB; for Linux."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024 / 1e6


def soak(session: Session, *, workers: int, seconds: float, seed: int) -> dict[str, Any]:
    """Let so many threads ask for so long; what came of it."""
    asked = Asked(session, seed=seed)
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=asked.work, args=(seed + n, until)) for n in range(workers)]
    for thread in threads:
        thread.start()
    samples = []
    while time.monotonic() < until:
        samples.append(memory_mb())
        time.sleep(min(seconds / 100, 1.0))
    for thread in threads:
        thread.join()
    part = max(1, len(samples) // PARTS)
    early, late = statistics.median(samples[part : 2 * part] or samples), statistics.median(samples[-part:])
    return {
        "asked": asked.asked,
        "answered": sum(asked.statuses.values()),
        "statuses": dict(asked.statuses),
        "exits": dict(sorted(asked.exits.items())),
        "wrong": asked.wrong[:20],
        "memory_mb": round(late, 1),
        "growth_mb": round(late - early, 2),
        "threads_left": threading.active_count() - 1,
    }


def work(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        path = options.bundle or write_tiny_bundle(Path(folder) / "bundle", width=256, steps=4).path
        session = load_bundle(path)
    found = soak(session, workers=options.workers, seconds=options.seconds, seed=options.seed)
    lost = found["asked"] - found["answered"]
    print(f"{found['asked']} asked by {options.workers} threads in {options.seconds:g} s, {lost} lost, ", end="")
    print(f"{len(found['wrong'])} wrong; {', '.join(f'{count} {name}' for name, count in found['statuses'].items())}")
    print(f"memory {found['memory_mb']} MB, grown by {found['growth_mb']} MB")
    for what in found["wrong"]:
        print(f"  wrong: {what}")
    passed = not lost and not found["wrong"] and found["growth_mb"] <= options.most_growth_mb
    figures.write(options, {"passed": passed, "lost": lost, **found})
    return 0 if passed else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle (default: one made by hand)")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="threads that ask (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long (default: %(default)s)")
    parser.add_argument(
        "--most-growth-mb", type=float, default=5.0, metavar="MB", help="of memory (default: %(default)s)"
    )
    figures.add_options(parser, "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())

"""Load mutated bundles and ask mutated requests; report everything that is not a clear answer or a clear refusal.

Each case runs in a child that is started anew where it dies or hangs, so that a crash is counted and not suffered. A
case is told by its number alone: the same number is the same case. Beside the bundle lies a file that nothing may read
or change, which shows by its times.

    python scripts/fuzz_bundle.py --bundles 1000 --requests 1000 --json figures.json

Exit status 1 where a case crashes, hangs, prints, ends in a traceback, or touches a file outside.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import figures
import numpy as np
from mutations import draw_request, mutate_bundle
from tiny_bundle import write_tiny_bundle

from exitsearch.runtime import Answer, BundleError, RequestError, RunError, Session, load_bundle

HERE = Path(__file__).parent
STATUSES = ("ok", "late", "refused", "none")
# A case takes milliseconds; a hostile graph is stopped by the session itself after a minute.
_HANGS_S = 100.0
_X = np.zeros((3, 8, 8), dtype=np.float32)


class Guard:
    """A file that nothing may touch.

    Its access time is set before that of its last change, where file systems that update it seldom (relatime) do so
    with the first read; whether this one does is tried at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(bytes(4096))
        self._reset()
        path.read_bytes()
        self.sees_reads = self._state() != self._untouched
        self._reset()

    def _reset(self) -> None:
        now = time.time_ns()
        os.utime(self._path, ns=(10**9, now))
        self._untouched = self._state()

    def _state(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_atime_ns, found.st_mtime_ns, found.st_size

    def touched(self) -> bool:
        """Whether something read or wrote it since the last time."""
        if self._path.exists() and self._state() == self._untouched:
            return False
        self._path.write_bytes(bytes(4096))
        self._reset()
        return True


def said(outcome: str, error: Exception) -> str:
    """An outcome that has to say why, in one line."""
    if len(str(error)) < 20 or "\n" in str(error):
        raise AssertionError(f"a refusal is one sentence, found {str(error)!r}")
    return outcome


def judge_bundle(folder: Path) -> str:
    """What becomes of a bundle: `refused`, or what its answers come to."""
    try:
        session = load_bundle(folder)
    except BundleError as error:
        return said("refused", error)
    return "loaded: " + judge_request(session, "predict", _X + 1, {"confidence": 0.5})


def judge_request(session: Session, method: str, x: Any, options: dict[str, Any]) -> str:
    """What becomes of a request: a status, or `refused input` and `failed graph`."""
    try:
        found: Any = getattr(session, method)(x, **options)
        if method == "start":
            assert found.wait(_HANGS_S), "a request must end"
            found = found.answer()
    except RequestError as error:
        return said("refused input", error)
    except RunError as error:
        return said("failed graph", error)
    answers = found if isinstance(found, list) else [found]
    assert all(isinstance(answer, Answer) and answer.status in STATUSES for answer in answers)
    for answer in answers:
        assert (answer.outputs is not None) == (answer.status in ("ok", "late")), answer
    return str(answers[0].status)


def child(kind: str, first: int, last: int, *, seed: int, folder: Path | str) -> None:
    """Run some cases; one line of JSON each."""
    warnings.simplefilter("ignore")  # Pillow's about broken pictures
    folder = Path(folder)
    original = folder / "original"
    guard = Guard(folder / "secret.bin")
    session = load_bundle(original) if kind == "request" else None
    for number in range(first, last):
        rng = np.random.default_rng([seed, number, kind == "request"])
        begin, what, failure = time.perf_counter(), "", None
        try:
            if session is None:
                what = mutate_bundle(rng, original, folder / "bundle")
                outcome = judge_bundle(folder / "bundle")
            else:
                method, x, options = draw_request(rng)
                what = f"{method} of {type(x).__name__} with {options}"[:300]
                outcome = judge_request(session, method, x, options)
        except Exception:
            outcome, failure = "TRACEBACK", traceback.format_exc()
        if guard.touched():
            outcome, failure = "TOUCHED", f"a file outside the bundle was touched ({outcome})"
        facts = {"case": number, "what": what, "outcome": outcome, "failure": failure}
        print(json.dumps(facts | {"seconds": time.perf_counter() - begin}), flush=True)


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def run_cases(kind: str, count: int, *, seed: int, folder: Path) -> list[dict[str, Any]]:
    """All cases of a kind, in as many children as it takes."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        first = len(found)
        call = f"child({kind!r}, {first}, {count}, seed={seed}, folder={str(folder)!r})"
        command = [sys.executable, "-c", f"import fuzz_bundle; fuzz_bundle.{call}"]
        with tempfile.TemporaryFile("w+") as complaints:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True, cwd=HERE)
            assert process.stdout is not None
            lines: queue.Queue[str | None] = queue.Queue()
            threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
            outcome = "CRASH"
            while len(found) < count:
                try:
                    line = lines.get(timeout=_HANGS_S)
                except queue.Empty:
                    outcome = "HANG"
                    break
                if line is None:
                    break
                if line.startswith('{"case"'):
                    found.append(json.loads(line))
                elif line.strip():
                    found.append(
                        {"case": len(found), "what": "", "outcome": "PRINTED", "failure": line, "seconds": 0.0}
                    )
            process.kill()
            status = process.wait()
            complaints.seek(0)
            said = complaints.read()[-2000:]
        if len(found) < count:
            failure = f"exit status {status}; {said}"
            found.append({"case": len(found), "what": "", "outcome": outcome, "failure": failure, "seconds": 0.0})
        elif said:
            found[-1] |= {"outcome": "PRINTED", "failure": said}
    return found


def summary_of(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Outcomes counted, the failures in full, and how long the longest case took."""
    return {
        "cases": len(cases),
        "outcomes": dict(sorted(Counter(case["outcome"] for case in cases).items())),
        "failures": [case for case in cases if case["outcome"].isupper()],
        "longest_seconds": round(max(case["seconds"] for case in cases), 3),
    }


def fuzz(*, bundles: int, requests: int, seed: int = 0) -> dict[str, Any]:
    """Run it all in a folder of its own; the summary of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-bundle-"))
    try:
        write_tiny_bundle(folder / "original")
        found: dict[str, Any] = {"seed": seed, "reads_are_seen": Guard(folder / "secret.bin").sees_reads}
        for kind, count in (("bundle", bundles), ("request", requests)):
            if count:
                found[kind] = summary_of(run_cases(kind, count, seed=seed, folder=folder))
        left = sorted(path.name for path in folder.iterdir())
        assert set(left) <= {"original", "bundle", "secret.bin"}, f"files were written beside the bundle: {left}"
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(kind: str, facts: dict[str, Any]) -> None:
    outcomes = ", ".join(f"{count} {name}" for name, count in facts["outcomes"].items())
    print(f"{facts['cases']} mutated {kind}s: {outcomes}; the longest took {facts['longest_seconds']} s", flush=True)
    for case in facts["failures"][:5]:
        print(f"  case {case['case']} ({case['what']}): {case['outcome']}\n{case['failure']}")


def work(options: argparse.Namespace) -> int:
    found = fuzz(bundles=options.bundles, requests=options.requests, seed=options.seed)
    kinds = [kind for kind in ("bundle", "request") if kind in found]
    for kind in kinds:
        show(kind, found[kind])
    failures = sum(len(found[kind]["failures"]) for kind in kinds)
    print(f"{failures} failures" + ("" if found["reads_are_seen"] else "; reads of other files cannot be seen here"))
    figures.write(options, {"failures": failures, **found})
    return 1 if failures else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("--bundles", type=int, default=1000, metavar="N", help="mutated bundles (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="mutated requests (the same)")
    figures.add_options(parser, "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    sys.exit(main())

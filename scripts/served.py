"""What the scripts that ask a server share: a bundle whose times are true, and a server of its own process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from tiny_bundle import MANIFEST, write_manifest, write_tiny_bundle

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.runtime.bundle.trust import open_bundle
from exitsearch.runtime.graphs import Graphs

_WIDTH, _STEPS = 512, 250
_MOST_BYTES = 2**30


def timed_bundle(folder: Path, *, rounds: int = 100, width: int = _WIDTH, steps: int = _STEPS) -> Path:
    """Write a bundle of three exits, some milliseconds each, whose latency table is measured here and now.

    Args:
        folder: where to.
        rounds: measurements of every part, from 10.
        width: of its features.
        steps: multiplications of a segment.
    """
    written = write_tiny_bundle(folder, width=width, steps=steps)
    document = json.loads((written.path / MANIFEST).read_text())
    with open_bundle(written.path, most_bytes=_MOST_BYTES) as bundle:
        graphs = Graphs(bundle, threads=1)
    found: dict[str, list[list[float]]] = {"segments": [[], [], []], "heads": [[], []]}
    x = np.zeros((1, *document["input"]["size"]), dtype=np.float32)
    stop = graphs.new_stop()
    for _ in range(rounds):
        state = graphs.begin(x)
        for position in range(3):
            begin = time.perf_counter()
            state = graphs.segment(position, state, stop)
            found["segments"][position].append((time.perf_counter() - begin) * 1e3)
            if position < 2:
                begin = time.perf_counter()
                graphs.head(position, state, stop)
                found["heads"][position].append((time.perf_counter() - begin) * 1e3)
    document["latency"] |= {part: [_quantiles(times) for times in rows] for part, rows in found.items()}
    passes = np.sum([*found["segments"], *found["heads"]], axis=0)
    document["latency"]["slow_down"] = (passes / np.median(passes)).tolist()
    write_manifest(written.path, document)
    return written.path


def _quantiles(times: Sequence[float]) -> dict[str, float]:
    return {name: float(np.quantile(times, q)) for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))}


def photo(size: tuple[int, int]) -> bytes:
    """A JPEG of (width, height) of noise."""
    from PIL import Image

    file = BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, "JPEG")
    return file.getvalue()


@dataclass(frozen=True)
class Running:
    """A server under way.

    Attributes:
        port: on 127.0.0.1.
        process: its own.
    """

    port: int
    process: subprocess.Popen[str]

    def get(self, path: str) -> str:
        """A page of it."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
            return str(response.read().decode())

    @property
    def alive(self) -> bool:
        """Whether it still runs and says so."""
        return self.process.poll() is None and json.loads(self.get("/healthz"))["status"] == "ok"


@contextmanager
def serving(bundle: Path, *options: str, told: Callable[[str], None] | None = None) -> Iterator[Running]:
    """A server of `exitsearch serve` on loopback, ended with the context.

    Args:
        bundle: what it serves.
        options: of the command.
        told: gets what it printed on stderr, at the end.

    Raises:
        InputError: it did not start.
        ExitSearchError: it did not end as it should.
    """
    command = [sys.executable, "-m", "exitsearch", "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
    if address is None:
        raise InputError(f"no server could be started: {process.communicate()[1].strip()}")
    try:
        yield Running(int(address[1]), process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ExitSearchError("the server did not end within a minute of SIGTERM") from None
        if told is not None:
            told(errors)
    if process.returncode:
        raise ExitSearchError(f"the server ended with status {process.returncode}: {errors.strip()[-500:]}")

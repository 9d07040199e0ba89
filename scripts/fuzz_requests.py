"""Ask a server with mutated requests: every answer must be a clear status, and the server must go on as before.

    python scripts/fuzz_requests.py [BUNDLE] [--requests 1000] [--seed 0] [--json FILE]

Sound requests (an image, a form, an input, the pages) are mutated as bytes: flipped, cut, lengthened, lines doubled or
taken out, numbers put in their place that are too large. Each goes over a connection of its own. A fault is: no answer
within some seconds, a connection that ends without one, an answer that is no HTTP or no JSON where JSON is due, a
status that is not known, a traceback in an answer or in the server's output, a changed file in the bundle, or an answer
to a sound request that is another afterwards.

Exit status 1 at a fault.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import figures
from served import Running, photo, serving
from tiny_bundle import write_tiny_bundle

from exitsearch.errors import InputError

KNOWN = {200, 400, 404, 405, 408, 413, 415, 422, 503}
# What the server waits for a header or a body, and how long nobody may have to wait for it.
PATIENCE_S, MOST_S = 0.3, 20.0
AT_ONCE = 8
SHOWN = 5
NUMBERS = (b"0", b"-1", b"99999999999999999999", b"1e400", b"nan", b"\xd9\xa5", b"%s%n", b"\x00")


@dataclass
class Found:
    """What came of the requests.

    Attributes:
        statuses: how many of each of HTTP.
        faults: one sentence each.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def sound_requests(image: bytes, *, numbers: int) -> list[bytes]:
    """Requests that a server answers with 200.

    Args:
        image: a file's bytes.
        numbers: of an input.
    """

    def request(method: str, path: str, content: bytes = b"", **headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: server", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode() + content

    part = (
        b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        + image
        + b"\r\n--edge--\r\n"
    )
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(image), image)
    return [
        request("POST", "/predict", image, Content_Type="image/jpeg", X_Budget_Ms="1000"),
        request("POST", "/predict?outputs=true&confidence=0.5", image, Content_Type="image/jpeg"),
        request("POST", "/predict", part, Content_Type="multipart/form-data; boundary=edge", X_Budget_Ms="1000.5"),
        request("POST", "/predict", bytes(4 * numbers), Content_Type="application/octet-stream"),
        request("POST", "/predict", Content_Type="image/jpeg", Transfer_Encoding="chunked") + chunks,
        *(request("GET", path) for path in ("/bundle", "/metrics", "/healthz", "/readyz", "/docs", "/openapi.json")),
    ]


def mutated(request: bytes, rng: random.Random) -> bytes:
    """A request with one to four faults."""
    changed = request
    for _ in range(rng.randint(1, 4)):
        changed = rng.choice(MUTATIONS)(changed, rng)
    return changed or request  # who says nothing at all has not asked


def _place(request: bytes, rng: random.Random) -> int:
    """A byte of the header as often as one of all."""
    end = request.find(b"\r\n\r\n") + 1 if rng.random() < 0.5 else len(request)
    return rng.randrange(max(1, end))


def _flip(request: bytes, rng: random.Random) -> bytes:
    at = _place(request, rng)
    return request[:at] + bytes([rng.randrange(256)]) + request[at + 1 :]


def _cut(request: bytes, rng: random.Random) -> bytes:
    return request[: _place(request, rng)]


def _insert(request: bytes, rng: random.Random) -> bytes:
    at = _place(request, rng)
    return request[:at] + rng.randbytes(rng.choice((1, 10, 1000, 70_000))) + request[at:]


def _take_out(request: bytes, rng: random.Random) -> bytes:
    at = _place(request, rng)
    return request[:at] + request[at + rng.randint(1, 50) :]


def _double_a_line(request: bytes, rng: random.Random) -> bytes:
    lines = request.split(b"\r\n")
    at = rng.randrange(len(lines))
    return b"\r\n".join([*lines[: at + 1], lines[at], *lines[at + 1 :]])


def _drop_a_line(request: bytes, rng: random.Random) -> bytes:
    lines = request.split(b"\r\n")
    del lines[rng.randrange(len(lines))]
    return b"\r\n".join(lines)


def _other_value(request: bytes, rng: random.Random) -> bytes:
    head, edge, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = rng.randrange(len(lines))
    name, colon, _ = lines[at].partition(b": ")
    lines[at] = name + colon + rng.choice(NUMBERS) if colon else lines[at] + rng.choice(NUMBERS)
    return b"\r\n".join(lines) + edge + body


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _flip,
    _cut,
    _insert,
    _take_out,
    _double_a_line,
    _drop_a_line,
    _other_value,
)


def ask(port: int, request: bytes) -> bytes:
    """All that the server says before it hangs up.

    Raises:
        TimeoutError: it says and does nothing.
    """
    raw, end = b"", time.monotonic() + MOST_S
    with socket.create_connection(("127.0.0.1", port), timeout=MOST_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough; what it said is still there
            connection.sendall(request)
        with suppress(ConnectionResetError):
            while not complete(raw):
                connection.settimeout(max(0.01, end - time.monotonic()))
                got = connection.recv(65536)
                if not got:
                    break
                raw += got
    return raw


def complete(raw: bytes) -> bool:
    """Whether a whole response is there, by its own length."""
    head, edge, body = raw.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(edge) and length.isdigit() and len(body) >= int(length)


def fault(raw: bytes) -> str | None:
    """What is wrong with a response; None: nothing."""
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 3 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return f"no HTTP: {raw[:80]!r}"
    status = int(words[1])
    if b"Traceback" in raw:
        return f"a traceback under {status}"
    if not complete(raw):
        return f"half a response under {status}: {raw[-80:]!r}"
    if b"application/json" not in head.lower():
        return None if status == 200 else f"{status} without JSON: {body[:80]!r}"
    try:
        found = json.loads(body[: int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])])
    except ValueError:
        # The answer to HEAD is a header alone.
        return None if not body else f"JSON that cannot be read under {status}: {body[:80]!r}"
    if status != 200 and ("error" not in found or "\n" in found["error"]):
        return f"{status} without a sentence: {found}"
    if status not in KNOWN and not (status == 500 and "finite" in found["error"]):
        return f"status {status}: {found}"
    return None


def files(folder: Path) -> dict[str, str]:
    """Name to SHA-256 of what lies around a bundle."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fuzz(running: Running, requests: Sequence[bytes]) -> Found:
    """Send all of them, some at a time."""
    found = Found()

    def one(request: bytes) -> tuple[bytes, bytes | None]:
        try:
            return request, ask(running.port, request)
        except TimeoutError:
            return request, None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for request, raw in pool.map(one, requests):
            if raw is None:
                found.faults.append(f"no answer within {MOST_S:g} s to {request[:200]!r}")
            elif not raw:
                found.faults.append(f"hung up without a word on {request[:200]!r}")
            elif (wrong := fault(raw)) is not None:
                found.faults.append(f"{wrong}, asked {request[:200]!r}")
            else:
                found.statuses[int(raw.split(b" ", 2)[1])] += 1
    return found


def label(running: Running, request: bytes) -> object:
    """What a sound request is answered."""
    return json.loads(ask(running.port, request).partition(b"\r\n\r\n")[2])["label"]


def work(options: argparse.Namespace) -> int:
    if options.requests < 1:
        raise InputError(f"--requests must be 1 or more, found {options.requests}")
    rng = random.Random(options.seed)
    said: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        bundle = options.bundle or write_tiny_bundle(Path(made) / "bundle").path
        size = json.loads((bundle / "bundle.json").read_text())["input"]["size"]
        sound = sound_requests(photo((2 * size[2], 2 * size[1])), numbers=size[0] * size[1] * size[2])
        before = files(bundle.parent if options.bundle is None else bundle)
        seconds = str(PATIENCE_S)
        with serving(bundle, "--header-seconds", seconds, "--body-seconds", seconds, told=said.append) as running:
            wrong = [raw for raw in sound if not ask(running.port, raw).startswith(b"HTTP/1.1 200")]
            if wrong:
                raise InputError(f"a sound request was not answered: {ask(running.port, wrong[0])[:300]!r}")
            first = label(running, sound[0])
            found = fuzz(running, [mutated(rng.choice(sound), rng) for _ in range(options.requests)])
            if not running.alive or label(running, sound[0]) != first:
                found.faults.append("the server is not as before")
        if "Traceback" in said[0]:
            found.faults.append(f"a traceback in the server's output: {said[0][-300:]}")
        if files(bundle.parent if options.bundle is None else bundle) != before:
            found.faults.append("files of the bundle have changed")
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
    print(f"{options.requests} mutated requests: {statuses}; faults {len(found.faults)}")
    for sentence in found.faults[:SHOWN]:
        print(f"  {sentence}")
    report = {"requests": options.requests, "statuses": {str(k): n for k, n in sorted(found.statuses.items())}}
    figures.write(options, {**report, "faults": found.faults})
    return 1 if found.faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = figures.make_parser(__doc__, file=__file__)
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="what is served (default: made here)")
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help="default: %(default)s")
    figures.add_option(parser, "--seed")
    return figures.run(work, parser=parser, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""A real server on loopback: what uvicorn leaves open is bounded, and a signal ends it with everything answered."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from exitsearch.errors import InputError
from exitsearch.serving.web.server import address_of, open_socket, watch_loop

PROGRAM = """
import sys
from exitsearch.serving import create_app
from exitsearch.serving.bounds import Bounds
from exitsearch.serving.web.server import open_socket, run_server

bounds = Bounds(header_seconds=0.4, body_seconds=2.0, connections=4, body_bytes=100_000)
listener = open_socket("127.0.0.1", 0)

def started():
    print(listener.getsockname()[1], flush=True)

run_server(create_app(sys.argv[1], bounds=bounds), listener, started=started)
"""


class Running:
    """A server in a process of its own."""

    def __init__(self, bundle):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(bundle)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline())

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server(bundle):
    running = Running(bundle)
    yield running
    running.end()


def head(path="/predict", method="POST", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: server", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection):
    """Status, headers and content of one response."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += (got := connection.recv(65536))
        if not got:
            raise ConnectionError(raw)
    top, _, body = raw.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, json.loads(body)


def posted(connection, content, **headers):
    connection.sendall(head(Content_Type="image/jpeg", Content_Length=len(content), **headers) + content)
    return answer(connection)


def pour(connection):
    """Send until the other side has had enough."""
    while True:
        connection.sendall(bytes(100_000))
        time.sleep(0.02)


def test_requests_over_one_connection(server, jpeg):
    with server.connect() as connection:
        for _ in range(3):
            status, _, found = posted(connection, jpeg)
            assert (status, found["status"], found["exit_name"]) == (200, "ok", "final")


def test_what_is_no_http_gets_a_sentence(server):
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
        status, headers, found = answer(connection)
        assert (status, headers["connection"], list(found)) == (400, "close", ["error"])
        assert connection.recv(1) == b""


def test_a_header_without_end_gets_a_sentence(server):
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000)
        assert answer(connection)[0] == 400


@pytest.mark.parametrize("begin", [b"POST /pre", head(Content_Type="image/jpeg")[:-2]])
def test_a_slow_header_gets_a_sentence(server, begin):
    with server.connect() as connection:
        connection.sendall(begin)
        status, _, found = answer(connection)
        assert (status, found) == (408, {"error": "a request's header must be here within 0.4 s"})
        assert connection.recv(1) == b""


def test_whoever_says_nothing_is_hung_up_on(server):
    with server.connect() as connection:
        assert connection.recv(1) == b""


def test_a_slow_header_behind_an_answer_gets_a_sentence(server, jpeg):
    with server.connect() as connection:
        assert posted(connection, jpeg)[0] == 200
        connection.sendall(b"POST /predi")
        assert answer(connection)[0] == 408
        assert connection.recv(1) == b""


def test_a_body_in_chunks_that_are_none_gets_a_sentence(server):
    with server.connect() as connection:
        connection.sendall(head(Content_Type="image/jpeg", Transfer_Encoding="chunked") + b"5\r\nabcde\r\nno chunk\r\n")
        assert answer(connection)[0] == 400
        assert connection.recv(1) == b""


def test_a_connection_that_waits_between_requests_is_kept(server, jpeg):
    with server.connect() as connection:
        assert posted(connection, jpeg)[0] == 200
        time.sleep(0.8)  # twice the seconds of a header
        assert posted(connection, jpeg)[0] == 200


def test_the_answer_to_a_body_that_is_too_large_arrives_while_it_is_sent(server):
    with server.connect() as connection:
        connection.sendall(head(Content_Type="image/jpeg", Content_Length=10**9))
        connection.sendall(bytes(1_000_000))
        assert answer(connection)[0] == 413
        # What goes on coming is thrown away, but not for ever.
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            pour(connection)


def test_more_connections_than_may_be_get_a_sentence(server, jpeg):
    held = [server.connect() for _ in range(4)]
    try:
        with server.connect() as connection:
            status, headers, found = answer(connection)
            assert (status, headers["retry-after"]) == (503, "1")
            assert "4 connections" in found["error"]
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with server.connect() as connection:
            if posted(connection, jpeg)[0] == 200:
                return
    pytest.fail("the server did not come back")


def test_a_signal_ends_it_with_the_open_request_answered(bundle, jpeg):
    running = Running(bundle)
    with running.connect() as connection:
        connection.sendall(head(Content_Type="image/jpeg", Content_Length=len(jpeg)) + jpeg[:100])
        # The request has begun once its header was read; another one's answer says that it was.
        with running.connect() as other:
            assert posted(other, jpeg)[0] == 200
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(jpeg[100:])
        status, _, found = answer(connection)
        assert (status, found["status"]) == (200, "ok")
        assert connection.recv(1) == b""
    _, errors = running.process.communicate(timeout=60)
    assert (running.process.returncode, errors) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_the_loop_is_watched_by_its_clock():
    """Beats of 10 ms that come 0, 0 and 4 ms late."""
    seen, now, late = [], [0.0], iter([0.0, 0.0, 0.004])

    async def wait(seconds):
        now[0] += seconds + next(late)

    forecast = SimpleNamespace(looked=seen.append)
    with pytest.raises(RuntimeError):  # the waits are at their end
        asyncio.run(watch_loop(forecast, clock=lambda: now[0], wait=wait))
    assert seen == pytest.approx([0.0, 0.0, 4.0], abs=1e-9)


def test_addresses():
    with open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1:{port} .*take another port"):
            open_socket("127.0.0.1", port)
    with pytest.raises(InputError, match="cannot listen at 'no such host"):
        open_socket("no such host", 0)
    with pytest.raises(InputError, match="0 to 65535, found 65536"):
        open_socket("127.0.0.1", 65536)

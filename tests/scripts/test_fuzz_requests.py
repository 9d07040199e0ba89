"""The fuzzer finds nothing in the server, and what it is to find where it stands."""

from __future__ import annotations

import random

import fuzz_requests
import pytest


def test_some_mutated_requests_find_no_fault(call):
    found = call("fuzz_requests", "--requests", "60")
    assert found.status == 0
    assert found.figures["faults"] == []
    assert sum(found.figures["statuses"].values()) == found.figures["requests"] == 60


def response(status, content, kind="application/json"):
    return (
        b"HTTP/1.1 %d Words\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
        % (status, kind.encode(), len(content))
        + content
    )  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (response(400, b'{"error": "a sentence"}'), None),
        (response(200, b"x 1", kind="text/plain"), None),
        (response(500, b'{"error": "outputs that are not finite numbers"}'), None),
        (b"what", "no HTTP"),
        (response(400, b'{"error": "a sentence"}')[:-3], "half a response"),
        (response(400, b"oh dear", kind="text/plain"), "400 without JSON"),
        (response(400, b'{"detail": "a"}'), "without a sentence"),
        (response(400, b'{"error": "a\\nb"}'), "without a sentence"),
        (response(500, b'{"error": "a sentence"}'), "status 500"),
        (response(400, b"oh dear"), "cannot be read"),
        (response(500, b'{"error": "Traceback (most recent call last)"}'), "a traceback"),
    ],
)
def test_faults(raw, words):
    found = fuzz_requests.fault(raw)
    assert found is None if words is None else words in found


def test_mutations_are_the_same_for_a_seed_and_never_nothing():
    sound = fuzz_requests.sound_requests(b"image" * 20, numbers=10)
    first, second = (
        [fuzz_requests.mutated(request, random.Random(7)) for request in sound for _ in range(50)] for _ in range(2)
    )
    assert first == second
    assert all(first)
    assert sum(request not in sound for request in first) > 0.9 * len(first)

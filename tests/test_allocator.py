"""Freed memory stays in the process: in processes of their own, since it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from exitsearch import allocator

# Page faults of ten rounds of getting, touching and freeing 16 MiB, after a round that fetched them.
FAULTS = """
import ctypes, resource, sys
from exitsearch.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
size = 16 << 20
# Without a word glibc learns from what is freed; a fixed threshold is what a small first block leaves it with.
if sys.argv[1] != "keep":
    library.mallopt(-3, 128 << 10)
def once():
    block = library.malloc(size)
    ctypes.memset(block, 1, size)
    library.free(block)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    once()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", FAULTS, what], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept, int(count)


def is_glibc() -> bool:
    return allocator._mallopt() is not None


@pytest.mark.skipif(not is_glibc(), reason="another C library than glibc")
def test_what_was_freed_is_not_fetched_again():
    pages = (16 << 20) // 4096
    assert faults("leave")[1] > 5 * pages
    kept, count = faults("keep")
    assert kept == "True"
    assert count < pages / 10


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory.__wrapped__() is False


def test_other_c_libraries_are_left_alone(monkeypatch):
    class Musl:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: Musl())
    assert allocator.keep_freed_memory.__wrapped__() is False

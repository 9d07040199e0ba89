"""The peak of a process: what was held and let go of again is in it, and what came before is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

SIZE = 64 * 2**20


# In a process of its own: one that keeps what it frees has it already.
WATCHED = """
import torch
from exitsearch.learn.memory import peak_bytes, watch_peak
early = torch.ones(2 * SIZE // 4)
del early
before = watch_peak(torch.device("cpu"))
late = torch.ones(SIZE // 4)
del late
print(peak_bytes(torch.device("cpu")) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_the_peak_is_that_of_what_is_watched():
    code = WATCHED.replace("SIZE", str(SIZE))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9 * SIZE <= int(done.stdout) <= 1.5 * SIZE

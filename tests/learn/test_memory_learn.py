"""The peak of a process: what was held and let go of again is in it, and what came before is not."""

from __future__ import annotations

import sys

import pytest
import torch

from exitsearch.learn.memory import peak_bytes, watch_peak

CPU = torch.device("cpu")
SIZE = 64 * 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_the_peak_is_that_of_what_is_watched():
    early = torch.ones(2 * SIZE // 4)
    del early
    before = watch_peak(CPU)
    late = torch.ones(SIZE // 4)
    held = late.numel() * 4
    del late
    peak = peak_bytes(CPU)
    assert before is not None
    assert peak is not None
    assert 0.9 * held <= peak - before <= 1.5 * held

"""Random streams of a training, each drawn from what it is for: seed, stage, epoch, step and process.

Nothing random is carried from step to step, so that a training that goes on from a checkpoint draws what it would have
drawn, and what is drawn for one purpose does not depend on how much was drawn for another.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Iterator

import numpy as np
import torch


def stream_seed(*facts: object) -> int:
    """A seed (0 to 2**32 - 1) that stands for what is drawn.

    >>> stream_seed(0, "joint", 1, 2) == stream_seed(0, "joint", 1, 2) != stream_seed(0, "joint", 1, 3)
    True
    """
    return zlib.crc32("/".join(map(str, facts)).encode())


@contextlib.contextmanager
def drawn_from(seed: int, *, device: torch.device) -> Iterator[None]:
    """Let torch, NumPy and Python draw from a seed inside, and go on as if nothing had been drawn afterwards.

    timm's mixup draws from NumPy, its RandAugment from NumPy and Python, dropout from torch.
    """
    before = random.getstate(), np.random.get_state()
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        # Not torch.manual_seed, which looks at every kind of device that there could be.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])

"""Random streams: drawn from what they are for, and nothing carried over."""

from __future__ import annotations

import random

import numpy as np
import torch

from exitsearch.learn.engine.batches.streams import drawn_from, stream_seed

CPU = torch.device("cpu")


def _draw() -> tuple[float, float, float]:
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_a_seed_gives_the_same_numbers_of_all_three() -> None:
    with drawn_from(5, device=CPU):
        first = _draw()
    with drawn_from(5, device=CPU):
        again = _draw()
    with drawn_from(6, device=CPU):
        other = _draw()
    assert first == again
    assert not set(first) & set(other)


def test_what_is_drawn_inside_changes_nothing_outside() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    expected = _draw(), _draw()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    before = _draw()
    with drawn_from(9, device=CPU):
        _draw()
    assert (before, _draw()) == expected


def test_every_fact_counts() -> None:
    seeds = {stream_seed(*facts) for facts in ((0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a", 1, 0))}
    assert len(seeds) == 5

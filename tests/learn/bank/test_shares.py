"""Shares of heads: every head in one of them, by costs that differ little."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_data import small_backbone

from exitsearch.learn.bank import shares
from exitsearch.learn.bank.shares import balanced, head_seconds


def test_seconds_are_measured_once_for_a_head_and_a_shape(monkeypatch):
    """All placements of the backbone have features of one shape: two heads at two placements are two measurements."""
    made, create = [], shares.create_head
    monkeypatch.setattr(shares, "create_head", lambda head, **options: made.append(head) or create(head, **options))
    before = torch.random.get_rng_state()
    pairs = [(1, "linear"), (1, "vit_ee"), (4, "linear"), (4, "vit_ee")]
    found = head_seconds(small_backbone(), pairs, batch_size=16, device=torch.device("cpu"))
    assert sorted(made) == ["linear", "vit_ee"]
    assert list(found) == pairs
    # A transformer block takes longer than one linear layer.
    assert 0 < found[1, "linear"] == found[4, "linear"] < found[1, "vit_ee"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_heads_take_no_time():
    assert head_seconds(small_backbone(), [], batch_size=2, device=torch.device("cpu")) == {}


@given(st.lists(st.floats(0.001, 10), max_size=30), st.integers(1, 5))
def test_shares_hold_every_head_and_differ_by_one_head_at_most(costs, count):
    """The dearest share was the cheapest before it got its last head, so the others are at most that head behind."""
    named = {(number, "linear"): cost for number, cost in enumerate(costs)}
    found = balanced(named, count=count)
    assert len(found) == count
    assert sorted(pair for share in found for pair in share) == sorted(named)
    sums = [sum(named[pair] for pair in share) for share in found]
    assert max(sums) - min(sums) <= max(costs, default=0) + 1e-9


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_same_costs_give_the_same_shares(count):
    costs = {(number % 3, f"h{number}"): float(number % 4) for number in range(10)}
    assert balanced(costs, count=count) == balanced(dict(reversed(costs.items())), count=count)

"""The whole way over a few made photographs, two heads, one family of budgets and two policies."""

from __future__ import annotations

import fashion_mnist
import pytest
import torch
from test_train_fashion_backbone import photographs


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_smallest(call, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "BUDGETS", ("uniform:10%,100%",))
    monkeypatch.setattr(fashion_mnist, "POLICIES", ("interruptible", "confidence"))
    data = photographs(tmp_path / "data", train=300, test=40)
    options = ["--heads", "linear,mlp", "--epochs", "1", "--trials", "5", "--threads", "1", "--max-seconds", "1"]
    called = call("fashion_mnist", "--data-dir", data, "--out", tmp_path / "out", *options)
    assert called.status == 0
    first, second = called.figures["choices"]
    assert (first["policy"], second["policy"]) == ("interruptible", "confidence")
    assert first["candidates"] == 24
    assert 0 < first["trained"] <= 24
    assert first["could_add"] >= 0
    assert first["expected"] >= first["backbone_alone"]
    assert first["interval"][0] <= first["held_out"] <= first["interval"][1]
    # What was trained alone answers as it did in the bank.
    exits = len(first["exits"])
    assert len(called.figures["trained"]["report"]) == exits + 1
    assert f"| `uniform:10%,100%` | interruptible | {first['exits'][0][0]} `{first['exits'][0][1]}`" in called.out
    assert (tmp_path / "out" / "trained" / "model.safetensors").exists()

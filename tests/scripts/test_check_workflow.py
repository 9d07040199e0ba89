"""The whole way over a small module of one's own, and a way that ends early."""

from __future__ import annotations

from pathlib import Path

import check_workflow


def test_smallest(call):
    before = Path.cwd()
    called = call("check_workflow", "--family", "own module")
    assert called.status == 0
    row = called.figures["own module"]
    assert (row["model"], row["regret"]) == ("my_net", 0)
    assert 0 < row["value"] <= 1
    assert all(exit_.split()[1] in ("linear", "mlp_ee") for exit_ in row["exits"])
    assert "1 of 1 went the whole way" in called.out
    assert Path.cwd() == before


def test_a_way_that_ends_early_is_told(call, monkeypatch):
    def whole_way(model):
        if model == "resnet18":
            raise RuntimeError("exitsearch profile ended with 1: no such thing")
        return {"exits": ["3 linear"], "value": 0.5, "regret": 0.0 if model == "levit_128s" else 0.1}

    monkeypatch.setattr(check_workflow, "whole_way", whole_way)
    called = call("check_workflow", "--family", "LeViT", "ResNet", "ViT")
    assert called.status == 1
    assert called.figures["ResNet"]["error"].endswith("no such thing")
    levit, resnet, vit, total = called.out.splitlines()
    assert levit.endswith("exits 3 linear; regret 0")
    assert resnet.endswith("exitsearch profile ended with 1: no such thing")
    assert vit.endswith("regret 0.1")
    assert total == "1 of 3 went the whole way"


def test_images_of_every_digit_in_every_split(tmp_path):
    check_workflow.write_images(tmp_path)
    for split, (_, count) in check_workflow.SAMPLES.items():
        numbers = [len(list((tmp_path / split / str(digit)).glob("*.png"))) for digit in range(10)]
        assert numbers == [count // 10] * 10

"""ImageNet's size at its smallest: the figures follow from one another and from what was asked."""

from __future__ import annotations

import check_scale


def test_smallest(call):
    called = call(
        "check_scale",
        *("--model", "test_vit", "--heads", "linear", "--images", "24", "--classes", "3", "--steps", "3"),
        *("--batch-size", "4", "--workers", "1", "--listed", "5000"),
    )
    found = called.figures
    assert called.status == 0
    assert found["listed"]["train"]["files"] == 5000
    # A name is train/n00000000/n00000000_<number>.JPEG: 32 to 35 letters, and 8 bytes say where it ends.
    assert 32 + 8 <= found["listed"]["train"]["kept_bytes"] / 5000 <= 35 + 8
    estimate = found["estimate"]
    assert estimate["samples"] == check_scale.IMAGENET
    assert estimate["steps"] == -(-1_281_167 // 4)
    assert estimate["workers"] == 1
    assert estimate["heads"] == found["exits"]
    real = found["real"]
    assert real["steps"] == 3
    assert real["weights_and_optimizer_bytes"] == 16 * estimate["parameters"]
    assert real["images_per_second"] > 0
    assert real["readers_bytes"] > 0
    assert real["beside_bytes"] < check_scale.MOST_BYTES
    assert "3 steps of 4" in called.out


def test_too_few_steps_are_refused(capsys):
    assert check_scale.main(["--steps", "1"]) == 2
    assert "--steps must be 2 or more" in capsys.readouterr().err

"""The parts of the reproductions on small cases worked out by hand."""

from __future__ import annotations

import pytest
from reproduce import lgvit, lgvit_words, sl_vit, tables, tables_words, tensorflow_rules
from reproduce.page import differs, names, ranges, signed, table
from reproduce.tensorflow_rules import Count, Shape

from exitsearch.specs.profile import HeadCost, PartCost, Profile, SegmentCost
from exitsearch.specs.verdict import Verdict


def test_a_linear_layer_and_a_norm_by_tensorflows_rules():
    """Linear, 3 vectors of 4 to 5: 60 multiply-accumulates, 15 biases. Norm of 3 vectors: 8 * 12 + 2 * 3."""
    count = Count()
    count.dense(3, 4, 5)
    count.norm(12, 3)
    assert (count.macs, count.elementwise) == (60, {"biases": 15, "norms": 102})
    assert count.flops == 2 * 60 + 15 + 102
    both = count.plus(count, 2)
    assert (both.macs, both.elementwise, count.macs) == (180, {"biases": 45, "norms": 306}, 60)


def test_a_small_block_by_hand():
    """Two channels, one attention head, one patch and the class token, three hidden: 2 tokens, 4 numbers.

    Multiply-accumulates: four linear layers 2 * 2 * 2 each = 32; scores and mixing 2 * 2 * 2 * 2 = 16; MLP 2 * 2 * 3
    twice = 24; together 72. Norms: 2 * (8 * 4 + 2 * 2) = 72. Scores: 4 of them, divided and softmax: 24. GELU: 3 * 6.
    Biases: 4 * 4 + 6 + 4 = 26.
    """
    count = tensorflow_rules.block(Shape(channels=2, grid=1, attention_heads=1, hidden=3))
    assert count.macs == 72
    assert count.elementwise == {"norms": 72, "biases": 26, "attention scores": 24, "activations": 18}
    assert count.flops == 284


def made_profile(*, head_ms: float) -> Profile:
    """Stem and first block 3 ms, eleven blocks of 2 ms, 1 ms for the end: 26 ms; every head takes as long."""
    return Profile(
        schema_version=Profile.current_version,
        backbone={"name": "made"},
        segments=[
            SegmentCost(placement=place, module=f"blocks.{place}", latency_ms=2.0 + (place == 0)) for place in range(12)
        ],
        heads=[HeadCost(placement=place, head=head, latency_ms=head_ms) for place, head in lgvit.VIT_EXITS],
        final=PartCost(latency_ms=1.0),
        verdict=Verdict(status="given"),
    )


COUNTS = {
    "segments": [20] + [10] * 11,
    "backbone": {"macs": 135, "params": 1},
    "heads": [{"macs": 1} for _ in lgvit.VIT_EXITS],
}


def test_speed_ups_by_hand():
    """After block 4: 9 of 26 ms, with a head of 0.5 ms 9.5, 51 of 135 operations."""
    found = lgvit.speeds(made_profile(head_ms=0.5), COUNTS, "made")
    first, last = found["by_block"][0], found["by_block"][-1]
    assert first == {
        "block": 4,
        "blocks": 3.0,
        "macs": pytest.approx(135 / 51),
        "time_heads_free": pytest.approx(26 / 9),
        "time": pytest.approx(26 / 9.5),
    }
    assert last == {
        "block": 12,
        "blocks": 1.0,
        "macs": pytest.approx(135 / 143),
        "time_heads_free": pytest.approx(1.0),
        "time": pytest.approx(26 / 30),
    }
    assert found["head_shares"][0]["of_a_block"] == pytest.approx(0.25)
    assert found["head_shares"][0]["of_the_model"] == pytest.approx(0.5 / 26)


def test_half_leaving_at_either_end_gain_by_the_mean_of_their_times():
    """Half after block 4, half after 12: in blocks 12 / 8; in time 26 over the mean of 9.5 and 30."""
    found = lgvit.speeds(made_profile(head_ms=0.5), COUNTS, "made")
    mixed = lgvit._mixed(found["by_block"], shares=[0.5, 0, 0, 0, 0, 0, 0, 0, 0.5])
    assert mixed["blocks"] == pytest.approx(1.5)
    assert mixed["time"] == pytest.approx(26 / 19.75)


def test_the_claim_is_met_in_blocks_and_free_heads_cost_nothing():
    found = lgvit.speeds(made_profile(head_ms=0.0), COUNTS, "made")
    assert found["claimed"]["blocks"] == pytest.approx(lgvit.CLAIMED)
    assert found["claimed"]["time"] == pytest.approx(found["claimed"]["time_heads_free"])
    assert "gains time wherever it leaves" in lgvit_words._break_even(found["by_block"])
    dear = lgvit.speeds(made_profile(head_ms=1.0), COUNTS, "made")["by_block"]
    # After block 10: 21 + 7 ms, after block 9: 19 + 6.
    assert lgvit_words._break_even(dear) == "An image that leaves after blocks 10-11 has gained no time at all."


def test_times_that_were_disturbed_are_said_to_be():
    assert lgvit_words._caution("ok") == []
    assert "The verdict on this profile is `invalid`: its times were disturbed" in lgvit_words._caution("invalid")[0]


def test_published_numbers_of_images_add_up_to_the_stated_speed_ups():
    for threshold, left in lgvit.LEFT.items():
        assert sum(left) == 10_000
        mean = sum(number * block for number, block in zip(left, range(4, 13), strict=True)) / 10_000
        assert round(12 / mean, 4) == lgvit.STATED[threshold]


def case(*, worth: dict[str, float], loss: dict[str, float | None], own: bool = True) -> dict[str, object]:
    return {
        "data": "CIFAR-10",
        "profile": "made",
        "own_backbone": own,
        "family": "uniform",
        "policy": "interruptible",
        "value": 0.9,
        "worth": {head: worth.get(head, 0.0) for head in tables.HEADS},
        "alone": dict.fromkeys(tables.HEADS, 0.1),
        "loss": loss,
    }


def test_which_head_types_pay_is_read_from_the_cases():
    cases = [
        case(worth={"vit_ee": 0.1}, loss={"mlp_ee": 0.004}),
        case(worth={"vit_ee": 0.2, "resmlp_ee": 1e-3}, loss={"mlp_ee": 0.003}, own=False),
    ]
    text = " ".join(tables_words._head_types(cases))
    assert "`cnn_project_ee` and `mlp_mixer_ee` never pay, in none of 2 cases" in text
    assert "`mlp_ee`, `cnn_ignore_ee`" in text
    assert "`resmlp_ee` pays on other profiles only" in text
    assert "`vit_ee` pays in every case." in text
    assert "0.0030 (CIFAR-10, uniform, `made`)" in text
    everywhere = [case(worth=dict.fromkeys(tables.HEADS, 0.1), loss={})]
    assert "Every head type pays somewhere." in " ".join(tables_words._head_types(everywhere))


def test_a_heavier_head_is_said_to_be_heavier():
    row = {"macs": 1, "params": 1, "usual_macs": 2, "usual_params": 2}
    light = " ".join(sl_vit.text({"a": [row], "b": [row, row]}))
    assert "lighter one at every one of the 3 placements" in light
    heavy = " ".join(sl_vit.text({"a": [row], "b": [row, {**row, "params": 3}]}))
    assert "lighter one at 2 of 3 placements; where it is not (in `b`)" in heavy


def test_the_trace_is_what_the_page_says():
    shares = tables.trace_shares()
    assert len(shares) == 600
    assert shares[0] == pytest.approx(0.6)
    assert min(shares) == 0.08
    assert max(shares) < 1.26


def test_words_and_numbers():
    assert names(["a", "b", "c"]) == "`a`, `b` and `c`"
    assert names([]) == "none"
    assert signed(-0.00453) == "-0.45%"
    assert signed(0.00001) == "0.00%"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert table(["a", "b"], [[1, "x"]]) == ["", "| a | b |", "|---|---|", "| 1 | x |", ""]


def test_differences_of_figures_are_named():
    assert differs({"a": [1, 2.0]}, {"a": [1, 2.0 + 1e-12]}) == []
    assert differs({"a": [1, 2.0]}, {"a": [1, 2.1]}) == ["figures.a[1]: 2.0, expected 2.1"]
    assert differs({"a": 1}, {"b": 1}) == ["figures: has ['a', 'b']"]
    assert differs([1], []) == ["figures: 1 entries, expected 0"]
    assert differs("x", "y") == ["figures: 'x', expected 'y'"]

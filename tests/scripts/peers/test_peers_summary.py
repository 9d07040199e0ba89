"""Figures of a few rounds, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from peers.asking import Reply, Round
from peers.graphs import Static
from peers.summary import SHELF, budgets_had, summary, values, with_shelf

from exitsearch.runtime.deadline import Times

LABELS = np.array([0, 1])
RIGHT, WRONG = np.array([2.0, 1.0]), np.array([1.0, 2.0])  # of sample 0


class OneAnswer:
    megabytes = 1.0

    def __call__(self, x):
        return [RIGHT[None]]


def static(name, score, late_ms):
    made = Static(name, "", graph=OneAnswer(), inputs=[np.zeros(1)], score=score, clock=lambda: 0.0)
    made.plan(Times(late_ms / 2, late_ms))
    return made


def rounds_of(*replies, budget_ms=5.0, fixed_ms=None, name="a"):
    return [
        Round(0, fixed_ms, budget_ms - 0.5, budget_ms, {name: reply, "ours": Reply(RIGHT, 1.0, 1)}) for reply in replies
    ]


FOUR = rounds_of(Reply(RIGHT, 4.0, 0), Reply(WRONG, 5.0, 2), Reply(RIGHT, 6.5, 2), Reply(None, 0.01, refused=True))


def test_late_or_refused_is_worth_no_answer():
    assert values(FOUR, "a", labels=LABELS, fallback=0.25).tolist() == [1.0, 0.0, 0.25, 0.25]


def test_rounding_makes_no_answer_late():
    (round_,) = rounds_of(Reply(RIGHT, 5.0 * (1 + 1e-12), 0))
    assert values([round_], "a", labels=LABELS, fallback=0.0).tolist() == [1.0]


def test_the_label_is_that_of_the_sample():
    round_ = Round(1, None, 5.0, 5.0, {"a": Reply(WRONG, 1.0, 0)})
    assert values([round_], "a", labels=LABELS, fallback=0.0).tolist() == [1.0]


def test_figures_of_a_peer():
    fixed = rounds_of(Reply(RIGHT, 1.0, 0), Reply(RIGHT, 9.0, 0), fixed_ms=2.0, budget_ms=2.5)
    found = summary([*FOUR, *fixed], "a", against="ours", labels=LABELS, fallback=0.0, seed=0)
    assert found["requests"] == 4
    assert found["value"] == 0.25
    assert found["gain"] == -0.75
    assert found["refused"] == 0.25
    assert found["no_answer"] == 0.0
    assert found["late"] == 0.25
    assert found["late_median_ms"] == found["late_worst_ms"] == 1.5
    assert found["median_ms"] == 5.0
    assert found["p99_ms"] == pytest.approx(6.47)
    assert found["exits"] == {"0": 0.25, "2": 0.5}
    (point,) = found["fixed"]
    assert point["budget_ms"] == 2.0
    assert point["had_ms"] == 2.5
    assert (point["requests"], point["value"], point["late"], point["refused"]) == (2, 0.5, 0.5, 0.0)


def test_one_who_never_answers_has_no_times():
    found = summary(rounds_of(Reply(None, 0.0)), "a", against="ours", labels=LABELS, fallback=0.1, seed=0)
    assert found["value"] == 0.1
    assert found["no_answer"] == 1.0
    assert found["median_ms"] is found["p99_ms"] is found["late_median_ms"] is None


def test_the_shelf_holds_the_best_model_that_is_in_time():
    small, large = static("small", 0.7, 2.0), static("large", 0.9, 6.0)
    replies = {"small": Reply(WRONG, 1.0, 0), "large": Reply(RIGHT, 5.0, 0)}
    rounds = [Round(0, None, ms, ms, replies) for ms in (1.0, 3.0, 8.0)]
    found = [round_.replies[SHELF] for round_ in with_shelf(rounds, [large, small])]
    assert found[0].refused
    assert found[1] is replies["small"]
    assert found[2] is replies["large"]


def test_of_equally_good_models_the_quicker_one():
    slow, quick = static("slow", 0.9, 6.0), static("quick", 0.9, 2.0)
    replies = {"slow": Reply(RIGHT, 5.0, 0), "quick": Reply(RIGHT, 1.0, 0)}
    (round_,) = with_shelf([Round(0, None, 8.0, 8.0, replies)], [slow, quick])
    assert round_.replies[SHELF] is replies["quick"]


def test_by_how_much_budgets_were_longer():
    found = budgets_had(FOUR)
    assert found == {"median_ms": 0.5, "p99_ms": 0.5, "worst_ms": 0.5}


def test_a_static_model_is_refused_below_its_99th_percentile():
    model = static("small", 0.7, 2.0)
    assert model.ask(0, 1.99).refused
    reply = model.ask(0, 2.0)
    assert not reply.refused
    assert reply.outputs.tolist() == RIGHT.tolist()
    assert reply.exit == 0

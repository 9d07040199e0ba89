"""earlyon's own rule, called; where it is not installed, that this is said."""

from __future__ import annotations

import importlib.util

import earlyon_thresholds
import numpy as np
import pytest

from exitsearch.search.problem import Candidate, Problem
from exitsearch.search.thresholds.replay import Replay
from exitsearch.search.thresholds.scores import Answers
from exitsearch.specs.budget import parse_budget
from exitsearch.specs.outcomes import Samples

SAMPLES, CLASSES = 60, 4


def test_installed_says_what_is():
    assert earlyon_thresholds.installed() == (importlib.util.find_spec("earlyon") is not None)


@pytest.mark.skipif(not earlyon_thresholds.installed(), reason="earlyon is not installed: pip install earlyon")
def test_operating_points_rise():
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=SAMPLES)
    logits = rng.normal(size=(3, SAMPLES, CLASSES)).astype(np.float32)
    for depth in range(3):
        logits[depth, np.arange(SAMPLES), labels] += depth + 0.5
    right = logits.argmax(axis=2) == labels
    shares = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    answers = Answers("softmax", shares.max(axis=2), right, logits.argmax(axis=2).astype(np.int32), np.ones(3))
    candidates = tuple(Candidate(k, "a", 5.0 * (k + 1), 1.0, float(right[k].mean())) for k in range(2))
    budget = parse_budget("uniform:0,20")
    problem = Problem(candidates, 15.0, float(right[2].mean()), 0.0, budget, policy="confidence")
    keys = [(0, "a"), (1, "a")]
    samples = Samples(labels, {key: logits[k] for k, key in enumerate(keys)}, logits[2])
    replay = Replay(problem, answers, (0, 1))
    stairs = earlyon_thresholds.earlyon_thresholds(replay, answers, samples, (0, 1), keys)
    assert len(stairs.costs_ms) > 1
    assert list(stairs.costs_ms) == sorted(stairs.costs_ms)
    assert list(stairs.values) == sorted(stairs.values)

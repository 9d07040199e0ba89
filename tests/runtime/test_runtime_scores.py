"""The same numbers as the search's: thresholds that were chosen by one are applied by the other."""

from __future__ import annotations

import numpy as np
import pytest

from exitsearch.runtime.scores import confidence
from exitsearch.search.thresholds.scores import confidence as of_the_search


@pytest.mark.parametrize("score", ["softmax", "entropy", "margin"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("scale", [0.01, 5.0, 200.0])
def test_scores_are_the_searchs_bit_by_bit(score, temperature, classes, scale):
    rng = np.random.default_rng(0)
    outputs = (rng.standard_normal((50, classes)) * scale).astype(np.float32)
    mine = confidence(outputs, score=score, temperature=temperature)
    assert mine.tobytes() == of_the_search(outputs, score=score, temperature=temperature).tobytes()


def test_ties_and_equal_outputs():
    outputs = np.zeros((1, 4), dtype=np.float32)
    assert confidence(outputs, score="softmax")[0] == np.float32(0.25)
    assert confidence(outputs, score="margin")[0] == 0
    assert confidence(outputs, score="entropy")[0] == pytest.approx(0, abs=1e-6)

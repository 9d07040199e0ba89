"""What a search may be asked, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from exitsearch.errors import FileError, InputError
from exitsearch.specs.question.request import AskedRequest, SearchRequest
from exitsearch.specs.question.space import SearchSpace


def test_limits_of_options_and_space_both_hold() -> None:
    space = SearchSpace.model_validate(
        {"schema_version": 1, "placements": "0-3", "limits": {"max_exits": 2, "forbid": ["1"]}}
    )
    request = SearchRequest.asked(budget="uniform:10%,80%", max_exits=4, forbid=["0"], force=("3",), space=space)
    assert (request.limits.max_exits, request.limits.forbid, request.limits.force) == (2, ["0", "1"], ["3"])
    assert request.candidates.space_placements == "0-3"
    assert request.budget == "uniform:10%,80%"


def test_it_reads_back_as_it_was_asked() -> None:
    request = SearchRequest.asked(budget="point:5", policy="contract", objectives="params,value", max_energy="1J")
    assert request.objectives == ["value", "params"]
    assert request.needs_energy
    kept = AskedRequest(**request.model_dump(), seed=1, trials=3, pairs=4, choices=9.0)
    assert AskedRequest.model_validate_json(kept.model_dump_json()) == kept
    assert kept.question == request


def test_former_keywords_are_understood() -> None:
    with pytest.warns(DeprecationWarning, match="max_params is called max_extra_params"):
        assert SearchRequest.asked(budget="point:5", max_params=7).limits.max_extra_params == 7


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"policy": "sure"}, "unknown policy 'sure'"),
        ({"score": "sofmax"}, "unknown confidence 'sofmax' (did you mean 'softmax'?)"),
        ({"quantile": 0.9}, "goes with the policy confidence"),
        ({"policy": "confidence", "quantile": 1.0}, "above 0 and below 1"),
        ({"policy": "confidence", "min_value_at": ["20ms=0.7"]}, "cannot be combined with the policy confidence"),
        ({"policy": "confidence", "objectives": "value,params"}, "the policy confidence does not have"),
        ({"objectives": "params"}, "the objectives are value and one or two of"),
        ({"objectives": "value,valeu"}, "unknown objective 'valeu'"),
        ({"max_exits": -1}, "max_exits should be greater than or equal to 0, found -1"),
        ({"budget": "unifrom:1,2"}, "unknown budget distribution 'unifrom'"),
        ({"max_exit": 1}, "unknown keyword of a search 'max_exit' (did you mean 'max_exits'?)"),
        ({"metric": "f1"}, "metric should be"),
    ],
)
def test_refusals(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        SearchRequest.asked(**{"budget": "point:5", **asked})
    assert words in str(caught.value)
    assert not isinstance(caught.value, FileError)

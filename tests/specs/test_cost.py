from __future__ import annotations

import pytest
from pydantic import ValidationError

from exitsearch.specs.cost import Cost, PartCost, SegmentCost


def test_what_never_resumes_is_written_like_any_cost() -> None:
    assert PartCost(latency_ms=1.0).model_dump() == Cost(latency_ms=1.0).model_dump()


def test_what_resumes_says_so_and_reads_back() -> None:
    part = SegmentCost(
        placement=1, latency_ms=1.0, resume_ms=0.25, resumed_samples_ms=[1.25, 1.3], resumed_rounds=[0, 2]
    )
    data = part.model_dump(mode="json")
    assert data["resume_ms"] == 0.25
    assert data["resumed_rounds"] == [0, 2]
    assert SegmentCost.model_validate(data) == part


@pytest.mark.parametrize("wrong", [-0.1, 1e10, float("nan")])
def test_resumes_out_of_range(wrong: float) -> None:
    with pytest.raises(ValidationError):
        PartCost(resume_ms=wrong)

"""The rule of selection: intersection, pair by pair."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError
from exitsearch.specs.question.candidates import Candidates
from exitsearch.specs.question.space import SearchSpace

SPACE = SearchSpace.model_validate(
    {
        "schema_version": 1,
        "placements": "3-8",
        "heads": [
            {"type": "lph", "placements": "3-4"},
            {"type": "gah", "options": {"stride": 2}, "placements": "4-9"},
            {"type": "lph", "placements": "7"},
        ],
    }
)


def test_without_anything_named_all_is_allowed() -> None:
    assert Candidates().allowed(["a", "b"], 2) == {"a": (0, 1), "b": (0, 1)}
    assert not Candidates().names_heads


def test_option_and_space_both_hold() -> None:
    assert Candidates.of(placements="0-5", space=SPACE).allowed((), 12) == {"lph": (3, 4), "gah(stride=2)": (4, 5)}
    assert Candidates.of(space=SPACE).allowed((), 12) == {"lph": (3, 4, 7), "gah(stride=2)": (4, 5, 6, 7, 8)}
    assert Candidates.of(heads="gah( stride = 2 ),mlp", space=SPACE).allowed((), 12) == {
        "gah(stride=2)": (4, 5, 6, 7, 8)
    }


def test_exact_pairs_are_kept_apart() -> None:
    """Two heads at two placements each, not four pairs."""
    there = [(place, head) for place in range(12) for head in ("lph", "gah(stride=2)", "mlp")]
    assert Candidates.of(placements=[4, 3, 7], space=SPACE).among(there, 12) == [
        (3, "lph"),
        (4, "gah(stride=2)"),
        (4, "lph"),
        (7, "gah(stride=2)"),
        (7, "lph"),
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"heads": "mlp"}, "--heads names none of the space's heads, found mlp; the space has lph, gah(stride=2)"),
        ({"placements": [12]}, "placements run from 0 to 11, found 12"),
        ({"placements": "9-12"}, "placements run from 0 to 11"),
    ],
)
def test_refusals(asked: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Candidates.of(**asked, space=SPACE).allowed((), 12)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_rule_reads_back() -> None:
    rule = Candidates.of(heads=["lph"], placements=[3, 1], space=SPACE)
    assert Candidates.model_validate_json(rule.model_dump_json()) == rule

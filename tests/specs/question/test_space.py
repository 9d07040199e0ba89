"""Choosing placements by what is known of them."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError
from exitsearch.specs.placement import Placement, select_placements
from exitsearch.specs.question.candidates import Candidates
from exitsearch.specs.question.space import SearchSpace

# Two stages, of three and two blocks, at 20%, 30%, 40%, 70% and 100% of the MACs.
PLACEMENTS = [
    Placement(
        index=index,
        module=module,
        layout="nchw",
        channels=channels,
        grid=(8, 8),
        reduction=4,
        depth=index + 1,
        macs_share=share,
    )
    for index, (module, channels, share) in enumerate(
        [
            ("layer1.0", 16, 0.2),
            ("layer1.1", 16, 0.3),
            ("layer1.2", 16, 0.4),
            ("layer2.0", 32, 0.7),
            ("layer2.1", 32, 1.0),
        ]
    )
]


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0,3-4", [0, 3, 4]),
        ("layer1.*", [0, 1, 2]),
        ("layer?.1,0", [0, 1, 4]),
        ("layer2.0", [3]),
        ("stages", [2, 4]),
        # Marks at 25%, 50%, 75% and 100%.
        ("every:25%", [1, 3, 4]),
        # Marks at every tenth; the first placement at or after each.
        ("every:10%", [0, 1, 2, 3, 4]),
        ("every:40%", [2, 4]),
        ("all", [0, 1, 2, 3, 4]),
    ],
)
def test_forms(text, chosen):
    assert select_placements(text, 5, placements=PLACEMENTS) == chosen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layer3.*", "no placement's module matches 'layer3.*'; modules run from layer1.0 to layer2.1"),
        ("every:0%", "above 0% and below 100%, found 'every:0%'"),
        ("every:x%", "found 'every:x%'"),
        ("5", "placements run from 0 to 4"),
        ("1-", "numbers and ranges"),
    ],
)
def test_refusals(text, words):
    with pytest.raises(InputError) as error:
        select_placements(text, 5, placements=PLACEMENTS)
    assert words in str(error.value)


def test_tables_without_facts():
    with pytest.raises(InputError, match=r"by number .* where nothing else is known"):
        select_placements("layer1.*", 5)
    with pytest.raises(InputError, match="make the profile again"):
        select_placements("every:10%", 1, placements=[PLACEMENTS[0].model_copy(update={"macs_share": None})])


def test_a_space_uses_the_facts():
    space = SearchSpace.model_validate(
        {"schema_version": 1, "placements": "stages", "heads": [{"type": "a"}, {"type": "b", "placements": "layer1.*"}]}
    )
    assert Candidates.of(space=space).allowed((), 5, facts=PLACEMENTS) == {"a": (2, 4), "b": (2,)}

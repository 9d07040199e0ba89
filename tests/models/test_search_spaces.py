"""Every search space that is shipped names a model that exists, placements that it has, and heads that fit there."""

from __future__ import annotations

from pathlib import Path

import pytest

from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import check_fits
from exitsearch.specs.load import load_space
from exitsearch.specs.question.candidates import Candidates

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.toml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_shipped_space_fits_its_model(path):
    text = path.read_text()
    assert text.startswith("# ")
    assert f"search_spaces/{path.name}" in text.partition("schema_version")[0], "the command that uses it"
    space = load_space(path)
    backbone = create_backbone(space.backbone.name, pretrained=False, device="meta")
    count = len(backbone.placements)
    candidates = Candidates.of(space=space).allowed((), count, facts=backbone.placements)
    assert candidates
    for head, placements in candidates.items():
        assert placements, head
        for placement in placements:
            assert check_fits(head, backbone.placements[placement]) is None

"""Which candidates fit, on the backbone of the digits."""

from __future__ import annotations

import pytest

from exitsearch.errors import InputError, UnsupportedError
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import fitting, fitting_exits
from exitsearch.specs.question.candidates import Candidates


@pytest.fixture(scope="module")
def placements():
    return create_backbone(pretrained=False, device="meta").placements


def test_named_heads_stand_where_they_were_named(placements):
    candidates = Candidates.of(heads=["mlp", "linear"], placements=[3, 1, 1])
    assert fitting_exits(placements, candidates) == [(1, "mlp"), (1, "linear"), (3, "mlp"), (3, "linear")]
    assert fitting_exits(placements, Candidates.of(heads=[])) == []


def test_without_names_every_head_type_stands_where_it_fits(placements):
    everything = fitting_exits(placements)
    assert {placement for placement, _ in everything} == set(range(12))
    assert len(everything) == len(set(everything)) >= 96


def test_candidates_that_cannot_be_are_refused(placements, monkeypatch):
    with pytest.raises(InputError, match="run from 0 to 11, found 12"):
        fitting_exits(placements, Candidates.of(placements=[12]))
    with pytest.raises(InputError, match="unknown head type 'lineer'"):
        fitting_exits(placements, Candidates.of(heads="lineer"))
    monkeypatch.setattr(fitting, "check_fits", lambda head, place: "needs a map" if place.index else None)
    assert fitting_exits(placements, Candidates.of(heads="linear")) == [(0, "linear")]
    with pytest.raises(UnsupportedError, match="linear fits none of the placements: needs a map"):
        fitting_exits(placements, Candidates.of(heads="linear", placements=[1, 2]))
    # A head that nobody named is left out where it fits nowhere.
    assert fitting_exits(placements, Candidates.of(placements=[1, 2])) == []

"""Dividing a model at its chosen exits."""

from __future__ import annotations

import pytest
import torch
from export_models import chosen, family_model
from tiny_backbone import tiny_backbone, tiny_heads

from exitsearch.deploy.units import divide
from exitsearch.errors import UnsupportedError
from exitsearch.models.multi_exit import MultiExitModel


def tiny_model(placements=(0, 1)):
    """Its blocks hand on a second tensor beside the features."""
    backbone, heads = tiny_backbone(), tiny_heads()
    config = chosen(backbone.facts, [(placement, "linear") for placement in placements])
    return MultiExitModel(backbone, heads=[heads[index, "linear"] for index in placements], config=config).eval()


def test_one_segment_an_exit_and_one_to_the_end():
    units = divide(family_model("vit", [(1, "linear"), (4, "linear")]))
    assert [unit.name for unit in units.segments] == ["segment_0", "segment_1", "segment_2"]
    assert [unit.inputs for unit in units.segments] == [("x",), ("features_0",), ("features_1",)]
    assert units.segments[-1].outputs == units.whole.outputs == ("outputs",)
    assert [len(unit.module.segments) for unit in units.segments] == [2, 3, 2]  # six blocks and the final part
    assert [unit.inputs for unit in units.heads] == [("features_0",), ("features_1",)]


def test_carried_tensors_have_names():
    units = divide(tiny_model())
    assert units.segments[0].outputs == ("features_0", "carried_0_1")
    assert units.segments[1].inputs == ("features_0", "carried_0_1")
    assert units.segments[2].outputs == ("outputs",)
    assert units.heads[1].inputs == ("features_1",)


def test_units_in_turn_are_the_model():
    model = tiny_model()
    units = divide(model)
    x = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    state, found = (x,), []
    with torch.inference_mode():
        for number, unit in enumerate(units.segments):
            state = unit.module(*state)
            if number < len(units.heads):
                found += units.heads[number].module(*state[:1])
        found += state
        for mine, theirs in zip(found, model(x), strict=True):
            assert torch.equal(mine, theirs)


def test_the_last_placement_may_be_chosen():
    units = divide(tiny_model((1,)))
    assert [len(unit.module.segments) for unit in units.segments] == [2, 1]


def test_axes_that_follow_the_batch_have_names():
    units = divide(tiny_model())
    assert units.segments[1].axes == ({0: "batch"}, {0: "batch"})


def test_an_axis_that_follows_the_batch_otherwise_is_refused(monkeypatch):
    model = tiny_model((0,))
    monkeypatch.setattr(
        model.backbone.segments[0], "forward", lambda state: (state[0].flatten(1), torch.ones(state[0].shape[0] + 1, 3))
    )
    with pytest.raises(UnsupportedError, match="axis 0 has 3 for a batch of 2 and 4 for one of 3"):
        divide(model)

from __future__ import annotations

import functools

import torch
from torch import fx, nn

from exitsearch.measure.macs.structure import structure
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import create_head


class Scales(nn.Module):
    def __init__(self, by, activation=torch.relu):
        super().__init__()
        self.by = by
        self.activation = activation

    def forward(self, x):
        return self.activation(x) * self.by


def test_weights_do_not_matter_and_shapes_do():
    assert structure(nn.Linear(3, 4)) == structure(nn.Linear(3, 4))
    assert structure(nn.Linear(3, 4)) != structure(nn.Linear(3, 5))
    assert structure(nn.Linear(3, 4)) != structure(nn.Linear(3, 4).half())
    assert structure(torch.ones(2)) == structure(torch.zeros(2)) != structure(torch.ones(2, 1))


def test_attributes_matter():
    assert structure(Scales(2)) == structure(Scales(2))
    assert structure(Scales(2)) != structure(Scales(3))
    # Equal numbers of different kinds compute differently.
    assert structure(Scales(2)) != structure(Scales(2.0))
    assert structure(nn.Dropout()) != structure(nn.Dropout().eval())


def test_functions_are_known_by_their_code_and_what_they_hold():
    def times(factor):
        return lambda x: x * factor

    assert structure(Scales(1, times(2))) == structure(Scales(1, times(2)))
    assert structure(Scales(1, times(2))) != structure(Scales(1, times(3)))
    assert structure(Scales(1, functools.partial(torch.add, other=1))) == structure(
        Scales(1, functools.partial(torch.add, other=1))
    )
    assert structure(Scales(1, torch.sigmoid)) != structure(Scales(1))


def test_what_cannot_be_described_is_equal_to_itself_alone():
    strange = object()
    assert structure(Scales(strange)) == structure(Scales(strange))
    assert structure(Scales(strange)) != structure(Scales(object()))


def test_sharing_is_part_of_it():
    layer = nn.Linear(2, 2)
    assert structure(nn.Sequential(layer, layer)) != structure(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


def test_graphs_are_known_by_their_nodes():
    class Outer(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.add_module(name, nn.Linear(2, 2))
            self.name = name

        def forward(self, x):
            return getattr(self, self.name)(x)[:, 1:]

    first, other = fx.symbolic_trace(Outer("first")), fx.symbolic_trace(Outer("other"))
    assert structure(first) == structure(other)
    for node in list(other.graph.nodes):
        if node.op == "call_function":
            node.args = (node.args[0], (slice(None), slice(0, None, None)))
    other.recompile()
    assert structure(first) != structure(other)


def test_blocks_and_heads_of_a_vit_share_their_structure():
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, device="meta")
    keys = [structure(segment) for segment in backbone.segments]
    # The first segment holds the stem.
    assert len(set(keys)) == 2
    assert keys.count(keys[1]) == len(keys) - 1
    heads = [create_head("vit_ee", placement=p, num_outputs=10, device="meta") for p in backbone.placements]
    assert len({structure(head) for head in heads}) == 1

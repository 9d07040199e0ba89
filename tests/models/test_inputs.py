"""Several named inputs: batches of them, and multi-exit models whose heads read side inputs."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from exitsearch.errors import InputError, MismatchError, UnsupportedError
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import ExitHead, check_fits, create_head, fitting_exits, register_head, registry
from exitsearch.models.inputs import Inputs, batch_size, joined_inputs, main_input, rows, side_inputs
from exitsearch.models.multi_exit import build_model, load_model
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.question.candidates import Candidates

SIDES = {"audio": (1, 6, 10), "depth": (1, 4, 4)}
EXITS = ((1, "linear", {}), (3, "sl_vit", {"side": "audio"}), (5, "sl_vit", {"side": "depth", "width": 32}))


def config(exits=EXITS, sides=SIDES):
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {
                "name": "vit_digits_patch1_8",
                "input_size": (1, 8, 8),
                "num_outputs": 10,
                "task": "classification",
                "side_inputs": sides,
            },
            "exits": [{"placement": p, "head": h, "options": o} for p, h, o in exits],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0] * (len(exits) + 1),
            "profile": {},
            "outcomes": {},
        }
    )


def drawn(count=3):
    generator = torch.Generator().manual_seed(0)
    side = {name: torch.randn(count, *size, generator=generator) for name, size in SIDES.items()}
    return torch.randn(count, 1, 8, 8, generator=generator), side


@pytest.fixture(scope="module")
def model():
    return build_model(config(), pretrained=False)


def test_a_batch_of_several_inputs():
    x, side = drawn()
    inputs = Inputs(side, x=x)
    assert batch_size(inputs) == batch_size(x) == 3
    assert main_input(inputs) is main_input(x) is x
    assert side_inputs(inputs).keys() == SIDES.keys()
    assert side_inputs(x) == {}
    half = inputs.to(torch.float16)
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    assert {len(tensor) for tensor in rows(inputs, [2, 0]).values()} == {2}
    assert torch.equal(rows(inputs, [2, 0])["audio"], side["audio"][[2, 0]])
    again = joined_inputs([rows(inputs, slice(0, 1)), rows(inputs, slice(1, 3))])
    assert all(torch.equal(again[name], inputs[name]) for name in inputs)
    assert torch.equal(joined_inputs([x[:1], x[1:]]), x)


def test_torchs_loader_collates_samples():
    """A split is an ordinary data set: the default collation keeps names, and what it gives is what a model takes."""
    x, side = drawn()
    inputs = Inputs(side, x=x)
    samples = [(rows(inputs, number), number) for number in range(3)]
    found, labels = next(iter(DataLoader(samples, batch_size=3)))
    assert isinstance(found, Inputs)
    assert labels.tolist() == [0, 1, 2]
    assert all(torch.equal(found[name], inputs[name]) for name in inputs)


def test_a_model_takes_them_in_three_ways(model):
    x, side = drawn()
    with torch.no_grad():
        first = model(x, **side)
        for other in (model(Inputs(side, x=x)), model(**Inputs(side, x=x)), list(model.iter_exits(x, **side))):
            assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert [tuple(outputs.shape) for outputs in first] == [(3, 10)] * 4


def test_each_head_reads_its_own_side_input_alone(model):
    x, side = drawn()
    with torch.no_grad():
        before = model(x, **side)
        after = model(x, audio=side["audio"] + 1, depth=side["depth"])
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def test_what_no_head_reads_need_not_be_given():
    """The first exit reads the features alone and answers before anybody asks for a sound."""
    x, side = drawn()
    model = build_model(config(), pretrained=False)
    answers = model.iter_exits(x, depth=side["depth"])
    with torch.no_grad():
        next(answers)
        with pytest.raises(InputError, match="reads the side input audio, which was not given; call the model with"):
            next(answers)
        assert len(build_model(config(exits=EXITS[:1]), pretrained=False)(x)) == 2


def test_wrong_side_inputs(model):
    x, side = drawn()
    with pytest.raises(InputError, match="the model has no side input video; it has: audio=1x6x10,depth=1x4x4"):
        model(x, **side, video=x)
    with pytest.raises(InputError, match=r"the side input audio is \[batch, 1, 6, 10\], found 3x1x6x9"):
        model(x, audio=side["audio"][..., :9], depth=side["depth"])
    with pytest.raises(InputError, match="the model has no side input audio; it has: none"):
        build_model(config(exits=EXITS[:1], sides={}), pretrained=False)(x, audio=side["audio"])


def test_a_head_that_asks_for_what_the_model_lacks():
    with pytest.raises(UnsupportedError, match="the side inputs of the model are: depth=1x4x4; declare it with --side"):
        build_model(config(sides={"depth": (1, 4, 4)}), pretrained=False)
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, side_inputs={"audio": (1, 6, 10)})
    at = backbone.placements[0]
    assert "larger than its 6x10 side input" in (check_fits("sl_vit(side=audio,side_patch_size=11)", at) or "")
    with pytest.raises(InputError, match="add side=NAME"):
        check_fits("sl_vit(side_patch_size=2)", at)
    with pytest.raises(UnsupportedError, match=r"sl_vit\(side=video\) fits none of the placements: .*audio=1x6x10"):
        fitting_exits(backbone.placements, Candidates.of(heads="sl_vit(side=video)"))
    with pytest.raises(InputError, match="named by letters"):
        create_backbone("vit_digits_patch1_8", pretrained=False, side_inputs={"x": (1, 2, 3)})


def test_a_model_of_another_size_of_sound():
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, side_inputs={"audio": (1, 6, 11)})
    with pytest.raises(MismatchError, match="audio must have the same size in both"):
        config(exits=EXITS[:1]).backbone.check_same(backbone.facts, mine="the configuration", others="the model")


def test_the_same_seed_gives_the_same_other_weights():
    """With a side input and without, so that what differs between the two heads is the sound alone."""
    backbone = create_backbone("vit_digits_patch1_8", pretrained=False, side_inputs=SIDES)
    alone, both = (
        create_head(text, placement=backbone.placements[2], num_outputs=4, seed=3).state_dict()
        for text in ("sl_vit", "sl_vit(side=audio)")
    )
    assert {name for name in both if name not in alone} == {
        "side_tokens.positions",
        "side_tokens.embed.weight",
        "side_tokens.embed.bias",
    }
    assert all(torch.equal(both[name], alone[name]) for name in alone)


def test_what_is_written_is_read_back(tmp_path, model):
    from safetensors.torch import save_file

    model.config.write(tmp_path / "chosen.json")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    x, side = drawn()
    again = load_model(tmp_path)
    assert again.backbone.side_inputs == SIDES
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(x, **side), again(x, **side), strict=True))


def test_a_head_of_ones_own(monkeypatch):
    """What the registry's docstring shows: a head that adds the mean spectrum to the class token."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))

    @register_head("my_fusion", description="class token and mean spectrum", needs=("class_token",))
    class MyFusion(ExitHead):
        def __init__(self, placement, num_outputs, *, side: str = "audio"):
            super().__init__(placement, num_outputs)
            self.side = side
            _, bands, _ = self.read_side(side)
            self.layer = torch.nn.Linear(placement.channels + bands, num_outputs)

        def forward(self, features, **side):
            return self.layer(torch.cat((features[:, 0], side[self.side].mean((1, 3))), dim=1))

    model = build_model(config(exits=((2, "my_fusion", {}),)), pretrained=False)
    x, side = drawn()
    with torch.no_grad():
        first, again = model(x, audio=side["audio"]), model(x, audio=side["audio"].flip(2))
    assert not torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert model.heads[0].reads == {"audio": (1, 6, 10)}

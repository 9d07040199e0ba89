"""MultiExitModel: outputs, laziness, and an ordinary module's habits."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from exitsearch.errors import FileError, InputError, MismatchError
from exitsearch.models.backbone import create_backbone
from exitsearch.models.multi_exit import attach_exits, build_model, exit_seed, head_file, load_model
from exitsearch.specs.config import MultiExitConfig

NAME = "vit_digits_patch1_8"


def _config(exits=((2, "mlp_ee", {}), (5, "linear", {})), name=NAME, **facts):
    count = len(exits) + 1
    return MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": name, "input_size": (1, 8, 8), "num_outputs": 10, "task": "classification", **facts},
            "exits": [{"placement": p, "module": f"blocks.{p}", "head": h, "options": o} for p, h, o in exits],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0] * count,
            "profile": {},
            "outcomes": {},
        }
    )


@pytest.fixture
def model():
    return build_model(_config(), pretrained=False)


@pytest.fixture
def images():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ran(model):
    """Numbers of the blocks that ran."""
    blocks: list[int] = []
    for index, block in enumerate(model.backbone.module.blocks):
        block.register_forward_hook(lambda *_, index=index: blocks.append(index))
    return blocks


def test_outputs_of_every_exit_and_last_of_the_backbone(model, images):
    with torch.no_grad():
        outputs = model(images)
        assert [tuple(output.shape) for output in outputs] == [(3, 10)] * 3
        features = list(model.backbone.stream(images))
        assert torch.equal(outputs[0], model.heads[0](features[2]))
        assert torch.equal(outputs[1], model.heads[1](features[5]))
        assert torch.equal(outputs[2], model.backbone.module(images))


def test_nothing_beyond_the_exit_asked_for_is_computed(model, images, ran):
    exits = model.iter_exits(images)
    assert ran == []
    next(exits)
    assert ran == [0, 1, 2]
    next(exits)
    assert ran == [0, 1, 2, 3, 4, 5]
    next(exits)
    assert ran == list(range(12))
    with pytest.raises(StopIteration):
        next(exits)


def test_one_pass_of_the_backbone_serves_every_exit(model, images, ran):
    model(images)
    assert ran == list(range(12))


def test_without_exits_it_is_the_backbone(images):
    model = build_model(_config(exits=()), pretrained=False)
    (outputs,) = model(images)
    assert torch.equal(outputs, model.backbone(images))


def test_an_exit_at_the_last_placement_precedes_the_final_one(images):
    model = build_model(_config(exits=((11, "linear", {}),)), pretrained=False)
    assert len(model(images)) == 2


def test_it_trains_like_any_module(model, images):
    """A joint loss reaches the backbone and every head, and a step of an optimizer lowers it."""
    model.train()
    assert model.heads[0].training
    assert model.backbone.module.blocks[0].training
    model.heads.eval()  # dropout would blur the comparison below
    labels = torch.tensor([0, 1, 2])

    def loss():
        return sum(F.cross_entropy(output, labels) for output in model(images))

    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    before = loss()
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert float(loss()) < float(before)


def test_state_dict_round_trip(model, images):
    other = build_model(_config(), pretrained=False, seed=1)
    assert not torch.equal(other(images)[0], model(images)[0])
    other.load_state_dict(model.state_dict())
    for a, b in zip(other(images), model(images), strict=True):
        assert torch.equal(a, b)


def test_every_weight_stands_once_in_the_state_dict(model):
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values()]
    assert len(addresses) == len(set(addresses))


def test_a_copy_is_independent(model, images):
    twin = copy.deepcopy(model)
    before = model(images)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    for a, b, c in zip(model(images), before, twin(images), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_options_reach_the_head():
    model = build_model(_config(exits=((1, "gah", {"stride": 2}),)), pretrained=False)
    assert str(model.config.exits[0].choice) == "gah(stride=2)"
    assert model(torch.zeros(1, 1, 8, 8))[0].shape == (1, 10)


def test_heads_start_the_same_in_every_company():
    pair = build_model(_config(), pretrained=False, seed=3)
    alone = build_model(_config(exits=((5, "linear", {}),)), pretrained=False, seed=3)
    for key, tensor in alone.heads[0].state_dict().items():
        assert torch.equal(tensor, pair.heads[1].state_dict()[key])
    # zlib.crc32(b"3/5/linear"), fixed here because stored runs depend on it
    assert exit_seed(3, 5, "linear") == 1975652675


def test_load_model_reads_what_was_written(model, images, tmp_path):
    _write(model, tmp_path)
    loaded = load_model(tmp_path)
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.backbone.final_is_trained
    assert loaded.backbone.weights.startswith("file:")
    for a, b in zip(loaded(images), model(images), strict=True):
        assert torch.equal(a, b)


def _write(model, folder):
    save_file(model.state_dict(), folder / "model.safetensors")
    model.config.write(folder / "chosen.json")


def test_weights_that_do_not_fit_are_refused(model, tmp_path):
    with pytest.raises(FileError, match=r"chosen.json: no such file"):
        load_model(tmp_path)
    model.config.write(tmp_path / "chosen.json")
    with pytest.raises(FileError, match=r"model.safetensors: no such file"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(FileError, match="not a safetensors file"):
        load_model(tmp_path)
    _write(model, tmp_path)
    _config(exits=((2, "mlp_ee", {}),)).write(tmp_path / "chosen.json")
    with pytest.raises(FileError, match="do not fit the configuration"):
        load_model(tmp_path)


def test_configurations_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="has placements 0 to 11, the configuration has an exit at 12"):
        build_model(_config(exits=((12, "linear", {}),)), pretrained=False)
    with pytest.raises(InputError, match="names no backbone"):
        build_model(_config(name=None))
    with pytest.raises(MismatchError, match="same name"):
        attach_exits(create_backbone("test_vit", pretrained=False), config=_config())


def test_file_names_are_safe():
    assert head_file(3, "gah(stride=2)") == "3__gah(stride=2).safetensors"
    assert "/" not in head_file(3, "mine(kind=../x)")

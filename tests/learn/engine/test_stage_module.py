"""StageModule: only what a stage trains moves, however the loop around it calls `train()`; and the loss falls."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from exitsearch.errors import InputError
from exitsearch.learn.engine.stage_module import stage_modules
from exitsearch.learn.recipes.losses import LOSSES, NamedLoss
from exitsearch.learn.recipes.recipe import Recipe, Stage, get_recipe
from exitsearch.models.multi_exit import build_model
from exitsearch.specs.config import MultiExitConfig

STAGE = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-2}


def model_of(name="vit_digits_patch1_8", size=(1, 8, 8), exits=((1, "linear"), (4, "mlp_ee")), **options):
    config = MultiExitConfig.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": name, "input_size": size, "num_outputs": 10},
            "exits": [{"placement": placement, "head": head} for placement, head in exits],
            "policy": "interruptible",
            "budget": "uniform:1,2",
            "expected": {"value": 0.5, "metric": "accuracy", "policy": "interruptible", "split": "choice"},
            "optimum": {"value": 0.5, "exact": True, "regret": 0.0},
            "latency_ms": [1.0] * (len(exits) + 1),
            "profile": {},
            "outcomes": {},
        }
    )
    return build_model(config, **options)


@pytest.fixture(scope="module")
def made():
    torch.set_num_threads(1)
    return model_of()


@pytest.fixture
def model(made):
    return copy.deepcopy(made)


@pytest.fixture
def first():
    """The first module of a recipe, at work: a generator that is let go gives the model back."""
    held = []

    def ask(model, recipe, **options):
        held.append(stage_modules(model, recipe=recipe, **options))
        return next(held[-1])

    return ask


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 1, 8, 8, generator=generator), torch.arange(8)


def recipe_of(loss="joint", **stage):
    return Recipe(
        name="mine", description="", source="own", stages=(Stage(name="only", loss=loss, **{**STAGE, **stage}),)
    )


def step(module, batch, *, rate=1e-2):
    """One step of SGD; the loss before it."""
    optimizer = torch.optim.SGD(module.trained_parameters(), lr=rate)
    found = module(*batch)
    found["loss"].backward()
    optimizer.step()
    optimizer.zero_grad()
    return found


def moved(before, module):
    """Names of weights and buffers that are not bit for bit what they were."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_step_lowers_the_loss_of_its_batch(model, batch, first):
    module = first(model, recipe_of(trains="all"))
    for head in model.heads:
        head.eval()  # without dropout, so that both losses are of one function
    before = step(module, batch, rate=1e-4)
    assert before["loss"].item() == pytest.approx(
        sum(before[name].item() for name in ("exit_0", "exit_1", "final")), rel=1e-5
    )
    with torch.no_grad():
        assert module(*batch)["loss"] < before["loss"]


def test_one_head_at_a_time_and_nothing_else(model, batch):
    """layerwise: a leg for each exit, in order."""
    seen = []
    for module in stage_modules(model, recipe="layerwise"):
        before = state(model)
        module.train()
        step(module, batch)
        seen.append({name.split(".")[1] for name in moved(before, model)})
        assert all(name.startswith("heads.") for name in moved(before, model))
    assert seen == [{"0"}, {"1"}]


def test_a_backbone_that_stands_still_keeps_its_buffers(batch):
    """Batch norms of a frozen backbone, in a loop that calls `train()` before every step, as the Trainer does."""
    model = model_of("test_resnet", (3, 32, 32), exits=((1, "linear"),), pretrained=False)
    model.backbone.final_is_trained = True
    norms = [part for part in model.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = state(model.backbone)
    for module in stage_modules(model, recipe="layerwise"):
        for _ in range(2):
            module.train()
            step(module, (images, batch[1]))
        assert not any(norm.training for norm in norms)
    assert moved(before, model.backbone) == set()
    for module in stage_modules(model, recipe="joint"):
        step(module, (images, batch[1]))
    assert any("running_mean" in name for name in moved(before, model.backbone))  # where it may, it moves


def test_evaluation_in_between_wakes_nothing(model, first):
    module = first(model, "copycat")
    assert (model.heads[1].training, model.backbone.training) == (True, False)
    module.eval()
    assert not model.heads[1].training
    module.train()
    assert (model.heads[1].training, model.backbone.training) == (True, False)


def test_the_model_comes_back_as_it_was(model):
    fixed = next(model.backbone.parameters()).requires_grad_(False)
    for module in stage_modules(model, recipe="joint"):
        assert not any(fixed is parameter for parameter in module.trained_parameters())
    for _ in stage_modules(model, recipe="layerwise"):
        assert not next(model.backbone.module.head.parameters()).requires_grad
    assert not model.training
    assert not fixed.requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters() if parameter is not fixed)


def test_adapters_end_as_plain_weights(model, batch):
    names, before = list(model.state_dict()), state(model)
    for module in stage_modules(model, recipe="adapters"):
        for _ in range(2):  # the first moves one half of an adapter alone, whose other half begins at 0
            module.train()
            step(module, batch)
    assert list(model.state_dict()) == names
    changed = moved(before, model)
    assert any(name.startswith("backbone.module.blocks.0") for name in changed)
    assert not any(name.endswith("pos_embed") for name in changed)


def test_steps_are_those_of_the_optimiser(model, batch, monkeypatch, first):
    steps = []

    def counted(outputs, targets, teacher, step):
        steps.append(step)
        return {"final": outputs.logits[-1].square().mean()}

    loss = NamedLoss(name="counted", function=counted, needs=frozenset(), formula="", source="own")
    monkeypatch.setitem(LOSSES, "counted", loss)
    module = first(model, recipe_of("counted", trains="all"), accumulate=2)
    module(*batch)
    module(*batch)
    with torch.no_grad():  # a validation between two steps is none
        module(*batch)
    module(*batch)
    assert steps == [0, 0, 1, 1]


def test_a_teacher_is_asked_and_is_no_part_of_the_module(model, batch, first):
    teacher = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    module = first(model, get_recipe("distill", teacher="given"), teacher=teacher)
    assert not teacher.training
    assert {id(one) for one in module.parameters()} == {id(one) for one in model.parameters()}
    step(module, batch)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    with torch.no_grad():
        before = module.eval()(*batch)["loss"].item()
        teacher[2].bias[0] += 30
        assert module(*batch)["loss"].item() != before


def test_gradients_of_every_exit_pass_through_data_parallel(model, batch, tmp_path, first):
    """One process of gloo: around the module, where hooks see every parameter that the loss reaches."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        module = first(model, recipe_of(trains="all"))
        parallel, hooked = DistributedDataParallel(module), []

        def keep(_, bucket):
            hooked.append(len(bucket.gradients()))
            future = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        parallel.register_comm_hook(None, keep)
        parallel(*batch)["loss"].backward()
        assert sum(hooked) == len(module.trained_parameters())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("frozen", {}, r"exitsearch train --recipe frozen"),
        ("no_such", {}, "unknown recipe"),
        ("budget", {}, "chance"),
        ("joint", {"accumulate": 0}, "at least 1 batch, found accumulate 0"),
        (recipe_of("distill", trains="all", teacher="given"), {}, "learns from another model"),
    ],
)
def test_what_cannot_be_is_said(model, recipe, options, words):
    with pytest.raises(InputError, match=words):
        list(stage_modules(model, recipe=recipe, **options))


def test_a_new_classifier_is_not_left_untrained(model):
    model.backbone.final_is_trained = False
    with pytest.raises(InputError, match="the final classifier of vit_digits_patch1_8 is new"):
        stage_modules(model, recipe="layerwise")
    assert len(list(stage_modules(model, recipe="joint"))) == 1

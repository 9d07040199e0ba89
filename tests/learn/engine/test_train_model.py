"""train_model: what stands still, what is kept, what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import warnings

import pytest
import torch
from safetensors.torch import load_file
from small_data import small_backbone, small_digits
from small_training import EXITS, same, small_config, stage, state, tiny_data, tiny_model, train

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.learn.bank.recipe import HeadRecipe
from exitsearch.learn.bank.train import train_bank
from exitsearch.learn.engine.folder.record import TrainingRecord
from exitsearch.learn.engine.train import train_model
from exitsearch.learn.recipes.losses import LOSSES, register
from exitsearch.learn.recipes.recipe import RECIPES, Recipe, get_recipe
from exitsearch.models.multi_exit import attach_exits, load_model

HEADS = HeadRecipe(name="heads", description="", epochs=1, batch_size=12, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data():
    return tiny_data()


def rows(folder) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_stage_of_heads_leaves_the_backbone_bit_for_bit(tmp_path, data) -> None:
    """Weights and buffers: a batch norm in training mode would move its statistics without any gradient."""
    model = tiny_model()
    before, heads = state(model.backbone), state(model.heads)
    train(tmp_path, data, stage(trains="heads", epochs=2, ema=0.5, weight_decay=0.1, clip_grad=1.0), model=model)
    assert same(state(model.backbone), before)
    assert not same(state(model.heads), heads)


def test_the_second_stage_leaves_what_the_first_has_made_of_the_backbone(tmp_path, data) -> None:
    model = tiny_model()
    first, second = stage("all"), stage("heads", trains="heads")
    train(tmp_path / "first", data, first, model=model)
    after = state(model.backbone)
    again = tiny_model()
    # The criterion keeps the last weights, whatever they are worth.
    ends = iter(range(10))
    train(tmp_path / "both", data, first, second, model=again, judge=lambda scores: float(next(ends)))
    assert same(state(again.backbone), after)
    assert not same(state(again.heads), state(model.heads))


def test_a_stage_of_all_moves_weights_and_statistics(tmp_path, data) -> None:
    model = tiny_model()
    before = state(model)
    train(tmp_path, data, stage(trains="all"), model=model)
    assert not [name for name, tensor in state(model).items() if torch.equal(tensor, before[name])]


def test_exits_one_after_the_other(tmp_path, data) -> None:
    """In the leg of an exit no other one moves: seen from the checkpoint after each."""
    model = tiny_model()
    before = state(model.heads)
    asked = stage("each", loss="separate", trains="heads", each_exit=True)
    train(tmp_path, data, asked, model=model, until=1)
    first = state(model.heads)
    assert {name for name in first if not torch.equal(first[name], before[name])} == {
        name for name in first if name.startswith("0.")
    }
    found = train(tmp_path, data, asked, model=tiny_model())
    assert [row["stage"] for row in rows(tmp_path)] == ["each/0", "each/1"]
    assert found.finished


def test_adapters_are_merged_into_an_ordinary_model(tmp_path, data) -> None:
    model = tiny_model()
    names, before = list(model.state_dict()), state(model.backbone)
    statistics = [name for name in before if "running" in name]
    found = train(tmp_path, data, stage(trains="adapters", epochs=2), model=model, adapter_rank=1)
    assert list(found.model.state_dict()) == names
    after = state(model.backbone)
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert not same(before, after)
    assert same(dict(load_file(tmp_path / "model.safetensors")), state(model))


def test_the_best_weights_are_kept_and_said(tmp_path, data) -> None:
    """A criterion that is best after the second of four epochs: what is written are the weights that it had seen."""
    model, seen = tiny_model(), []

    def judge(scores):
        seen.append((state(model), list(scores)))
        return [0.1, 0.9, 0.3, 0.8][len(seen) - 1]

    judge.words = "a criterion of the test"
    found = train(tmp_path, data, stage(epochs=4), model=model, judge=judge)
    assert same(load_file(tmp_path / "model.safetensors"), seen[1][0])
    assert found.kept is not None
    assert (found.kept.stage, found.kept.epoch, found.kept.value) == ("all", 2, 0.9)
    assert found.scores["choice"] == seen[1][1]
    record = TrainingRecord.read(tmp_path / "training.json")
    assert record.criterion == "a criterion of the test"
    assert [row["value"] for row in record.history] == [0.1, 0.9, 0.3, 0.8]
    assert [float(row["value"]) for row in rows(tmp_path)] == [0.1, 0.9, 0.3, 0.8]


def test_what_is_kept_is_of_the_last_stage(tmp_path, data) -> None:
    """An earlier stage makes way even where it was worth more: else the last one would silently be left out."""
    values = iter([0.9, 0.2, 0.3, 0.1])
    found = train(tmp_path, data, stage(epochs=2), stage(name="last", epochs=2), judge=lambda scores: next(values))
    assert found.kept is not None
    assert (found.kept.stage, found.kept.epoch, found.kept.value) == ("last", 1, 0.3)


def test_of_equals_the_later_weights_are_kept(tmp_path, data) -> None:
    found = train(tmp_path, data, stage(epochs=3), judge=lambda scores: 0.5)
    assert found.kept is not None
    assert found.kept.epoch == 3


def test_a_moving_average_is_what_is_judged_and_kept(tmp_path, data) -> None:
    """The average changes what is judged and kept, not what is trained."""
    plain, average = tiny_model(), tiny_model()
    one = train(tmp_path / "a", data, stage(epochs=2), model=plain)
    other = train(tmp_path / "b", data, stage(epochs=2, ema=0.9), model=average)
    assert not same(state(plain), state(average))
    first = one.history[0]["terms"]
    assert first == other.history[0]["terms"], "the average changes what is judged, not what is trained"


def test_a_training_learns(tmp_path, data) -> None:
    found = train(tmp_path, data, stage(epochs=12, learning_rate=2e-2))
    assert min(found.scores["report"]) > 0.8


def test_regression_answers_in_the_targets_own_unit(tmp_path) -> None:
    """Targets around 500: a model that learnt on standardised ones and was not brought back would be 500 off."""
    data = tiny_data(task="regression")
    spread = float((data.report.labels - data.heads.labels.median()).abs().mean())
    model = tiny_model(task="regression")
    found = train(tmp_path, data, stage(epochs=15, learning_rate=2e-2), model=model)
    assert max(found.scores["report"]) < spread
    assert found.criterion == "minus the mean error of the exits on the choice split"
    values = [row["value"] for row in found.history]
    assert found.kept is not None
    assert found.kept.value == max(values) < 0


def test_warm_heads_of_a_regression_begin_as_they_answer(tmp_path) -> None:
    data, model = tiny_data(task="regression"), tiny_model(task="regression")
    before = train(tmp_path / "a", data, stage(epochs=10, learning_rate=2e-2), model=model).scores["choice"]
    # A rate of almost nothing: only the way into the standardised unit and back could change the answers.
    after = train(tmp_path / "b", data, stage(trains="heads", learning_rate=1e-9), model=model, warm=True).scores[
        "choice"
    ]
    assert after == pytest.approx(before, rel=1e-3)


def test_a_diverging_training_says_where(tmp_path, data) -> None:
    with pytest.raises(ExitSearchError, match=r"diverged: in the stage all, epoch \d+, step \d+, the term \w+ .*--lr"):
        train(tmp_path, data, stage(epochs=30, learning_rate=1e30, optimizer="sgd"))
    assert not (tmp_path / "model.safetensors").exists()


def test_unlabelled_samples_are_trained_on_where_no_label_is_looked_at(tmp_path, data) -> None:
    asked = stage(loss="copycat", teacher="final", trains="heads", labels=False)
    more = tiny_data(count=20).report
    train(tmp_path / "a", data, asked, unlabelled=more)
    train(tmp_path / "b", data, asked)
    steps = [int(rows(tmp_path / name)[0]["step"]) for name in "ab"]
    assert steps == [7, 5]  # 68 and 48 samples in batches of 10


def test_a_loss_that_looks_at_labels_is_not_fed_unlabelled_samples(tmp_path, data) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        train(tmp_path, data, stage(labels=False), unlabelled=tiny_data(count=20).report)


def test_a_given_teacher_is_learnt_from(tmp_path, data) -> None:
    """A teacher that always says class 2 makes every exit say so."""

    class Two(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([0.0, 0.0, 9.0, 0.0]).expand(len(x), 4)

    asked = stage(loss="copycat", teacher="final", trains="heads", epochs=10, learning_rate=5e-2)
    found = train(tmp_path, data, asked, teacher=Two())
    inputs, _ = data.report.batch(list(range(20)))
    with torch.no_grad():
        assert {int(number) for outputs in found.model(inputs)[:-1] for number in outputs.argmax(1)} == {2}


def test_easy_samples_come_first(tmp_path, data) -> None:
    """Of 48 samples the first epoch of a curriculum shows the easiest 30%: 15 of them."""
    split, seen = data.heads, []
    read = split.read

    def spy(indices):
        seen.append(list(indices))
        return read(indices)

    split.read = spy
    try:
        order = torch.arange(48).flip(0)
        train(tmp_path, data, stage(order="curriculum", epochs=2), order=order, until=1)
    finally:
        del split.read
    assert {index for batch in seen for index in batch} == set(range(33, 48))


def test_heads_are_trained_first_as_the_bank_trains_them(tmp_path, data) -> None:
    """A recipe without stages is the bank, bit for bit; one with stages goes on from there."""
    model = tiny_model()
    train_model(model, data, recipe=Recipe(name="own", description="", source="", heads=HEADS), out=tmp_path / "a")
    exits = [(0, "linear"), (1, "linear")]
    train_bank(tiny_model().backbone, data, out=tmp_path / "bank", exits=exits, recipe=HEADS)
    for number, (placement, head) in enumerate(exits):
        own = load_file(tmp_path / "bank" / "heads" / f"{placement}__{head}.safetensors")
        assert same(own, state(model.heads[number]))
    seen = []
    again = tiny_model()

    def judge(scores):
        seen.append(list(scores))
        return 0.0

    train(tmp_path / "b", data, stage(learning_rate=1e-12, trains="heads"), model=again, heads=HEADS, judge=judge)
    for number in range(2):
        mine, bank = state(again.heads[number]), state(model.heads[number])
        assert all(torch.allclose(mine[name], bank[name], atol=1e-6) for name in bank)


def test_a_new_final_classifier_is_trained_before_stages_that_leave_it(tmp_path) -> None:
    backbone = small_backbone()
    assert not backbone.final_is_trained
    model, digits = attach_exits(backbone, config=small_config()), small_digits(backbone)
    final = state(backbone.final_classifier()[0])
    blocks = state(backbone.module.blocks)
    train(tmp_path, digits, stage(loss="copycat", teacher="final", trains="heads", batch_size=15), model=model)
    assert not same(state(backbone.final_classifier()[0]), final)
    assert same(state(backbone.module.blocks), blocks)
    inputs, _ = digits.report.batch(list(range(6)))
    with torch.no_grad():
        for mine, loaded in zip(model(inputs), load_model(tmp_path)(inputs), strict=True):
            assert torch.equal(mine, loaded)
    assert [(exit_.placement, exit_.head) for exit_ in model.config.exits] == EXITS


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_an_epoch_and_writes_what_it_hands_back(tmp_path, data, name) -> None:
    model = tiny_model()
    asked = get_recipe(name, epochs=1, batch_size=24)
    if asked.adapter_rank is not None:  # the layers here have fewer inputs than its rank
        asked = dataclasses.replace(asked, adapter_rank=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lgvit says that no head of its own is there
        found = train_model(model, data, recipe=asked, out=tmp_path, chances=(0.2, 0.3, 0.5), warm=name == "curriculum")
    assert found.finished
    assert same(load_file(tmp_path / "model.safetensors"), state(model))
    assert not (tmp_path / "training").exists()


def test_a_batch_in_parts_takes_the_same_steps(tmp_path, data) -> None:
    """Over a frozen backbone with linear heads, nothing tells two halves of a batch from the whole but rounding."""
    one, other = tiny_model(), tiny_model()
    asked = stage(trains="heads", optimizer="sgd", learning_rate=0.1, epochs=2)
    train(tmp_path / "a", data, asked, model=one)
    train(tmp_path / "b", data, asked, model=other, accumulate=3)
    a, b = state(one), state(other)
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)
    assert not same(a, state(tiny_model()))


def test_mixed_precision_trains_in_bfloat16_and_writes_float32(tmp_path, data) -> None:
    seen = []

    def spy(outputs, targets, teacher, step):
        seen.append(outputs.logits[0].dtype)
        return LOSSES["joint"].function(outputs, targets, teacher, step)

    if "spy_of_precision" not in LOSSES:
        register("spy_of_precision", formula="", source="")(spy)
    try:
        one, other = tiny_model(), tiny_model()
        train(tmp_path / "a", data, stage(loss="spy_of_precision"), model=one, mixed_precision="bf16")
        train(tmp_path / "b", data, stage(), model=other)
    finally:
        del LOSSES["spy_of_precision"]
    assert set(seen) == {torch.float32}, "losses are computed in float32"
    assert {tensor.dtype for tensor in load_file(tmp_path / "a" / "model.safetensors").values()} <= {
        torch.float32,
        torch.int64,
    }
    assert not same(state(one), state(other))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "adamx"}, "timm cannot make the optimiser 'adamx' of the stage all"),
        ({"schedule": "sometimes"}, "timm cannot make the schedule 'sometimes'"),
        ({"schedule": "none"}, "found 'none'"),
    ],
)
def test_what_timm_does_not_know_is_one_sentence(tmp_path, data, changes, words) -> None:
    with pytest.raises(InputError, match=words):
        train(tmp_path, data, stage(**changes))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"accumulate": 0}, "at least 1 part"),
        ({"checkpoint_minutes": math.nan}, "at least 0, found nan"),
        ({"until": 0}, "at least 1 epoch"),
        ({"mixed_precision": "fp16"}, "fp16 needs a GPU"),
        ({"mixed_precision": "int4"}, "one of no, bf16, fp16"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, data, given, words) -> None:
    with pytest.raises(InputError, match=words):
        train(tmp_path, data, stage(), **given)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_reaches_nothing_that_trains_is_refused(tmp_path, data) -> None:
    with pytest.raises(InputError, match="does not reach what trains there"):
        train(tmp_path, data, stage(loss="alternating", trains="heads"))


def test_the_rate_warms_up_and_falls_step_by_step(tmp_path, data) -> None:
    train(tmp_path / "a", data, stage(epochs=4, warmup_epochs=1, learning_rate=0.01))
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "a")]
    assert rates[0] < 0.01
    assert rates[1] > rates[2] > rates[3] > 0
    train(tmp_path / "b", data, stage(epochs=2, schedule="constant", learning_rate=0.01))
    assert [float(row["learning_rate"]) for row in rows(tmp_path / "b")] == [0.01, 0.01]


def test_events_for_tensorboard(tmp_path, data) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, data, stage(epochs=2), tensorboard=True)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == [5, 10]
    assert [event.value for event in found.Scalars("value")] == pytest.approx(
        [float(row["value"]) for row in rows(tmp_path)]
    )


def test_nothing_of_the_process_is_changed(tmp_path, data) -> None:
    from accelerate.state import PartialState

    model = tiny_model()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    train(tmp_path, data, stage("a", trains="heads", mixup=0.2), model=model)
    assert torch.equal(torch.rand(3), expected)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert not any(module.training for module in model.modules())
    assert not PartialState._shared_state
    assert json.loads((tmp_path / "training.json").read_text())["settings"]["processes"] == 1

"""Stopping early, and heads of several trainings answering together in one dtype."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_data import HEADS, PLACEMENTS, RECIPE, small_backbone, small_digits

from exitsearch.errors import ExitSearchError, MismatchError
from exitsearch.learn.bank import run
from exitsearch.learn.bank.train import bank_digest, train_bank
from exitsearch.learn.bank.trainer import HeadTrainer
from exitsearch.learn.scored import joined, merged_scores, score_banks
from exitsearch.models.multi_exit import HEADS_FOLDER, head_file, read_tensors
from exitsearch.specs.outcomes import Outcomes

PAIRS = [(placement, head) for placement in PLACEMENTS for head in HEADS]


def _train(out, *, backbone=None, **options):
    backbone = backbone or small_backbone()
    data = small_digits(backbone)
    return train_bank(backbone, data, out=out, **{"exits": PAIRS, "recipe": RECIPE, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted training."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    _train(out)
    return out


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The same heads in two trainings, one a head type."""
    torch.set_num_threads(1)
    folders = []
    for head in HEADS:
        folders.append(tmp_path_factory.mktemp(head))
        _train(folders[-1], exits=[(placement, head) for placement in PLACEMENTS])
    return folders


def _samples(folder, split="choice"):
    found = Outcomes.load(folder).samples(split)
    assert found is not None
    return found


def _assert_same_answers(first, second):
    """Bit for bit, what every exit answered to every sample of both splits."""
    for split in ("choice", "report"):
        files = sorted(path.name for path in (first / "answers" / split).iterdir())
        assert files == sorted(path.name for path in (second / "answers" / split).iterdir())
        for file in files:
            mine, theirs = (folder / "answers" / split / file for folder in (first, second))
            assert mine.read_bytes() == theirs.read_bytes()


def test_a_training_that_stops_early_goes_on_to_the_same_end(whole, tmp_path):
    early = _train(tmp_path, until=1)
    assert early.samples("choice") is None
    assert {(o.placement, o.head) for o in early.heads} == set(PAIRS)
    assert not (tmp_path / "outcomes.json").exists()
    _train(tmp_path)
    _assert_same_answers(tmp_path, whole)
    assert Outcomes.load(tmp_path).values() == Outcomes.load(whole).values()
    # What was seen early is kept; of a training that is further already, it is what there is.
    assert _train(tmp_path, until=1) == early
    assert _train(whole, until=1).values() == Outcomes.load(whole).values()


def test_finished_heads_answer_again_where_outputs_are_asked_for(whole, tmp_path):
    """The same answers, with the outputs beside them; nothing is trained, and the backbone is left as it is."""
    backbone = small_backbone()
    before = _train(tmp_path, backbone=backbone)
    flags = [parameter.requires_grad for parameter in backbone.parameters()]
    again = _train(tmp_path, backbone=backbone, keep_logits=True, progress=lambda *_: pytest.fail("trained again"))
    assert [parameter.requires_grad for parameter in backbone.parameters()] == flags
    assert (again.identity, again.values()) == (before.identity, before.values())
    for split in ("choice", "report"):
        mine, theirs = _samples(tmp_path, split), _samples(whole, split)
        for pair in PAIRS:
            assert np.array_equal(mine.outputs[pair].margin, theirs.outputs[pair].margin)
            assert np.array_equal(mine.outputs[pair].full().argmax(axis=1), mine.outputs[pair].prediction)
        assert mine.final.full().shape == (30, 10)
    stamp = (tmp_path / "outcomes.json").stat().st_mtime_ns
    assert _train(tmp_path, backbone=backbone, keep_logits=True).identity == before.identity
    assert (tmp_path / "outcomes.json").stat().st_mtime_ns == stamp


def test_early_scores_are_those_of_half_a_training(tmp_path, monkeypatch):
    early = _train(tmp_path / "early", until=1)
    monkeypatch.setattr(run.HeadTrainer, "train_epoch", lambda *arguments, **options: pytest.fail("it trains again"))
    assert _train(tmp_path / "early", until=1) == early


def test_a_run_killed_before_it_wrote_its_answers_ends_the_same(whole, tmp_path, monkeypatch):
    """Every epoch is done: the heads are restored and must answer without dropout."""
    with monkeypatch.context() as patch:
        patch.setattr(run.BankRun, "_write", lambda *arguments, **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path)
    _train(tmp_path)
    _assert_same_answers(tmp_path, whole)


def test_heads_of_two_trainings_answer_as_those_of_one(whole, parts, tmp_path):
    backbone = small_backbone()
    found = score_banks(backbone, small_digits(backbone), banks=parts, out=tmp_path)
    assert {(o.placement, o.head): o.scores for o in found.heads} == {
        (o.placement, o.head): o.scores for o in Outcomes.load(whole).heads
    }
    _assert_same_answers(tmp_path, whole)
    for pair in PAIRS:
        for name, tensor in read_tensors(whole / HEADS_FOLDER / head_file(*pair)).items():
            assert torch.equal(tensor, read_tensors(tmp_path / HEADS_FOLDER / head_file(*pair))[name])


def test_another_dtype_changes_answers_and_not_weights(whole, tmp_path):
    backbone = small_backbone()
    before = copy.deepcopy(backbone.module.state_dict())
    found = score_banks(backbone, small_digits(backbone), banks=[whole], out=tmp_path, dtype=torch.bfloat16)
    assert found.training["answers"] == "bfloat16"
    assert "answers in bfloat16" in found.source
    for pair in PAIRS:
        mine, theirs = (_samples(folder).outputs[pair].raw_confidence for folder in (tmp_path, whole))
        assert not np.array_equal(mine, theirs)
        # bfloat16 keeps 8 bits: through some blocks a few percent are left of an answer's size.
        assert np.abs(mine - theirs).max() < 0.2
    after = backbone.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    weights = read_tensors(tmp_path / HEADS_FOLDER / head_file(*PAIRS[0]))
    assert all(tensor.dtype == torch.float32 for tensor in weights.values() if tensor.is_floating_point())
    # Its name stands for it: what is there is not made again.
    assert score_banks(backbone, small_digits(backbone), banks=[], out=tmp_path) == found


def test_other_weights_are_refused(whole, tmp_path):
    backbone = small_backbone(seed=1)
    with pytest.raises(MismatchError, match="were trained with weights random:0, here it is random:1"):
        score_banks(backbone, small_digits(backbone), banks=[whole], out=tmp_path)


def test_answers_that_are_not_finite_name_the_head(whole, tmp_path):
    backbone = small_backbone()
    with torch.no_grad():
        backbone.module.blocks[3].mlp.fc2.weight.fill_(1e30)
    with pytest.raises(ExitSearchError, match="at placement 4 answers with numbers that are not finite"):
        score_banks(backbone, small_digits(backbone), banks=[whole], out=tmp_path, dtype=torch.float16)
    assert not (tmp_path / "outcomes.json").exists()


def test_merged_scores_hold_the_heads_of_all_parts(whole, parts):
    found = merged_scores([Outcomes.load(part) for part in parts])
    assert found.values() == Outcomes.load(whole).values()
    assert found.final_value() == Outcomes.load(whole).final_value()
    assert (found.samples("choice"), found.samples("report")) == (None, None)


def test_the_digest_stands_for_everything():
    backbone = small_backbone()
    data = small_digits(backbone)
    digest = bank_digest(backbone, data, exits=PAIRS, recipe=RECIPE, seed=0)
    assert digest == bank_digest(small_backbone(), data, exits=PAIRS[::-1], recipe=RECIPE, seed=0)
    others = {
        bank_digest(backbone, data, exits=PAIRS[1:], recipe=RECIPE, seed=0),
        bank_digest(backbone, data, exits=PAIRS, recipe=RECIPE, seed=1),
        bank_digest(small_backbone(seed=1), data, exits=PAIRS, recipe=RECIPE, seed=0),
        bank_digest(backbone, small_digits(backbone, count=20), exits=PAIRS, recipe=RECIPE, seed=0),
    }
    assert len({digest, *others}) == 5


def _outcomes(heads, score, final=0.9):
    return Outcomes.model_validate(
        {
            "schema_version": 1,
            "backbone": {"name": "toy"},
            "metric": "accuracy",
            "splits": {"choice": 3},
            "heads": [{"placement": p, "head": h, "scores": {"choice": score}} for p, h in heads],
            "final": {"scores": {"choice": final}},
        }
    )


def test_heads_of_both_in_order_of_placement_the_earlier_one_of_two():
    found = joined(_outcomes([(4, "a"), (1, "a")], 0.5), _outcomes([(1, "b"), (4, "a"), (0, "a")], 0.7, final=0.8))
    assert list(found.values().items()) == [((0, "a"), 0.7), ((1, "a"), 0.5), ((1, "b"), 0.7), ((4, "a"), 0.5)]
    assert found.final_value() == 0.8


def test_a_failure_leaves_the_answers_that_stand(tmp_path, monkeypatch):
    backbone = small_backbone()
    data = small_digits(backbone)
    train_bank(backbone, data, out=tmp_path, exits=[(1, "linear")], recipe=RECIPE)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "training.json"]
    before = {path: path.read_bytes() for path in kept}
    stream = HeadTrainer.stream_answers

    def broken(trainer, split, **options):
        if split is data.report:
            raise KeyboardInterrupt
        return stream(trainer, split, **options)

    monkeypatch.setattr(HeadTrainer, "stream_answers", broken)
    with pytest.raises(KeyboardInterrupt):
        train_bank(backbone, data, out=tmp_path, exits=[(1, "mlp_ee")], recipe=RECIPE)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert {path for path in tmp_path.rglob("*") if path.is_file() and path.name != "training.json"} == {
        *kept,
        tmp_path / "training" / "1__mlp_ee.safetensors",
    }
    monkeypatch.undo()
    assert len(train_bank(backbone, data, out=tmp_path, exits=[(1, "mlp_ee")], recipe=RECIPE).heads) == 2
    assert {path.name for path in (tmp_path / "answers" / "report").iterdir()} == {
        "labels.safetensors",
        "final.safetensors",
        "1__linear.safetensors",
        "1__mlp_ee.safetensors",
    }

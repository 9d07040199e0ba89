"""Answers as they are written: those that whole outputs give, in blocks, whole or not at all."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import small_backbone, small_digits
from torch import nn

from exitsearch.errors import ExitSearchError, InputError
from exitsearch.learn import answers as module
from exitsearch.learn.answers import HELD_OUT, drop_answers, write_answers
from exitsearch.learn.bank.recipe import HeadRecipe, get_head_recipe
from exitsearch.learn.bank.trainer import FINAL, HeadTrainer
from exitsearch.learn.scored import document, scored
from exitsearch.models.backbone import create_backbone
from exitsearch.models.heads import create_head
from exitsearch.search.run import search
from exitsearch.search.utility import Utility, load_class_weights
from exitsearch.search.valuation import Valuation
from exitsearch.specs.answers import confidence
from exitsearch.specs.answers.confidence import fit_temperature, sureness
from exitsearch.specs.answers.samples import Samples, write_samples
from exitsearch.specs.outcomes import DOCUMENT_NAME, Outcomes
from exitsearch.specs.profile import Profile

PAIRS = [(1, "linear"), (1, "mlp"), (4, "linear"), (7, "mlp")]
KEYS = [f"{placement}/{head}" for placement, head in PAIRS]
SMALL = HeadRecipe(
    name="test", description="", epochs=1, batch_size=8, learning_rate=1e-2, weight_decay=0.0, schedule="one_cycle"
)


def _trainer(backbone, recipe=SMALL):
    heads = {
        (placement, head): create_head(
            head, placement=backbone.placements[placement], num_outputs=backbone.num_outputs, seed=7
        )
        for placement, head in PAIRS
    }
    return HeadTrainer(backbone, heads, recipe, seed=0, device=torch.device("cpu"))


def _outputs(trainer, split):
    """Whole outputs of every exit, as the older layout held them."""
    found: dict[str, list[torch.Tensor]] = {}
    for _, key, outputs in trainer.stream_answers(split):
        found.setdefault(key, []).append(outputs)
    return {key: torch.cat(parts).numpy() for key, parts in found.items()}


def _older_layout(trainer, data, out):
    """The same outcomes with raw outputs."""
    scored(trainer, data).write(out / DOCUMENT_NAME)
    for name in HELD_OUT:
        outputs = _outputs(trainer, data.split(name))
        final = outputs.pop(FINAL)
        pairs = dict(zip(PAIRS, (outputs[key] for key in KEYS), strict=True))
        write_samples(out, name, Samples(data.split(name).labels.numpy(), pairs, final))
    return Outcomes.load(out)


@pytest.fixture(scope="module")
def digits():
    """The trained backbone with heads that have learnt a little, and 60 scans a split."""
    torch.set_num_threads(1)
    backbone = create_backbone()
    data = small_digits(backbone, count=60)
    trainer = _trainer(backbone)
    order = [list(range(start, start + 10)) for start in range(0, 60, 10)]
    for epoch in range(4):
        trainer.train_epoch(data.heads, epoch=epoch, order=order)
    return trainer, data


@pytest.fixture(scope="module")
def kept(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("kept")
    scored(*digits, samples=out).write(out / DOCUMENT_NAME)
    return Outcomes.load(out)


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    return _older_layout(*digits, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def profile():
    """A millisecond a block, heads of 0.3 and 0.5 ms."""
    return Profile.model_validate(
        {
            "schema_version": 1,
            "backbone": create_backbone(pretrained=False).facts.model_dump(mode="json"),
            "segments": [{"placement": k, "module": f"blocks.{k}", "latency_ms": 1.0} for k in range(12)],
            "heads": [
                {"placement": p, "head": h, "latency_ms": 0.3 if h == "linear" else 0.5, "params": 10} for p, h in PAIRS
            ],
            "final": {"latency_ms": 0.5},
            "verdict": {"status": "ok"},
        }
    )


def test_scores_are_those_of_whole_outputs(kept, whole):
    for split in HELD_OUT:
        assert kept.values(split) == whole.values(split)
        assert kept.final_value(split) == whole.final_value(split)
    assert 0.5 < kept.values()[1, "linear"] < kept.values()[4, "linear"] < 1, "a bank that can be searched"


def test_temperatures_and_sureness_are_those_of_whole_outputs(digits, kept, whole):
    """Bit for bit: the temperature of the choice split, on both splits."""
    fitted = whole.samples("choice")
    for split, key in itertools.product(HELD_OUT, [*PAIRS, None]):
        mine, theirs = kept.samples(split), whole.samples(split)
        mine, theirs, first = (s.final if key is None else s.outputs[key] for s in (mine, theirs, fitted))
        temperature = fit_temperature(first, fitted.labels)
        assert mine.temperature == temperature
        sure = sureness(theirs, temperature=temperature)
        assert np.array_equal(mine.prediction, theirs.argmax(axis=1))
        assert np.array_equal(mine.confidence, sure.largest)
        assert np.array_equal(mine.entropy, sure.entropy)
        assert np.array_equal(mine.margin, sure.margin)
        assert np.array_equal(mine.raw_confidence, sureness(theirs).largest)


@pytest.mark.parametrize("score", ["softmax", "entropy", "margin", "patience"])
def test_the_policy_confidence_chooses_as_from_whole_outputs(kept, whole, profile, score):
    options = {"budget": "uniform:0,14", "policy": "confidence", "score": score, "trials": 3}
    mine, theirs = (search(profile, outcomes, **options) for outcomes in (kept, whole))
    assert mine.config.exits == theirs.config.exits
    assert (mine.value, mine.held_out, mine.interval) == (theirs.value, theirs.held_out, theirs.interval)
    assert mine.config.confidence == theirs.config.confidence
    assert mine.config.optimum == theirs.config.optimum
    assert mine.config.exits, "thresholds of some exit are compared"


@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_the_exact_policies_choose_as_from_whole_outputs(kept, whole, profile, policy):
    options = {"budget": "uniform:0,14", "policy": policy, "trials": 0}
    mine, theirs = (search(profile, outcomes, **options) for outcomes in (kept, whole))
    assert mine.config.exits == theirs.config.exits
    assert (mine.value, mine.held_out, mine.interval) == (theirs.value, theirs.held_out, theirs.interval)


def _right_or_costly(outputs, labels):
    return np.where(outputs.argmax(axis=1) == labels, 1.0, -0.5)


def _margin(outputs, labels):
    best = np.sort(outputs, axis=1)
    return best[:, -1] - best[:, -2]


def test_utilities_of_the_class_are_those_of_whole_outputs(kept, whole, profile, tmp_path):
    weights = tmp_path / "weights.csv"
    weights.write_text("label,weight\n" + "".join(f"{label},{1 + label % 3}\n" for label in range(10)))
    for utility in (Utility("mine", _right_or_costly), load_class_weights(weights)):
        options = {"budget": "uniform:0,14", "utility": utility, "trials": 0}
        mine, theirs = (search(profile, outcomes, **options) for outcomes in (kept, whole))
        assert (mine.value, mine.held_out, mine.interval) == (theirs.value, theirs.held_out, theirs.interval)


def test_a_utility_that_needs_the_outputs_says_so_or_gets_them(digits, kept, whole, tmp_path):
    with pytest.raises(InputError, match=r"^mine asks for more than outputs\.argmax.*--keep-logits$"):
        Valuation(kept, Utility("mine", _margin))
    scored(*digits, samples=tmp_path, keep_logits=True).write(tmp_path / DOCUMENT_NAME)
    full = Outcomes.load(tmp_path)
    mine, theirs = (Valuation(outcomes, Utility("mine", _margin)) for outcomes in (full, whole))
    # float16 keeps 11 bits.
    assert mine.final_value() == pytest.approx(theirs.final_value(), rel=1e-3)
    assert mine.values() == pytest.approx(theirs.values(), rel=1e-3)


def test_every_answer_for_pandas(kept, whole):
    """Both layouts give the same frame."""
    for split in (None, "report"):
        mine, theirs = (outcomes.samples_frame(split) for outcomes in (kept, whole))
        assert len(mine) == 60 * (len(PAIRS) + 1)
        assert list(mine) == [
            *("placement", "head", "sample", "label", "prediction", "right"),
            *("confidence", "entropy", "margin", "raw_confidence"),
        ]
        assert mine.equals(theirs)
    right = kept.samples_frame().groupby(["placement", "head"], observed=True)["right"].mean()
    assert right.to_dict() == pytest.approx(kept.values())
    last = kept.samples_frame("report").query("head == 'final'")
    assert last["placement"].isna().all()
    assert last["right"].mean() == kept.final_value("report")
    with pytest.raises(InputError, match="these outcomes have the splits choice, report, found 'heads'"):
        kept.samples_frame("heads")


def test_the_document_knows_how_far_confidence_can_be_believed(digits, kept):
    trainer, data = digits
    outputs = _outputs(trainer, data.report)[FINAL]
    right = outputs.argmax(axis=1) == data.report.labels.numpy()
    raw = sureness(outputs).largest.astype(np.float64)
    gap = sum(
        abs(right[inside].mean() - raw[inside].mean()) * inside.mean()
        for low in range(15)
        if (inside := (raw > low / 15) & (raw <= (low + 1) / 15)).any()
    )
    found = kept.final.calibration
    assert found.raw_ece["report"] == pytest.approx(gap)
    assert all(head.calibration.auroc["choice"] > 0.5 for head in kept.heads)
    assert Outcomes.read(kept.folder / DOCUMENT_NAME).final.calibration == found


def test_many_samples_are_fitted_on_a_part_and_answered_in_a_second_pass(digits, kept, tmp_path, monkeypatch):
    """Of 60 samples every third is fitted on: the same samples as of whole outputs, and every sample is answered."""
    trainer, data = digits
    monkeypatch.setattr(confidence, "MOST_FITTED", 25)
    assert write_answers(trainer, data, tmp_path) == []
    found = document(trainer, data, tmp_path, exits=PAIRS)
    found.write(tmp_path / DOCUMENT_NAME)
    samples, outputs = Outcomes.load(tmp_path).samples("choice"), _outputs(trainer, data.choice)
    for key, pair in zip(KEYS, PAIRS, strict=True):
        mine = samples.outputs[pair]
        assert mine.temperature == pytest.approx(fit_temperature(outputs[key], data.choice.labels), rel=1e-5)
        assert mine.temperature != kept.samples("choice").outputs[pair].temperature
        assert np.array_equal(mine.raw_confidence, kept.samples("choice").outputs[pair].raw_confidence)
    assert found.values() == kept.values()


def test_the_order_of_blocks_does_not_show(digits, kept, tmp_path):
    """Other blocks, the same answers but for rounding."""
    trainer, data = digits
    other = _trainer(trainer.backbone, get_head_recipe("frozen"))
    for mine, theirs in zip(other.trainees, trainer.trainees, strict=True):
        mine.module.load_state_dict(theirs.module.state_dict())
    write_answers(other, data, tmp_path)
    found = document(other, data, tmp_path, exits=PAIRS)
    assert found.values() == kept.values()
    assert [h.calibration.temperature for h in found.heads] == pytest.approx(
        [h.calibration.temperature for h in kept.heads], rel=1e-3
    )


def test_heads_that_answer_later_join(digits, kept, tmp_path):
    trainer, data = digits
    write_answers(trainer, data, tmp_path, keys=[*KEYS[:2], FINAL])
    assert {(o.placement, o.head) for o in document(trainer, data, tmp_path).heads} == set(PAIRS[:2])
    write_answers(trainer, data, tmp_path, keys=KEYS[2:])
    assert document(trainer, data, tmp_path).values() == kept.values()
    # Killed between the two files of a head, it has not answered.
    (tmp_path / "answers" / "report" / "4__linear.safetensors").rename(tmp_path / "aside")
    assert (4, "linear") not in document(trainer, data, tmp_path).values()
    (tmp_path / "aside").rename(tmp_path / "answers" / "report" / "4__linear.safetensors")
    for split in HELD_OUT:
        for file in (kept.folder / "answers" / split).iterdir():
            assert file.read_bytes() == (tmp_path / "answers" / split / file.name).read_bytes()
    drop_answers(tmp_path)
    assert list(tmp_path.iterdir()) == []


class _Poisoned(nn.Module):
    def forward(self, x):
        return torch.full((len(x), 10), float("inf"))


def test_a_head_that_is_not_finite_is_dropped_and_the_others_are_untouched(digits, kept, tmp_path):
    trainer, data = digits
    other = _trainer(trainer.backbone)
    for mine, theirs in zip(other.trainees, trainer.trainees, strict=True):
        mine.module.load_state_dict(theirs.module.state_dict())
    poisoned = next(trainee for trainee in other.trainees if trainee.key == "4/linear")
    poisoned.run = lambda state, side: _Poisoned()(state[0])
    found = scored(other, data, samples=tmp_path)
    assert [str(head) for head in found.dropped] == [
        "linear at placement 4 was dropped: it answers the choice split with numbers that are not finite"
    ]
    assert found.values() == {pair: value for pair, value in kept.values().items() if pair != (4, "linear")}
    assert not list(tmp_path.rglob("*4__linear*"))
    assert Outcomes.read(found.write(tmp_path / DOCUMENT_NAME)) == found
    with pytest.raises(ExitSearchError, match="linear at placement 4 answers with numbers that are not finite"):
        scored(other, data)


def test_a_head_whose_report_is_not_finite_leaves_no_answers_at_all(digits, tmp_path):
    trainer, data = digits
    other, calls = _trainer(trainer.backbone), []
    sick = other.trainees[0]
    healthy = sick.run

    def run(state, side):
        calls.append(len(state[0]))
        outputs = healthy(state, side)
        return outputs if sum(calls) <= 60 else outputs * float("nan")

    sick.run = run
    (lost,) = write_answers(other, data, tmp_path)
    assert (lost.placement, lost.head) == PAIRS[0]
    assert "report split" in lost.reason
    assert not list(tmp_path.rglob("*1__linear*"))


def test_a_final_exit_that_is_not_finite_ends_it(tmp_path):
    backbone = small_backbone()
    with torch.no_grad():
        backbone.module.head.weight.fill_(float("nan"))
    backbone.final_is_trained = True
    with pytest.raises(ExitSearchError, match="the final exit answers with numbers that are not finite"):
        write_answers(_trainer(backbone), small_digits(backbone), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "labels.safetensors"]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interruption_leaves_no_half_answers(digits, tmp_path, after):
    """After some blocks of the fitted samples, and of the report split: nothing but labels; then all of it."""
    trainer, data = digits
    calls = itertools.count(1)

    def stop(share, words):
        if next(calls) == after * 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_answers(trainer, data, tmp_path, progress=stop)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"labels.safetensors"}


def test_what_a_killed_run_left_is_removed(digits, kept, tmp_path):
    trainer, data = digits
    (tmp_path / "answers" / ".fitting-x").mkdir(parents=True)
    (tmp_path / "answers" / ".fitting-x" / "3").write_text("")
    write_answers(trainer, data, tmp_path)
    (tmp_path / "answers" / "choice" / ".1__linear.safetensors.12.partial").write_text("half")
    assert document(trainer, data, tmp_path).values() == kept.values()
    assert not list((tmp_path / "answers").rglob(".*"))


def test_a_full_disk_is_named_and_leaves_no_half_answers(digits, tmp_path, monkeypatch):
    trainer, data = digits

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(ExitSearchError, match=r"answers/choice/.*: cannot be written: No space left on device"):
        write_answers(trainer, data, tmp_path)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"labels.safetensors"}


def test_progress_ends_at_1(digits, tmp_path):
    trainer, data = digits
    shares = []
    write_answers(trainer, data, tmp_path, progress=lambda share, words: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_regression_keeps_its_answers(tmp_path):
    backbone = small_backbone(task="regression")
    data = small_digits(backbone)
    trainer = _trainer(backbone)
    outcomes = scored(trainer, data, samples=tmp_path, keep_logits=True)
    outcomes.write(tmp_path / DOCUMENT_NAME)
    found = Outcomes.load(tmp_path)
    assert found.values() == scored(trainer, data).values()
    assert found.final.calibration is None
    outputs = _outputs(trainer, data.report)
    samples = found.samples("report")
    assert np.array_equal(samples.final, outputs[FINAL])
    for key, pair in zip(KEYS, PAIRS, strict=True):
        assert np.array_equal(samples.outputs[pair], outputs[key])
    found.check_samples()
    frame = found.samples_frame("report")
    assert list(frame) == ["placement", "head", "sample", "label", "prediction"]
    error = (frame["prediction"] - frame["label"]).abs().groupby([frame["placement"], frame["head"]], observed=True)
    assert error.mean().to_dict() == pytest.approx({pair: -value for pair, value in found.values("report").items()})


def test_losses_are_those_of_whole_outputs(digits):
    trainer, data = digits
    outputs = _outputs(trainer, data.choice)
    for key, loss in trainer.losses(data.choice).items():
        whole = nn.functional.cross_entropy(torch.from_numpy(outputs[key]), data.choice.labels)
        assert loss == pytest.approx(float(whole), rel=1e-6)


def test_the_backbone_stops_where_the_last_head_reads(digits, monkeypatch):
    trainer, data = digits
    run, seen = [], trainer.backbone.segments
    for number, segment in enumerate(seen):
        monkeypatch.setattr(segment, "forward", lambda state, n=number, f=segment.forward: (run.append(n), f(state))[1])
    list(trainer.stream_answers(data.choice, keys=["1/linear"], rows=range(4)))
    assert run == [0, 1]


def test_files_of_other_names_are_not_answers():
    assert module.answers_file(Path("a"), "3/gah(stride=2)") == Path("a/3__gah(stride=2).safetensors")
    assert module.answers_file(Path("a"), FINAL) == Path("a/final.safetensors")

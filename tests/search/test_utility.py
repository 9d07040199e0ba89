"""Class weights and worth functions: by hand, through the whole search, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import made_answers
from toy_documents import toy_outcomes, toy_profile

from exitsearch.cli.main import main
from exitsearch.errors import InputError
from exitsearch.search.held_out import mean_interval
from exitsearch.search.run import search
from exitsearch.search.thresholds.optimise import optimise
from exitsearch.search.thresholds.oracle import oracle_bound
from exitsearch.search.thresholds.replay import Replay
from exitsearch.search.thresholds.scores import Answers
from exitsearch.search.utility import Utility, load_class_weights, load_utility
from exitsearch.search.valuation import Valuation
from exitsearch.specs.outcomes import Outcomes

FUNCTION = """import numpy as np
def value(outputs, labels):
    return np.where(outputs.argmax(axis=1) == labels, 1.0, -0.5)
def rounds(outputs, labels):
    return np.ones((len(labels), 2))
def nothing(outputs, labels):
    return np.full(len(labels), np.nan)
def fails(outputs, labels):
    raise KeyError("colour")
NUMBER = 7
"""


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTION)
    return path


def weights(tmp_path: Path, text: str = "label,weight\n0,3\n1,1\n") -> Path:
    path = tmp_path / "weights.csv"
    path.write_text(text)
    return path


def test_class_weights_by_hand(outcomes: Outcomes, tmp_path: Path) -> None:
    """Labels 0, 1, 0, 1, ...; the first n answers are right. Weight 3 for label 0: 20 for all ten samples.

    Six right: 3 * 3 + 3 * 1 = 12 of 20; seven 15; eight 16; nine 19.
    """
    found = Valuation(outcomes, load_class_weights(weights(tmp_path)))
    assert found.values("choice") == pytest.approx({(0, "a"): 0.6, (0, "b(k=2)"): 0.75, (1, "a"): 0.8})
    assert found.final_value("choice") == pytest.approx(0.95)
    assert found.final_value("report") == pytest.approx(0.8)
    assert (found.document.identity, found.fallback) == (outcomes.identity, 0.0)
    samples = outcomes.samples("choice")
    assert samples is not None
    each = found.each_value(samples.outputs[0, "b(k=2)"], samples.labels)
    assert each.tolist() == pytest.approx([1.5, 0.5, 1.5, 0.5, 1.5, 0.5, 1.5, 0, 0, 0])


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
def test_unequal_weights_where_all_is_right_leave_nothing_open(
    outcomes: Outcomes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Every answer right and every budget ample: the weighted accuracy is 1 in every draw, whatever was drawn."""
    samples = outcomes.samples("report")
    assert samples is not None
    right = np.eye(2, dtype=np.float32)[samples.labels]
    perfect = replace(samples, final=right, outputs=dict.fromkeys(samples.outputs, right))
    monkeypatch.setattr(Outcomes, "samples", lambda _self, _split: perfect)
    skewed = load_class_weights(weights(tmp_path))
    found = search(toy_profile(), outcomes, budget="point:50", policy=policy, utility=skewed, trials=0)  # type: ignore[arg-type]
    assert found.held_out == pytest.approx(1)
    assert found.interval == pytest.approx((1, 1))


def test_the_interval_of_class_weights_covers_as_stated() -> None:
    """One in ten samples of weight 9, right in 0.5 of the cases, others in 0.9: 0.7 in truth; 95% stated, +-3 here."""
    rng = np.random.default_rng(5)
    ends = []
    for seed in range(400):
        rare = rng.random(400) < 0.1
        each = np.where(rare, 9.0, 1.0)
        right = rng.random(400) < np.where(rare, 0.5, 0.9)
        each /= each.mean()
        ends.append(mean_interval(right * each, weights=each, seed=seed, resamples=500))
    low, high = np.array(ends).T
    assert np.mean((low <= 0.7) & (high >= 0.7)) == pytest.approx(0.95, abs=0.03)
    assert high.max() <= 1


def test_no_answer_is_worth_0_unless_said(outcomes: Outcomes) -> None:
    """The outcomes of a regression know an error instead, which is no worth."""
    other = outcomes.model_copy(update={"metric": "mae", "fallback": 8.3})
    worth = Utility("near", lambda outputs, labels: np.ones(len(labels)))
    assert Valuation(other, worth).fallback == 0.0
    assert Valuation(other, worth, fallback=0.2).fallback == 0.2


def test_no_operating_point_beats_having_no_answer(outcomes: Outcomes, file: Path) -> None:
    """Every answer costs at least 1: without an answer nothing is lost."""
    worth = Utility("costly", lambda outputs, labels: np.full(len(labels), -1.0))
    options = {"budget": "uniform:0,20", "policy": "confidence", "trials": 0}
    found = search(toy_profile(), outcomes, utility=worth, **options)  # type: ignore[arg-type]
    assert (found.value, found.no_answer) == (0.0, 1.0)
    assert found.config.confidence is not None
    assert found.config.confidence.points == []
    forced = search(toy_profile(), outcomes, utility=worth, force=["0:a"], **options)  # type: ignore[arg-type]
    assert [row.chance for row in forced.rows] == [0.0, 0.0]


def test_equal_weights_are_the_accuracy(outcomes: Outcomes, tmp_path: Path) -> None:
    even = load_class_weights(weights(tmp_path, "label,weight\n0,7\n1,7\n2,0\n"))
    options = {"budget": "uniform:0,20", "trials": 0}
    for policy in ("interruptible", "contract", "confidence"):
        plain = search(toy_profile(), outcomes, policy=policy, **options)  # type: ignore[arg-type]
        mine = search(toy_profile(), outcomes, policy=policy, utility=even, **options)  # type: ignore[arg-type]
        assert mine.config.exits == plain.config.exits
        assert (mine.value, mine.held_out) == (pytest.approx(plain.value), pytest.approx(plain.held_out))
        assert mine.interval == pytest.approx(plain.interval)


@pytest.mark.parametrize("policy", ["interruptible", "contract", "confidence"])
def test_a_function_by_hand(outcomes: Outcomes, file: Path, policy: str) -> None:
    """Wrong costs 0.5, so a share p of right answers is worth 1.5 p - 0.5: a0 0.4, b0 0.55, a1 0.7, final 0.85.

    G(t) = 1 - t / 20. Interruptible: {a0, a1} 0.4 * 0.85 + 0.3 * 0.65 + 0.15 * 0.5 = 0.61; {b0, a1} 0.55 * 0.8 +
    0.15 * 0.6 + 0.15 * 0.45 = 0.5975; {a0} 0.34 + 0.45 * 0.55 = 0.5875. On the report split: chances 0.2, 0.15, 0.5
    of 0.25, 0.4 and 0.7: 0.46. Contract and confidence (every toy answer is equally sure): a0, a1 and final at 3, 6 and
    8 ms: 0.34 + 0.3 * 0.7 + 0.15 * 0.6 = 0.64; on the report split 0.15 * 0.25 + 0.1 * 0.4 + 0.6 * 0.7 = 0.4975.
    """
    worth = load_utility(f"{file}:value")
    options = {"budget": "uniform:0,20", "policy": policy, "trials": 4, "worth": worth}
    result = search(toy_profile(), outcomes, **options)  # type: ignore[arg-type]
    assert [(e.placement, e.head) for e in result.config.exits] == [(0, "a"), (1, "a")]
    assert result.value == pytest.approx(0.61 if policy == "interruptible" else 0.64)
    assert result.held_out == pytest.approx(0.46 if policy == "interruptible" else 0.4975)
    assert result.interval is not None
    assert result.interval[0] < result.held_out < result.interval[1]
    assert [row.choice_score for row in result.rows] == pytest.approx([0.4, 0.7, 0.85])
    assert [row.report_score for row in result.rows] == pytest.approx([0.25, 0.4, 0.7])
    assert (result.config.expected.worth, result.config.expected.metric) == ("mine.py:value", "accuracy")
    # The document keeps the accuracies, which training is compared with.
    assert result.config.exit_scores["choice"] == [0.6, 0.8, 0.9]
    assert result.config.outcomes["identity"] == outcomes.identity
    assert result.config.optimum.value >= result.value - 1e-12


def test_the_fallback_is_a_utility(outcomes: Outcomes, file: Path) -> None:
    """No answer is worth 0.5, more than a0 (0.4): b0 is then first worth its time."""
    worth = load_utility(f"{file}:value")
    result = search(toy_profile(), outcomes, budget="uniform:0,20", utility=worth, fallback=-2.5, trials=0)
    assert result.config.fallback == -2.5
    higher = search(toy_profile(), outcomes, budget="uniform:0,20", utility=worth, fallback=0.5, trials=0)
    assert (0, "a") not in [(e.placement, str(e.choice)) for e in higher.config.exits]


def test_a_regression_may_have_a_function(outcomes: Outcomes, tmp_path: Path) -> None:
    """An error below 0.5 is worth 1, any other 0: outputs are 0 or 1 in their first column, labels too."""
    other = outcomes.model_copy(update={"metric": "mae", "fallback": 1.0})

    def within(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.abs(outputs[:, 0] - labels) < 0.5

    found = Valuation(other, Utility("near enough", within, fallback=0.0))
    samples = outcomes.samples("choice")
    assert samples is not None
    assert found.final_value("choice") == np.mean(np.abs(samples.final[:, 0] - samples.labels) < 0.5)
    assert not found.holds_classes
    with pytest.raises(InputError, match="classes, the outcomes hold mae"):
        Valuation(other, load_class_weights(weights(tmp_path)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rounds", r"must return one finite number for each of 10 samples, found an array of shape \[10, 2\]"),
        ("nothing", "must return one finite number for each of 10 samples, found nan for sample 0"),
        ("fails", "failed: KeyError"),
    ],
)
def test_a_function_that_does_not_keep_to_its_rule(outcomes: Outcomes, file: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=f"mine.py:{name} ({words})"):
        Valuation(outcomes, load_utility(f"{file}:{name}"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mine.py", "FILE.py:FUNCTION"),
        ("none.py:value", "no such file"),
        ("mine.py:colour", "holds no function 'colour'"),
        ("mine.py:NUMBER", "holds no function 'NUMBER'"),
        ("weights.csv:value", "Python file"),
        ("broken.py:value", "cannot be run: ZeroDivisionError"),
    ],
)
def test_a_function_that_cannot_be_had(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    weights(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match=message):
        load_utility(source)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\n0\n", "the column weight is missing"),
        ("label,weight\ncat,1\n", "row 2: label must be a whole number"),
        ("label,weight\n0,-1\n", "row 2: weight must be at least 0"),
        ("label,weight\n0,1\n0,2\n", "row 3: label 0 stands there twice"),
        ("label,weight\n0,0\n", "some weight must be above 0"),
        ("label,weight\n0,1\n", "label 1 occurs among the samples and has no weight"),
    ],
)
def test_wrong_weights(outcomes: Outcomes, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Valuation(outcomes, load_class_weights(weights(tmp_path, text)))


def test_the_command_line(
    outcomes: Outcomes, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values by hand above and in test_run.py; equal weights change nothing."""
    monkeypatch.chdir(tmp_path)
    weights(tmp_path, "label,weight\n0,1\n1,1\n")
    toy_profile().write(tmp_path / "profile.json")
    argv = ["search", "--profile", "profile.json", "--outcomes", "outcomes", "--budget-dist", "uniform:0,20"]
    argv += ["--trials", "4", "--no-guard", "--json"]

    def value(*options: str) -> float:
        assert main([*argv, *options]) == 0
        found: dict[str, float] = json.loads(capsys.readouterr().out)
        return found["value"]

    assert value("--worth", "mine.py:value") == pytest.approx(0.61)
    assert value("--worth", "mine.py:value", "--policy", "contract") == pytest.approx(0.64)
    assert value("--class-weights", "weights.csv") == pytest.approx(0.69)
    assert value("--class-weights", "weights.csv", "--policy", "confidence", "--quantile", "95%") == pytest.approx(0.71)
    report = (tmp_path / "exitsearch-out" / "report.html").read_text()
    assert "class weights weights.csv" in report
    assert "0.95 quantile of the latency" in report


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_for_a_utility(seed: int) -> None:
    """Right answers worth 0.2 to 2 a sample: the optimiser's points are true ones, and the bound holds."""
    problem, answers = made_answers(3, 400, seed=seed)
    each = np.random.default_rng(seed).uniform(0.2, 2.0, 400)
    worth = Answers("softmax", answers.scores, answers.right * each, answers.predicted, answers.temperatures)
    replay = Replay(problem, worth, (0, 1, 2))
    found = optimise(replay, prices=6)
    assert len(found.costs_ms) > 3
    for cost, value, thresholds in zip(found.costs_ms, found.values, found.thresholds, strict=True):
        assert replay.point(thresholds) == (pytest.approx(cost), pytest.approx(value))
        left = replay.leaves(thresholds)
        assert value == pytest.approx(float((worth.right[left, np.arange(400)]).mean()))
    bound = oracle_bound(problem, worth)
    assert found.value(problem) <= bound <= each.mean() + 1e-9
    # For right and wrong the two ways to make the bound are close.
    as_numbers = Answers("softmax", answers.scores, answers.right * 1.0, answers.predicted, answers.temperatures)
    assert oracle_bound(problem, as_numbers) == pytest.approx(oracle_bound(problem, answers), abs=0.01)
    assert oracle_bound(problem, as_numbers) >= optimise(Replay(problem, answers, (0, 1, 2))).value(problem)


def test_former_names_still_work(outcomes: Outcomes) -> None:
    from exitsearch.search.worth import Worth

    cautious = Worth("cautious", lambda outputs, labels: (outputs.argmax(axis=1) == labels) * 2.0 - 1.0)
    options = {"budget": "uniform:0,20", "trials": 0}
    mine = search(toy_profile(), outcomes, utility=cautious, **options)  # type: ignore[arg-type]
    with pytest.warns(DeprecationWarning, match="the keyword worth is called utility now"):
        theirs = search(toy_profile(), outcomes, worth=cautious, **options)  # type: ignore[arg-type]
    assert theirs.value == mine.value

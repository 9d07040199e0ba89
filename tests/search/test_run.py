from __future__ import annotations

from pathlib import Path

import pytest
from toy_documents import toy_outcomes, toy_profile

import exitsearch.search
from exitsearch.errors import InputError
from exitsearch.search.run import search
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.published import published_costs, published_outcomes
from exitsearch.specs.question.space import SearchSpace


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return toy_outcomes(tmp_path / "outcomes")


def test_the_choice_by_hand(outcomes: Outcomes, tmp_path: Path) -> None:
    """G(t) = 1 - t / 20; t = 2 and 5 ms, a takes 1 ms, b 2 ms, final at 8 ms.

    none: 0.9 * 0.6 = 0.54. {a0}: 0.6 * 0.85 + 0.3 * 0.55 = 0.675. {b0}: 0.7 * 0.8 + 0.2 * 0.5 = 0.66.
    {a1}: 0.8 * 0.7 + 0.1 * 0.55 = 0.615. {a0, a1}: 0.51 + 0.2 * 0.65 + 0.1 * 0.5 = 0.69.
    {b0, a1}: 0.56 + 0.1 * 0.6 + 0.1 * 0.45 = 0.665. So a at both. Known beforehand, a0, a1 and final would answer at
    3, 6 and 8 ms: 0.51 + 0.2 * 0.7 + 0.1 * 0.6 = 0.71; b0 and a1 at 4 and 6: 0.56 + 0.07 + 0.06 = 0.69.
    On the report split: chances 0.2, 0.15, 0.5 of 0.5, 0.6, 0.8 = 0.1 + 0.09 + 0.4 = 0.59.
    """
    result = search(toy_profile(), outcomes, budget="uniform:0,20", trials=10)
    assert [(row.placement, row.head, row.module) for row in result.rows] == [
        (0, "a", "blocks.0"),
        (1, "a", "blocks.1"),
        (None, None, None),
    ]
    assert [row.arrives_ms for row in result.rows] == [3.0, 7.0, 10.0]
    assert [row.chance for row in result.rows] == pytest.approx([0.2, 0.15, 0.5])
    assert [row.choice_score for row in result.rows] == [0.6, 0.8, 0.9]
    assert [row.report_score for row in result.rows] == [0.5, 0.6, 0.8]
    assert result.no_answer == pytest.approx(0.15)
    assert result.value == result.value_medians == pytest.approx(0.69)
    assert result.contract_value == result.contract_optimum == pytest.approx(0.71)
    assert result.price_of_not_knowing == pytest.approx(0.02)
    assert result.regret == 0.0
    assert result.held_out == pytest.approx(0.59)
    assert result.optimism == pytest.approx(0.1)
    assert result.interval is not None
    assert result.interval[0] < 0.59 < result.interval[1]
    assert result.notes == []
    alone = result.baselines[0]
    assert (alone.name, alone.exits, alone.held_out) == ("backbone alone", (), pytest.approx(0.48))
    assert alone.value == pytest.approx(0.54)


def test_the_config_holds_everything_and_reads_back(outcomes: Outcomes, tmp_path: Path) -> None:
    profile = toy_profile(slowdown=(1.0, 1.2))
    result = search(profile, outcomes, budget="uniform:10%,200%", heads=["b(k=2)"], trials=0)
    config = result.config
    assert MultiExitConfig.read(config.write(tmp_path / "chosen.json")) == config
    (chosen,) = config.exits
    assert (chosen.placement, chosen.module, chosen.head, chosen.options) == (0, "blocks.0", "b", {"k": 2})
    assert config.budget == "uniform:0.8,16"
    assert config.latency_ms == [4.0, 10.0]
    assert config.exit_scores == {"choice": [0.7, 0.9], "report": [0.7, 0.8]}
    assert (config.expected.value, config.expected.split) == (result.value, "choice")
    assert config.expected.held_out == result.held_out
    assert result.value < result.value_medians  # the slow-downs are 1 and more
    assert config.optimum.exact
    assert config.optimum.regret == 0.0
    assert config.backbone.name == "toy"
    assert config.profile == {"identity": profile.identity, "condition": profile.condition()}
    assert config.outcomes == {"identity": outcomes.identity, "source": "toy samples"}
    assert (config.fallback, config.price_of_not_knowing) == (0.0, result.price_of_not_knowing)
    assert result.study is None
    assert result.optuna_regret is None


def test_a_space_bounds_the_choice(outcomes: Outcomes) -> None:
    def chosen(space: dict[str, object], **options: object) -> list[tuple[int, str]]:
        document = SearchSpace.model_validate({"schema_version": 1, **space})
        result = search(toy_profile(), outcomes, budget="uniform:0,20", space=document, trials=0, **options)
        return [(e.placement, str(e.choice)) for e in result.config.exits]

    assert chosen({}) == [(0, "a"), (1, "a")]
    assert chosen({"placements": "1"}) == [(1, "a")]
    assert chosen({"heads": [{"type": "a", "placements": "1"}, {"type": "b", "options": {"k": 2}}]}) == [
        (0, "b(k=2)"),
        (1, "a"),
    ]
    assert chosen({"limits": {"max_exits": 1}}) == [(0, "a")]
    assert chosen({"limits": {"max_exits": 2}}, max_exits=0) == []
    # Every limit of a space holds beside those given here. Parameters: a 10, b 20; b0 alone keeps 0.7 within 4 ms.
    assert chosen({"limits": {"max_extra_params": 10}}) == [(0, "a")]
    assert chosen({"limits": {"max_extra_params": 20}}, max_params=10) == [(0, "a")]
    assert chosen({"limits": {"min_value_at": ["4ms=0.7"]}}) == [(0, "b(k=2)"), (1, "a")]
    assert chosen({"limits": {"min_value_at": ["50%=0.7"], "max_exits": 1}}) == [(0, "b(k=2)")]
    assert chosen({"limits": {"force": ["0:b(k=2)"]}}, forbid=["1"]) == [(0, "b(k=2)")]
    assert chosen({"limits": {"forbid": ["1"]}}, forbid=["0:a"]) == [(0, "b(k=2)")]
    with pytest.raises(InputError, match="does not know the bytes"):
        chosen({"limits": {"max_memory": "1MiB"}})
    with pytest.raises(InputError, match="profile --energy"):
        chosen({"limits": {"max_energy": "9mJ"}})
    with pytest.raises(InputError, match="max_extra_params should be greater than or equal to 0, found -1"):
        chosen({}, max_params=-1)
    with pytest.raises(InputError, match="no exit head is left"):
        chosen({"placements": "1"}, placements="0")


def test_a_wrong_metric_is_refused(outcomes: Outcomes) -> None:
    with pytest.raises(InputError, match="hold accuracy, asked was for mae"):
        search(toy_profile(), outcomes, budget="point:5", metric="mae")


@pytest.mark.parametrize("table", ["mevit-cifar10", "mevit-cifar100"])
@pytest.mark.parametrize("policy", ["interruptible", "contract"])
def test_published_tables(table: str, policy: str) -> None:
    """Proved best, never below a baseline, and for CIFAR-100 the value of an independent solver."""
    result = search(
        published_costs("mevit-gmacs"), published_outcomes(table), budget="uniform:10,80", policy=policy, trials=20
    )
    assert result.config.optimum.exact
    assert result.regret == 0.0
    assert all(result.value >= baseline.value for baseline in result.baselines)
    assert result.value <= result.contract_optimum + 1e-12
    assert (result.held_out, result.interval, result.optimism) == (None, None, None)
    assert result.study is not None
    assert result.study.value == pytest.approx(result.value)
    if (table, policy) == ("mevit-cifar100", "interruptible"):
        assert result.value == pytest.approx(0.7912, abs=5e-5)
        assert len(result.choice) == 8
        assert len({head for _, head in ((row.placement, row.head) for row in result.rows[:-1])}) == 2


def test_the_package_can_be_called(outcomes: Outcomes) -> None:
    result = exitsearch.search(toy_profile(), outcomes, budget="uniform:0,20", trials=0)
    assert result.value == pytest.approx(0.69)
    assert exitsearch.search.search is search

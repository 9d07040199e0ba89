from __future__ import annotations

import pytest

from exitsearch.errors import InputError
from exitsearch.search.run import search
from exitsearch.specs.published import PUBLISHED_COSTS, PUBLISHED_OUTCOMES, published_costs, published_outcomes

# mlp_ee: 768 * 256 + 256 * 256 + 256 * 10 = 196608 + 65536 + 2560 = 264704 multiply-accumulates.
MLP_MS = 0.000264704


@pytest.mark.parametrize(
    ("name", "classes", "final", "first"),
    [
        ("mevit-cifar10", 10, 0.9831, 0.2619),
        ("mevit-cifar100", 100, 0.9124, 0.0707),
    ],
)
def test_outcomes_hold_the_tables_numbers(name: str, classes: int, final: float, first: float) -> None:
    outcomes = published_outcomes(name)
    assert len(outcomes.heads) == 77
    assert outcomes.final_value() == final
    assert outcomes.values()[0, "mlp_ee"] == first
    assert outcomes.backbone.name == "vit_base_patch16_384"
    assert outcomes.backbone.num_outputs == classes
    assert "2106.15183" in outcomes.source
    assert outcomes.report_split is None


def test_costs_give_the_published_totals_back() -> None:
    profile = published_costs("mevit-gmacs")
    assert profile.verdict.status == "given"
    assert profile.full_ms == pytest.approx(55.73, abs=1e-7)
    for placement, head, total in [(0, "mlp_ee", 4.958), (5, "resmlp_ee", 31.018), (10, "vit_ee", 55.728)]:
        assert profile.path_ms([(placement, head)])[0] == pytest.approx(total, abs=1e-7)
    assert profile.head_ms(3, "mlp_ee") == pytest.approx(MLP_MS, abs=1e-9)
    assert profile.head(3, "mlp_ee").macs == 264704
    # One block after another: 9.573 - 4.958.
    assert profile.segments[1].latency_ms == pytest.approx(4.615, abs=1e-7)
    # 55.730 - 51.113 and the small head's part of the 51.113.
    assert profile.final.latency_ms == pytest.approx(4.617 + MLP_MS, abs=1e-7)


@pytest.mark.parametrize("name", PUBLISHED_OUTCOMES)
def test_both_documents_are_of_one_backbone(name: str) -> None:
    facts = published_costs(PUBLISHED_COSTS[0]).backbone
    assert facts.check_same(published_outcomes(name).backbone, mine="a", others="b") == []


def test_costs_hold_the_parameters_of_every_head() -> None:
    """Of mlp_ee with 100 outputs: norm 1,536; tail 769 * 256 + 257 * 256 + 257 * 100 = 288,356; together 289,892."""
    profile = published_costs("mevit-gmacs")
    assert {cost.params for cost in profile.heads if cost.head == "mlp_ee"} == {289_892}
    assert profile.head(10, "vit_ee").params == 7_377_764
    assert all(cost.params for cost in profile.heads)


@pytest.mark.parametrize("most", [3_000_000, 30_000_000])
def test_published_tables_can_be_searched_under_a_limit_on_parameters(most: int) -> None:
    """Three million are less than one resmlp_ee, so only convolutions are left; 30 million are five of them."""
    result = search(
        published_costs("mevit-gmacs"),
        published_outcomes("mevit-cifar100"),
        budget="uniform:10,80",
        max_extra_params=most,
        trials=0,
    )
    assert result.config.optimum.exact
    assert 0 < result.problem.params(result.choice) <= most
    heads = {result.problem.candidates[position].head for position in result.choice}
    assert ("resmlp_ee" in heads) == (most > 5_348_902)


def test_a_table_given_to_the_wrong_option_is_said_to_be_of_the_other() -> None:
    with pytest.raises(InputError) as error:
        published_costs("mevit-cifar100")
    assert str(error.value) == (
        "published:mevit-cifar100 holds no costs; give it to --outcomes. For costs there is published:mevit-gmacs"
    )
    with pytest.raises(InputError, match="mevit-gmacs holds no outcomes; give it to --profile"):
        published_outcomes("mevit-gmacs")


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match="mevit-cifar100"):
        published_outcomes("mevit-cifar")
    with pytest.raises(InputError, match="mevit-gmacs"):
        published_costs("gmacs")

"""Searching over settings, with costs and values by rule."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from settings_provider import OTHERWISE, FakeProvider

from exitsearch.errors import ExitSearchError, FileError, InputError
from exitsearch.report.terminal.settings import lines
from exitsearch.search import settings as settings_module
from exitsearch.search.run import search, search_request
from exitsearch.search.settings import search_settings
from exitsearch.search.study.settings import SettingsSampler
from exitsearch.search.study.storage import open_study
from exitsearch.specs.question.knobs import Knobs
from exitsearch.specs.question.limits import Limits
from exitsearch.specs.question.request import SearchRequest

HERE = Path(__file__).parent
FOUR_HEADS = {"heads": {"b": {"k": [1, 2, 3, 4]}}}
EIGHT = Knobs.model_validate({"runtime": ["eager", "compile"], **FOUR_HEADS})


def run(knobs: Knobs, provider: FakeProvider | None = None, **options):
    """Options of the search over settings, and of the request."""
    asked = {name: options.pop(name) for name in ("budget", "policy", "limits", "metric") if name in options}
    request = SearchRequest.asked(**{"budget": "uniform:0,10", **asked})
    options = {"otherwise": OTHERWISE, "trials": 100, **options}
    return search_settings(knobs, provider or FakeProvider(knobs), request, **options)


def test_every_setting_is_tried_and_the_whole_is_proved():
    provider = FakeProvider(EIGHT)
    found = run(EIGHT, provider)
    assert (found.settings, found.count("tried"), found.proved) == (8, 8, True)
    assert [row.setting for row in found.rows] == EIGHT.settings(OTHERWISE)
    for row in found.rows:
        alone = search(
            provider.profile(row.setting),
            provider.outcomes([row.setting]),
            budget="uniform:0,10",
            candidates=provider.candidates([row.setting]),
            trials=0,
        )
        assert row.value == alone.value
        assert row.full_ms == (8 if row.setting.runtime == "eager" else 4)
    assert found.setting.runtime == "compile"
    assert provider.looked == []  # what will be tried to the end anyhow is not looked at early


def test_heads_of_several_settings_are_mixed():
    """By hand, compile, budgets uniform from 0 to 10, G(t) = 1 - t / 10: k=2 at placement 0 answers at 1.5 ms, k=1 at
    placement 1 at 3.5 ms, the end at 5 ms: 0.6 * 0.85 + 0.1 * 0.65 + 0.2 * 0.5 = 0.675. Without the second one the end
    comes at 4.5 ms: 0.6 * 0.85 + 0.3 * 0.55 = 0.675 as well, with fewer exits; k=1 alone 0.5 * 0.85 + 0.4 * 0.55 =
    0.645, with both exits 0.5 * 0.85 + 0.2 * 0.65 + 0.2 * 0.5 = 0.655."""
    found = run(EIGHT)
    assert found.result.value == pytest.approx(0.675)
    assert [(e.placement, str(e.choice)) for e in found.result.config.exits] == [(0, "b(k=2)")]
    # Budgets that never strike before 3 ms reward the first exit less: now both heads are worth having.
    knobs = Knobs.model_validate(FOUR_HEADS)
    found = run(knobs, budget="discrete:3.5@0.4,7.5@0.6")
    assert [(e.placement, str(e.choice)) for e in found.result.config.exits] == [(0, "b(k=2)"), (1, "b(k=1)")]
    assert found.result.value == pytest.approx(0.6 * 0.4 + 0.7 * 0.6)
    best = max(row.value for row in found.rows)
    assert best == pytest.approx(0.6 * 0.4 + 0.65 * 0.6)
    assert found.gained == pytest.approx(0.03)
    assert found.proved


def test_the_configuration_says_its_setting():
    config = run(EIGHT).result.config
    assert config.setting.model_dump() == {
        **OTHERWISE.model_dump(),
        "runtime": "compile",
        "settings": 8,
        "tried": 8,
        "proved": True,
    }
    assert type(config).parse(config.model_dump(mode="json"), "chosen.json") == config


def test_fewer_trials_than_settings_prove_no_more_than_was_tried():
    knobs = Knobs.model_validate({"runtime": ["eager", "compile"], "threads": [1, 2, 3, 4, 5, 6, 7, 8]})
    found = run(knobs, trials=12)
    assert len({str(row.setting) for row in found.rows}) == len(found.rows) == 12
    assert (found.settings, found.count("tried"), found.proved) == (16, 12, False)
    assert not found.result.config.setting.proved
    assert found.rows[0].setting == knobs.settings(OTHERWISE)[0]
    assert found.setting.runtime == "compile"


@pytest.mark.parametrize("order", [["eager", "onnxruntime", "compile"], ["onnxruntime", "eager", "compile"]])
def test_what_does_not_exist_is_noted_and_not_the_end(order):
    knobs = Knobs.model_validate({"runtime": order})
    provider = FakeProvider(knobs, impossible=lambda setting: setting.runtime == "onnxruntime")
    found = run(knobs, provider)
    states = {"eager": "tried", "onnxruntime": "impossible", "compile": "tried"}
    assert [row.state for row in found.rows] == [states[runtime] for runtime in order]
    assert found.proved
    assert found.result.config.setting.tried == 3
    note = "fp32, onnxruntime, 1 thread, batches of 1: there is no onnxruntime here"
    assert note in found.result.notes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no setting is possible; fp32, eager, 1 thread, batches of 1: there is no eager here"),
        ({"budget": "uniform:10%,100%"}, "shares of the latency under the first setting"),
        ({"trials": 0}, "--trials is at least 1, found 0"),
        ({"policy": "confidence"}, "knobs need exact optima"),
        ({"storage": "study.db"}, "FILE.journal or a URL"),
    ],
)
def test_refusals(options, words):
    knobs = Knobs.model_validate({"runtime": ["eager", "compile"]})
    with pytest.raises(InputError) as error:
        run(knobs, FakeProvider(knobs, impossible=lambda setting: True), **options)
    assert words in str(error.value)


def test_limits_that_exclude_everything_make_every_setting_impossible():
    with pytest.raises(InputError, match=r"no setting is possible; .*no choice of exits keeps to all limits"):
        run(EIGHT, limits=Limits(min_value_at=["1ms=0.9"]))


def test_a_stored_study_goes_on_where_it_stopped(tmp_path):
    storage = str(tmp_path / "one.journal")
    first = FakeProvider(EIGHT)
    rows = []
    half = run(EIGHT, first, trials=8, storage=storage, on_tried=rows.append)
    assert [row.setting for row in rows] == [row.setting for row in half.rows]
    again = FakeProvider(EIGHT)
    whole = run(EIGHT, again, trials=8, storage=storage, on_tried=rows.append)
    assert len(rows) == 8
    assert len(again.trained) == 2  # the last mixed solve of either condition, and nothing else
    assert (whole.rows, whole.result.value) == (half.rows, half.result.value)
    other = run(EIGHT, budget="uniform:0,11", storage=storage)
    assert other.study != whole.study


@pytest.mark.parametrize("after", [0, 3])
def test_an_interrupt_ends_with_what_there_is_and_can_go_on(tmp_path, after):
    def interrupt(settings):
        if len(provider.trained) == after and len(settings) == 1:
            raise KeyboardInterrupt

    storage = str(tmp_path / "one.journal")
    provider = FakeProvider(EIGHT, on_outcomes=interrupt)
    if after == 0:
        with pytest.raises(KeyboardInterrupt):
            run(EIGHT, provider, storage=storage)
    else:
        stopped = run(EIGHT, provider, storage=storage)
        assert (stopped.interrupted, stopped.count("tried"), stopped.proved) == (True, after, False)
    whole = run(EIGHT, storage=storage)
    assert (whole.interrupted, whole.count("tried"), whole.proved) == (False, 8, True)
    assert whole.result.value == run(EIGHT).result.value


def test_what_a_killed_process_had_under_way_is_done_by_others(tmp_path):
    storage = str(tmp_path / "one.journal")
    name = run(EIGHT, trials=8, storage=str(tmp_path / "other.journal")).study
    parameters = [EIGHT.parameters(setting) for setting in EIGHT.settings(OTHERWISE)]
    study = open_study(name, storage)
    study.sampler = SettingsSampler(study, parameters, seed=0, target=8, in_order=True, pruning=False)
    left = study.ask(study.sampler.space)  # and dies
    provider = FakeProvider(EIGHT)
    found = run(EIGHT, provider, trials=8, storage=storage)
    assert found.study == name
    assert found.count("tried") == 8
    # The others come first: it might still be alive.
    assert EIGHT.parameters(provider.trained[7][0]) == left.params == parameters[0]


def test_a_fault_of_ours_is_no_finding(tmp_path):
    storage = str(tmp_path / "one.journal")
    provider = FakeProvider(EIGHT, on_outcomes=lambda settings: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(EIGHT, provider, storage=storage)
    assert run(EIGHT, storage=storage).count("tried") == 8


def test_a_storage_that_stops_answering_is_said(tmp_path):
    def fail(settings):
        raise StorageInternalError("commit failed")

    with pytest.raises(
        ExitSearchError,
        match=r"failed \(commit failed\); run the same command again to go on: what was finished is kept",
    ):
        run(EIGHT, FakeProvider(EIGHT, on_outcomes=fail))


def test_bad_heads_are_given_up_early_and_never_trained_to_the_end(tmp_path):
    """The exact values after an epoch rank the options: 2, 1, 3, 4. Hyperband keeps about a third at each rung."""
    knobs = Knobs.model_validate({"threads": [1, 2, 3], **FOUR_HEADS, "prune": True})
    storage = str(tmp_path / "one.journal")
    provider, rows = FakeProvider(knobs), []
    found = run(knobs, provider, storage=storage, on_tried=rows.append)
    assert found.count("pruned") > 0
    assert len(rows) == 12  # none twice, though Hyperband works in brackets
    assert found.count("pruned") + found.count("tried") == 12
    pruned = [row.setting for row in found.rows if row.state == "pruned"]
    tried = [row.setting for row in found.rows if row.state == "tried"]
    assert not [settings for settings in provider.trained if settings[0] in pruned and len(settings) == 1]
    ever = {k for settings in provider.trained for k in provider.ks(settings)}
    assert ever == set(provider.ks(tried))
    assert {epoch for _, epoch in provider.looked} <= {1, 3}
    assert not found.proved
    assert all(row.value < found.result.value for row in found.rows if row.state == "pruned")
    # With fewer trials than settings, TPE draws within a bracket, and still none is drawn twice.
    rows.clear()
    run(knobs.model_copy(update={"prune": None}), trials=9, on_tried=rows.append)
    assert len({str(row.setting) for row in rows}) == len(rows) == 9
    # Asked to try everything to the end, the same study tries again what it had given up, and proves the whole.
    whole = run(knobs.model_copy(update={"prune": False}), storage=storage)
    assert (whole.count("tried"), whole.proved, whole.study) == (12, True, found.study)


def test_pruning_is_for_what_is_trained():
    knobs = Knobs.model_validate({"runtime": ["eager", "compile"], "prune": True})
    provider = FakeProvider(knobs)
    assert run(knobs, provider).proved
    assert provider.looked == []


def test_with_batch_sizes_a_budget_is_for_one_input():
    """A batch of 8 takes 8 times as long here, so it is worth the same; as the only batch size it is worth less."""
    knobs = Knobs.model_validate({"batch_size": [1, 8]})
    limits = Limits(min_value_at=["50%=0.4"], max_energy=20)
    found = run(knobs, limits=limits, budget="uniform:10%,100%")
    assert found.rows[0].value == pytest.approx(found.rows[1].value)
    assert found.result.config.budget == "uniform:0.8,8"
    assert (found.result.problem.limits["energy"], found.result.problem.min_values) == (20, ((4.0, 0.4),))
    eight = run(Knobs.model_validate({"batch_size": [8]}), limits=limits, budget="uniform:10%,100%")
    assert eight.result.config.budget == "uniform:6.4,64"
    assert (eight.result.problem.limits["energy"], eight.result.problem.min_values) == (160, ((32.0, 0.4),))
    # With threads alone among the knobs, a budget is for one batch, as ever.
    plain = Knobs.model_validate({"threads": [1, 2]})
    otherwise = OTHERWISE.model_copy(update={"batch_size": 8})
    found = run(plain, otherwise=otherwise, budget="uniform:10%,100%", trials=2)
    assert found.result.config.budget == "uniform:6.4,64"


def test_shares_are_of_the_first_setting():
    """A slower setting gets no more time for being slow."""
    knobs = Knobs.model_validate({"runtime": ["eager", "onnxruntime"]})
    found = run(knobs, budget="uniform:10%,100%")
    assert found.result.config.budget == "uniform:0.8,8"
    assert found.setting.runtime == "eager"
    assert found.rows[1].value < found.rows[0].value


def test_a_profile_made_anew_is_said(tmp_path):
    storage = str(tmp_path / "one.journal")
    knobs = Knobs.model_validate({"threads": [1, 2]})
    run(knobs, storage=storage)

    class Slower(FakeProvider):
        def profile(self, setting):
            return super().profile(setting.model_copy(update={"runtime": "onnxruntime"}))

    found = run(knobs, Slower(knobs), storage=storage)
    assert any("made anew since" in note for note in found.result.notes)


def test_a_floor_is_for_whole_trainings():
    """After one epoch every head is worth a tenth of what it is worth in the end, and misses the floor."""
    knobs = Knobs.model_validate({"threads": [1, 2, 3], **FOUR_HEADS, "prune": True})
    provider = FakeProvider(knobs)
    found = run(knobs, provider, limits=Limits(min_value_at=["4ms=0.3"]))
    assert provider.looked
    assert (found.count("impossible"), found.count("tried") + found.count("pruned")) == (0, 12)
    assert found.result.problem.min_values == ((4.0, 0.3),)


def test_what_one_setting_alone_has_may_be_forbidden_in_all():
    found = run(EIGHT, limits=Limits(forbid=["0:b(k=2)"]))
    assert (found.count("tried"), found.proved) == (8, True)
    assert (0, "b(k=2)") not in [(e.placement, str(e.choice)) for e in found.result.config.exits]
    assert found.result.value < run(EIGHT).result.value
    with pytest.raises(InputError, match=r"0:b\(k=9\) is no candidate"):
        run(EIGHT, limits=Limits(forbid=["0:b(k=9)"]))


@pytest.mark.parametrize("error", [ExitSearchError("ended by signal 9"), FileError("p.json", "no such file")])
def test_what_failed_is_tried_again_and_forbids_a_proof(tmp_path, error):
    storage = str(tmp_path / "one.journal")

    def fail(settings):
        if settings[0].runtime == "eager":
            raise error

    rows = []
    found = run(EIGHT, FakeProvider(EIGHT, on_outcomes=fail), storage=storage, on_tried=rows.append)
    assert [row.state for row in rows] == ["failed"] * 4 + ["tried"] * 4  # once each, and no more in this run
    assert (found.count("failed"), found.count("tried"), found.proved) == (4, 4, False)
    assert found.result.config.setting.tried == 4
    assert any(str(error) in note for note in found.result.notes)
    assert any("4 failed" in line for line in lines(found))
    again = run(EIGHT, storage=storage)
    assert (again.study, again.count("failed"), again.count("tried"), again.proved) == (found.study, 0, 8, True)


def test_nothing_but_failures_is_a_failure():
    def fail(settings):
        raise ExitSearchError("ended by signal 9")

    with pytest.raises(ExitSearchError, match=r"no setting was tried to the end; .* signal 9; run the same") as error:
        run(EIGHT, FakeProvider(EIGHT, on_outcomes=fail))
    assert not isinstance(error.value, InputError)


@pytest.mark.parametrize(("bound", "proved"), [(0.7, False), (0.6, True)])
def test_a_condition_that_may_be_worth_more_forbids_the_proof(monkeypatch, bound, proved):
    """The solve of the worse condition over the heads of all settings ends without a proof."""
    assert run(EIGHT).proved

    def bounded(profile, outcomes, request, **options):
        found = search_request(profile, outcomes, request, **options)
        if len(request.candidates.space_heads) == 1 or profile.environment.identity["runtime"] == "compile":
            return found
        optimum = found.config.optimum.model_copy(update={"exact": False, "value": bound})
        return replace(found, config=found.config.model_copy(update={"optimum": optimum}))

    monkeypatch.setattr(settings_module, "search_request", bounded)
    found = run(EIGHT)
    assert (found.setting.runtime, found.proved) == ("compile", proved)


def test_another_trace_of_the_same_name_is_another_study(tmp_path):
    names = []
    for folder, budget in (("a", 5), ("b", 6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "budgets.csv").write_text(f"budget_ms\n{budget}\n9\n")
        names.append(run(EIGHT, budget=f"trace:{tmp_path / folder / 'budgets.csv'}").study)
    assert names[0] != names[1]


def test_processes_share_the_settings(tmp_path: Path):
    storage, log = str(tmp_path / "one.journal"), tmp_path / "log"
    open_study("made before", storage)
    workers = [
        subprocess.Popen(
            [sys.executable, str(HERE / "settings_worker.py"), storage, str(log)],
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert answers[0][0].startswith("8 True")
    # At most the last one each was done twice.
    assert 8 <= len(log.read_text().split()) <= 9

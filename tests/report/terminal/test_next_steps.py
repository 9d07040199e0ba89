"""What to do next, after every command: commands that the parser takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from rendering import toy_profile, toy_result

from exitsearch.cli.main import build_parser
from exitsearch.report.terminal import next_steps
from exitsearch.report.terminal.budgets import asked_budget
from exitsearch.specs.backbone import EMBEDDED_NAME


def parsed(text):
    name, *words = shlex.split(text)
    assert name == "exitsearch"
    return build_parser().parse_args(words)


def of(document, name):
    return document.model_copy(update={"backbone": document.backbone.model_copy(update={"name": name})})


def test_after_a_profile_the_search_that_finds_it():
    """Of the embedded model nothing more need be named; of another the data; elsewhere the file."""
    timed = of(toy_profile(), EMBEDDED_NAME)
    assert next_steps.after_profile(timed, None) == "exitsearch search --budget-dist uniform:10%,100%"
    found = parsed(next_steps.after_profile(toy_profile(), Path("my profiles/a.json")))
    assert (found.profile, found.data) == ("my profiles/a.json", "FOLDER")
    untimed = {"segments": [s.model_copy(update={"latency_ms": None}) for s in timed.segments]}
    untimed["final"] = timed.final.model_copy(update={"latency_ms": None})
    counted = timed.model_copy(update=untimed)
    assert "without --counts-only" in next_steps.after_profile(counted, None)


def test_after_a_search_the_training(tmp_path):
    config = toy_result(tmp_path).config
    assert parsed(next_steps.after_search(config, Path("out/chosen.json"))).data == "FOLDER"
    assert parsed(next_steps.after_search(config, Path("out/chosen.json"), data="my images")).data == "my images"
    embedded = next_steps.after_search(of(config, EMBEDDED_NAME), Path("out/chosen.json"))
    assert embedded == "exitsearch train --config out/chosen.json"
    nameless = parsed(next_steps.after_search(of(config, None), Path("c.json"), profile="p.csv", outcomes="v.csv"))
    assert (nameless.profile, nameless.outcomes) == ("p.csv", "v.csv")


def test_the_others_are_commands_too():
    assert parsed(next_steps.after_heads(Path("bank"))).outcomes == "bank"
    assert parsed(next_steps.after_heads(None)).outcomes is None
    assert parsed(next_steps.after_train(Path("trained"))).weights == Path("trained")
    assert parsed(next_steps.after_export(Path("b"), data="digits")).data == "digits"
    assert parsed(next_steps.after_verify(Path("b"), within=True)).bundle == Path("b")
    assert "export again" in next_steps.after_verify(Path("b"), within=False)


@pytest.mark.parametrize("what", ["heads", "placements", "budgets", "models", "recipes"])
def test_what_was_listed_is_used(what):
    assert parsed(next_steps.after_list(what, None))
    assert next_steps.after_list("placements", "resnet18").startswith("exitsearch profile --model resnet18 ")


def test_budgets_as_they_were_given(tmp_path):
    """The full model takes 8 ms."""
    config = toy_result(tmp_path, budget="uniform:10%,33.3%").config
    assert asked_budget(config) == "uniform:10%,33.3% (uniform:0.8,2.664 ms)"
    assert asked_budget(config, full_ms=8.0) == "uniform:10%,33.3% of the full model's 8 ms (uniform:0.8,2.664 ms)"
    exact = toy_result(tmp_path / "other", budget="uniform:0,10").config
    assert asked_budget(exact, full_ms=8.0) == "uniform:0,10 ms"
    old = config.model_copy(update={"request": None, "budget": "uniform:0.321999404307,3.21999404307"})
    assert asked_budget(old) == "uniform:0.322,3.22 ms"

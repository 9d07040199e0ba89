"""The commands of the page ask what was asked: read by the command's own parser, they give the same request."""

from __future__ import annotations

import shlex

import pytest
from reading import searched
from rendering import toy_outcomes, toy_profile, toy_result

from exitsearch.cli import options
from exitsearch.cli.main import build_parser
from exitsearch.report.html.search.commands import commands, search_line

ASKED = [
    {},
    {"policy": "contract", "max_exits": 1, "budget": "uniform:10%,100%"},
    {"policy": "confidence", "score": "margin", "quantile": 0.9, "trials": 3},
    {"heads": "a,b(k=2)", "placements": "0,1", "fallback": 0.1, "seed": 7},
    {"objectives": ("value", "params"), "max_extra_params": 25, "force": ["0:a"], "forbid": ["1"]},
    {"min_value_at": ["5ms=0.5", "50%=0.1"], "metric": "accuracy", "placements": "0-1"},
    {"budget": "mix:0.7*uniform:1,4+0.3*point:6"},
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: " ".join(asked))
def test_the_same_request(asked, tmp_path):
    result = toy_result(tmp_path, **asked)
    one = searched(result, toy_profile(), toy_outcomes(tmp_path / "outcomes"), profile_source="a profile.json")
    known = result.config.request
    words = shlex.split(search_line(one, known))
    args = build_parser().parse_args(words[1:])
    again = options.read_request(args, None, None)
    assert again.model_dump() == known.question.model_dump()
    assert (args.profile, args.trials, args.seed) == ("a profile.json", known.trials, known.seed)


def test_files_that_the_request_does_not_hold(tmp_path):
    result = toy_result(tmp_path)
    one = searched(
        result, toy_profile(), toy_outcomes(tmp_path / "outcomes"), space="my space.toml", plugin="heads.py",
        worth=["--class-weights", "w.csv"], out="out", profile_source="p.json", outcomes_source="o",
    )  # fmt: skip
    section = commands(one)
    line = next(c.line for c in section.commands if c.line.startswith("exitsearch search"))
    args = build_parser().parse_args(shlex.split(line)[1:])
    assert (str(args.space), str(args.plugin), str(args.class_weights)) == ("my space.toml", "heads.py", "w.csv")
    check = section.commands[-1].line
    assert check == "exitsearch check out/chosen.json --profile p.json --outcomes o --class-weights w.csv"


def test_how_it_was_measured(tmp_path):
    profile = toy_profile()
    identity = {"device": "cpu", "dtype": "fp32", "batch_size": 1, "runtime": "eager", "threads": 2}
    profile = profile.model_copy(
        update={
            "environment": profile.environment.model_copy(update={"identity": identity}),
            "protocol": {"max_seconds": 30.0, "seed": 3},
        }
    )
    one = searched(toy_result(tmp_path), profile, toy_outcomes(tmp_path / "outcomes"))
    line = commands(one).commands[0].line
    args = build_parser().parse_args(shlex.split(line)[1:])
    assert (args.model, args.device, args.threads, args.max_seconds, args.seed) == ("toy", "cpu", 2, 30.0, 3)
    assert args.heads == "a,b(k=2)"

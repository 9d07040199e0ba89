"""Tables of costs and values that are not of the same exits: said, or refused where most is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exitsearch.cli.main import main
from exitsearch.errors import InputError
from exitsearch.search.build import build_problem
from exitsearch.specs import Outcomes, Profile
from exitsearch.specs.question.request import SearchRequest
from exitsearch.specs.question.space import SearchSpace

COUNT = 12
Pair = tuple[int, str]


def costs(tmp_path: Path, pairs: list[Pair]) -> Profile:
    rows = [f"segment,{place},,1" for place in range(COUNT)] + [f"head,{place},{head},0.1" for place, head in pairs]
    path = tmp_path / "costs.csv"
    path.write_text("\n".join(["part,placement,head,latency_ms", *rows, "final,,,1"]))
    return Profile.from_costs_csv(path)


def values(tmp_path: Path, pairs: list[Pair]) -> Outcomes:
    rows = [f"{place},{head},{0.5 + place / 50}" for place, head in pairs]
    path = tmp_path / "values.csv"
    path.write_text("\n".join(["placement,head,value", *rows, "final,,0.9"]))
    return Outcomes.from_values_csv(path)


def every(head: str = "linear", *, start: int = 0, step: int = 1) -> list[Pair]:
    return [(place, head) for place in range(start, start + COUNT, step)]


def noted(tmp_path: Path, mine: list[Pair], theirs: list[Pair], **options: object) -> list[str]:
    return build_problem(
        costs(tmp_path, mine), values(tmp_path, theirs), SearchRequest.asked(budget="uniform:0,20", **options)
    )[1]  # type: ignore[arg-type]


def test_tables_that_match_are_not_worth_a_word(tmp_path: Path) -> None:
    assert noted(tmp_path, every(), every()) == []


def test_a_table_that_counts_from_1(tmp_path: Path) -> None:
    (note,) = noted(tmp_path, every(), every(start=1))
    assert "1 of 12 values have no cost in the profile (linear at placement 12)" in note
    assert "1 of 12 heads of the profile have no value (linear at placement 0)" in note
    assert "placements are numbered from 0, and it looks as if the table of values counts from 1" in note


def test_the_command_says_so_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    costs(tmp_path, every())
    values(tmp_path, every(start=1))
    tables = ["--profile", "costs.csv", "--outcomes", "values.csv"]
    assert main(["search", "--budget-dist", "uniform:0,20", *tables, "--trials", "0", "--json"]) == 0
    captured = capsys.readouterr()
    assert "the table of values counts from 1" in " ".join(captured.err.split())
    assert any("counts from 1" in note for note in json.loads(captured.out)["notes"])


def test_half_is_said_without_a_guess(tmp_path: Path) -> None:
    (note,) = noted(tmp_path, every(step=2), every())
    assert note == "6 of 12 values have no cost in the profile (for example linear at placement 11): left out"
    (note,) = noted(tmp_path, every(), every(step=3))
    assert note == "8 of 12 heads of the profile have no value (for example linear at placement 11): left out"


def test_most_rows_lost_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        noted(tmp_path, every(step=3), every())
    assert "most values of the heads that both tables name cannot be used: 8 of 12 values have no cost" in str(
        caught.value
    )
    assert "say with --placements and --heads what is meant" in str(caught.value)
    assert noted(tmp_path, every(step=3), every(), placements="0,3,6,9") == []


@pytest.mark.parametrize(("mine", "theirs", "table"), [(2, 3, "values"), (3, 2, "costs")])
def test_a_shift_is_guessed_where_little_or_nothing_fits(tmp_path: Path, mine: int, theirs: int, table: str) -> None:
    guess = f"placements are numbered from 0, and it looks as if the table of {table} counts from 1"
    first = [(place, "linear") for place in range(mine, COUNT, 3)]
    second = [(place, "linear") for place in range(theirs, COUNT, 3)]
    with pytest.raises(InputError, match=f"no exit head is left .*{guess}"):
        noted(tmp_path, first, second)
    with pytest.raises(InputError, match=f"most values .*{guess}"):
        noted(tmp_path, [*first, (0, "linear")], [*second, (0, "linear")])


def test_heads_that_only_one_table_has(tmp_path: Path) -> None:
    (note,) = noted(tmp_path, every(), [*every(), *every("gah"), *every("lph")])
    assert note == "24 of 36 values have no cost in the profile (for example lph at placement 11): left out"
    assert noted(tmp_path, every(), [*every(), *every("gah")], heads=["linear"]) == []
    space = SearchSpace.parse({"schema_version": 1, "heads": [{"type": "linear"}]}, "space.toml")
    assert noted(tmp_path, every(), [*every(), *every("gah")], space=space) == []


def test_documents_of_ones_own_may_differ_on_purpose(tmp_path: Path) -> None:
    profile, outcomes = costs(tmp_path, every(step=3)), values(tmp_path, every())
    measured = profile.model_copy(update={"verdict": profile.verdict.model_copy(update={"status": "ok"})})
    data = outcomes.model_dump()
    data["splits"] = {"choice": 10}
    for part in (*data["heads"], data["final"]):
        part["scores"] = {"choice": part["scores"]["given"]}
    trained = Outcomes.parse(data, "outcomes.json")
    assert build_problem(measured, trained, SearchRequest.asked(budget="uniform:0,20"))[1] == []
    # A placement that the backbone does not have is a slip all the same.
    data["heads"].append({**data["heads"][0], "placement": COUNT})
    (note,) = build_problem(
        measured, Outcomes.parse(data, "outcomes.json"), SearchRequest.asked(budget="uniform:0,20")
    )[1]
    assert note.startswith("1 of 13 values have no cost in the profile (linear at placement 12)")

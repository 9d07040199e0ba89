"""The front of several objectives as shown and written: value and parameters of three points known by hand."""

from __future__ import annotations

import json

import pytest
from rendering import WIDTHS, columns, columns_of, sentences, shown, toy_result

import exitsearch
from exitsearch.report.terminal import choice, front


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return toy_result(tmp_path_factory.mktemp("toy"), objectives=("value", "params"))


def test_rows_by_hand(found):
    """Both heads a: 0.48 with 20 parameters; the first alone 0.45 with 10; none 0.18 with none."""
    assert front.front_rows(found.front) == [
        {"file": "front/01.json", "value": "0.4800", "params": "20", "held out": "0.3800", "proved": "yes",
         "exits": "0:a  1:a"},
        {"file": "front/02.json", "value": "0.4500", "params": "10", "held out": "0.3800", "proved": "yes",
         "exits": "0:a"},
        {"file": "front/03.json", "value": "0.1800", "params": "0", "held out": "0.1600", "proved": "yes",
         "exits": "none"},
    ]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(found, width):
    text = shown(*front.front_table(found.front), width=width)
    assert text.startswith("The front (3 of 3 points, each a file)")
    assert columns(text) == columns_of(front.front_rows(found.front))
    for sentence in front.front_lines(found.front):
        assert sentence in sentences(text)


def test_sentences(found, tmp_path):
    assert front.front_lines(found.front) == [
        "3 points that nothing found beats in all of value, params; 3 are proved: no choice that costs no more is "
        "worth more. There are no others."
    ]
    tried = toy_result(tmp_path, objectives=("value", "params"), trials=5)
    assert front.front_lines(tried.front)[-1].startswith("Optuna: 5 trials in study ")


def test_a_search_for_one_objective_has_no_front(tmp_path):
    result = toy_result(tmp_path)
    assert front.front_table(result.front) == []
    assert "front" not in shown(choice.renderable(result))


def test_many_points_are_thinned_on_the_terminal(found, monkeypatch):
    """The ends stay."""
    monkeypatch.setattr(front, "_SHOWN", 2)
    text = shown(*front.front_table(found.front))
    assert "The front (2 of 3 points, each a file)" in text
    assert columns(text)["file"] == "front/01.jsonfront/03.json"


def test_units_stand_in_the_headings(tmp_path):
    result = toy_result(tmp_path, objectives=("value", "time"))
    assert "time (ms)" in front.front_rows(result.front)[0]


def test_the_summary_is_json_and_says_the_same(found):
    summary = json.loads(json.dumps(choice.summary(found), allow_nan=False))["front"]
    assert (summary["objectives"], summary["complete"], summary["study"]) == (["value", "params"], True, None)
    assert [point["params"] for point in summary["points"]] == [20, 10, 0]
    assert [point["value"] for point in summary["points"]] == pytest.approx([0.48, 0.45, 0.18])
    assert summary["points"][0]["exits"] == [[0, "a"], [1, "a"]]
    assert summary["points"][2]["file"] == "front/03.json"


def test_every_point_is_a_file_and_those_of_an_earlier_front_go(found, tmp_path):
    folder = tmp_path / "front"
    folder.mkdir()
    for name in ("04.json", "99.json", "100.json", "notes.json", "1a.json"):
        (folder / name).write_text("{}")
    assert front.write_front(found.front, tmp_path) == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "01.json", "02.json", "03.json", "1a.json", "notes.json"
    ]  # fmt: skip
    for row, name in zip(found.front.rows, ("01.json", "02.json", "03.json"), strict=True):
        config = exitsearch.load_config(folder / name)
        assert config == row.config
        assert config.expected.value == pytest.approx(row.amounts["value"])
    front.remove_front(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["1a.json", "notes.json"]


def test_files_sort_as_their_numbers_do():
    names = [front.file_name(number) for number in range(1, 100)]
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("01.json", "99.json")

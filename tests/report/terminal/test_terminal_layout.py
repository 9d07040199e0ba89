"""Tables at any width: what gives way, in which order, and that it is said."""

from __future__ import annotations

import pytest
from rendering import columns, columns_of, sentences, shown
from rich.text import Text

from exitsearch.report.terminal.layout import (
    FirstThatFits,
    InParts,
    bullets,
    entries_table,
    facts_table,
    rows_table,
    spaced,
)

HEADS = ("lph", "gah", "mlp_ee", "cnn_ignore_ee", "cnn_add_ee", "cnn_project_ee", "vit_ee", "mlp_mixer_ee")
HEADS += ("resmlp_ee", "linear", "mlp", "conv")
WORDS = "convolution over the patch tokens, no class token"


def matrix(rows=3):
    return [{"placement": str(place)} | dict.fromkeys(HEADS, f"{place}.12345") for place in range(rows)]


def test_numbers_stand_right_and_names_left():
    rows = [{"name": "a", "ms": 1.5, "share": "5.0%"}, {"name": "long", "ms": 10.25, "share": "12.5%"}]
    assert [line.rstrip() for line in shown(rows_table("Rows", rows), width=40).splitlines()] == [
        "Rows",
        "name     ms  share",
        "───── ────── ─────",
        "a      1.50   5.0%",
        "long  10.25  12.5%",
    ]


def test_headings_wrap_before_anything_is_left_out():
    rows = [{"placement": "0", "answers at ms": "1.25", "cnn_project_ee": "0.5"}]
    text = shown(rows_table("Rows", rows, lesser=("answers at ms",)), width=30)
    assert [line.split() for line in text.splitlines()[1:4]] == [
        ["cnn_"],
        ["answers", "project_"],
        ["placement", "at", "ms", "ee"],
    ]
    assert columns(text) == columns_of(rows)
    assert "too narrow" not in text


def test_the_lesser_columns_go_in_their_order_and_are_named():
    rows = [{"placement": "0", "module": "layers.2.blocks.5", "p90": "1.234567", "ms": "1.234"}]
    table = rows_table("Rows", rows, lesser=("p90", "module"))
    assert columns(shown(table, width=45)) == columns_of(rows)
    narrower = shown(table, width=40)
    assert narrower.splitlines()[-1] == "(40 columns are too narrow for: p90)"
    assert set(columns(narrower)) == {"placement", "module", "ms"}
    assert sentences(shown(table, width=30)).endswith("(30 columns are too narrow for: module, p90)")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_prose_wraps_and_loses_no_word(width):
    rows = [{"head": "cnn_ignore_ee", "description": WORDS, "source": WORDS, "params": "12345678"}]
    text = shown(rows_table("Heads", rows), width=width)
    assert columns(text) == columns_of(rows)
    assert any("12345678" in line for line in text.splitlines())


def test_what_cannot_fit_is_broken_rather_than_cut():
    rows = [{"name": "a_very_long_name_of_a_head", "digits": "1" * 30}]
    assert columns(shown(rows_table("Rows", rows), width=24)) == columns_of(rows)


def test_the_first_form_that_fits():
    wide, narrow = rows_table("wide", matrix()), rows_table("narrow", [{"head": "linear", "median": "0.1"}])
    forms = FirstThatFits(wide, narrow)
    assert wide.fits(wide.least_width())
    assert not wide.fits(wide.least_width() - 1)
    assert shown(forms, width=wide.least_width()).startswith("wide")
    assert shown(forms, width=wide.least_width() - 1).startswith("narrow")
    assert shown(forms, width=10).startswith("narrow")


@pytest.mark.parametrize(("width", "parts"), [(40, 4), (80, 2), (200, 1)])
def test_parts_hold_every_column_once_and_the_first_in_each(width, parts):
    rows = matrix(24)
    text = shown(InParts(rows_table("Scores", rows)), width=width)
    assert text.count("Scores") == text.count("placement") == parts
    assert (f"Scores (1 of {parts})" in text) == (parts > 1)
    assert columns(text) == columns_of(rows)


def test_facts_and_entries_wrap_beside_their_names():
    text = shown(facts_table("Facts", {"cpu": "x " * 30, "cores": 2}), width=40)
    assert text.splitlines()[0].rstrip() == "Facts"
    assert [line[:7].strip() for line in text.splitlines()[1:]] == ["cpu", "", "cores"]
    text = shown(entries_table("Heads", {"linear": ["one linear layer", "options: pool=token"]}), width=40)
    assert [line.rstrip() for line in text.splitlines()] == [
        "Heads", "linear  one linear layer", "        options: pool=token"
    ]  # fmt: skip


def test_sentences_keep_their_words_and_markup_is_text():
    text = shown(bullets(["one [bold]sentence[/bold] that is a little longer", "another"]), width=24)
    assert "[bold]sentence[/bold]" in text
    assert [line[:2] for line in text.splitlines()].count("- ") == 2


def test_an_empty_line_stands_between_tables_and_lines():
    table, other = Text("table"), Text("other")
    assert spaced("a", "b", table, other, "c") == ["a", "b", "", table, "", other, "", "c"]
    assert spaced("a", "", table) == ["a", "", table]
    assert spaced() == []

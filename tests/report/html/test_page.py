"""Pages: self-contained, text as text, data as data, the same for the same, whole or not at all."""

from __future__ import annotations

import base64
import gzip
import json
import re
from importlib import resources

import pytest
from reading import ReadPage

from exitsearch.errors import FileError
from exitsearch.report.html import page as pages
from exitsearch.report.html.charts.chart import (
    Bar,
    Bars,
    Compared,
    Figure,
    Flag,
    Grid,
    Line,
    Lines,
    Reading,
    Readings,
    Span,
)
from exitsearch.report.html.page import Column, Command, Fact, Page, Section, Table, embedded_json, write_page

STRANGE = '</script><script>alert("1")</script> & <b>bold</b> %{x} \u2028'


def strange_figures():
    """One figure of every kind, with a name in every place that takes text."""
    return [
        Figure("lines", STRANGE, STRANGE, STRANGE, Lines(STRANGE, STRANGE, [Line(STRANGE, [0], [1], "choice")])),
        Figure("bars", STRANGE, STRANGE, STRANGE, Bars(
            STRANGE, [Bar(STRANGE, [Span(0, 1, "first", STRANGE, STRANGE)], [Flag(1, STRANGE, STRANGE)])],
            [("first", STRANGE)])),
        Figure("grid", STRANGE, STRANGE, STRANGE, Grid(
            STRANGE, STRANGE, [STRANGE], [STRANGE], [[1.0]], [[STRANGE]], STRANGE, [(0, 0)])),
        Figure("compared", STRANGE, STRANGE, STRANGE, Compared(
            STRANGE, [STRANGE], [Readings(STRANGE, "choice", "circle", [Reading(1.0, STRANGE)])])),
    ]  # fmt: skip


def strange_page(figures=()):
    return Page(
        title=STRANGE,
        sentence=STRANGE,
        about=STRANGE,
        facts=[Fact(STRANGE, STRANGE, STRANGE)],
        warnings=[STRANGE],
        sections=[
            Section(
                key="one",
                title=STRANGE,
                text=[STRANGE],
                warnings=[STRANGE],
                figures=figures,
                tables=[Table(STRANGE, [Column(STRANGE, tells=STRANGE)], [[STRANGE]])],
                facts=[(STRANGE, STRANGE)],
                commands=[Command(STRANGE, STRANGE)],
            )
        ],
    )


def texts(data):
    """Every text in some data."""
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [text for inner in data.values() for text in texts(inner)]
    return [text for inner in data for text in texts(inner)] if isinstance(data, list) else []


def test_text_of_the_user_is_text(tmp_path):
    read = ReadPage(write_page(strange_page(strange_figures()), tmp_path / "p.html").read_text())
    # Data, library, and the page's own script: what the text would open is none of them.
    assert read.tags.count("script") == 3
    assert "b" not in read.tags
    assert list(read.tables) == [STRANGE]
    assert read.tables[STRANGE] == [[STRANGE], [STRANGE]]
    assert len(read.labels) == 4
    assert set(read.labels) == {STRANGE}
    # Plotly reads a few tags in its texts: names come to it escaped.
    assert not [text for text in texts(read.figures) if "<script" in text or "<b>" in text]
    assert any("&lt;b&gt;bold" in text for text in texts(read.figures))


def test_nothing_is_loaded(tmp_path):
    read = ReadPage(write_page(strange_page(strange_figures()), tmp_path / "p.html").read_text())
    assert [url for url in read.references if not url.startswith(("#", "data:"))] == []
    assert not {"img", "iframe", "object", "embed", "audio", "video"} & set(read.tags)
    (policy,) = read.policies
    # Nothing may be asked for, whatever a script tries: no connection, font, frame or picture but of the page itself.
    assert policy.split("; ")[0] == "default-src 'none'"
    assert not re.search(r"https?:|\*|'self'|connect-src|unsafe-eval", policy)


def test_the_library_is_that_of_the_package(tmp_path):
    text = write_page(strange_page(strange_figures()), tmp_path / "p.html").read_text()
    packed = re.search(r'id="library">([^<]*)<', text)[1]
    library = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    assert gzip.decompress(base64.b64decode(packed)) == library
    assert len(text) < len(library) / 2


def test_a_page_without_figures_has_no_library(tmp_path):
    text = write_page(strange_page(), tmp_path / "p.html").read_text()
    assert len(text) < 40_000
    assert ReadPage(text).tags.count("script") == 1


def test_every_colour_of_a_figure_is_one_of_the_page(tmp_path):
    text = write_page(strange_page(strange_figures()), tmp_path / "p.html").read_text()
    used = {word for word in texts(ReadPage(text).figures) if word.startswith("--")}
    assert {"--choice", "--first", "--text", "--grid"} <= used
    light, dark = text.split("prefers-color-scheme: dark", 1)
    for name in used:
        assert f"{name}: " in light
        assert f"{name}: " in dark


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "a & b", "\u2028\u2029", 'quote " and \\'])
def test_embedded_data_is_read_back(text):
    packed = embedded_json({text: [text]})
    assert json.loads(packed) == {text: [text]}
    assert not set(packed) & set("<>&\u2028\u2029")


def test_numbers_that_are_none_are_refused():
    with pytest.raises(ValueError, match="Out of range"):
        embedded_json([float("nan")])


def test_cells_are_written_by_their_column():
    table = Table("t", [Column("name"), Column("value", ".4f"), Column("count", "d")], [])
    assert [table.written(at, cell) for at, cell in enumerate(("a", 0.12345, 3))] == ["a", "0.1235", "3"]
    assert table.written(1, None) == ""
    assert table.written(2, "final") == "final"


def test_a_cell_keeps_its_number_for_sorting(tmp_path):
    table = Table("t", [Column("value", ".2f")], [[0.123456], [None]])
    text = write_page(
        Page("p", "s", "a", sections=[Section("k", "t", tables=[table])]), tmp_path / "p.html"
    ).read_text()
    assert 'data-value="0.123456">0.12<' in text
    assert text.count("data-value=") == 1


def test_the_same_page_is_the_same_file(tmp_path):
    one, other = (write_page(strange_page(strange_figures()), tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == other.read_bytes()


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written"):
        write_page(strange_page(), tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert pages.plotly_library.cache_info().currsize <= 1

"""The HTML report: all of its figures, nothing loaded from elsewhere, the user's text as text, whole or not at all."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from rendering import sentences, toy_result

from exitsearch.errors import FileError
from exitsearch.report import html
from exitsearch.report.terminal import choice, front

# What a browser loads by itself, or runs.
LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """A page as a browser takes it: text, tables, and everything that it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.references, self.text = [], [], [], []
        self.tables, self.curves = {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.references += [value for name, value in attributes if name in LOADING]
        self.references += [value[4:] for _, value in attributes if value and value.startswith("url(")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag == "table":
            self.title, self.rows = "", []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.title] = self.rows

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "style":
            assert "url(" not in data.replace("url(#", "")
            assert "@import" not in data
        elif inside == "caption":
            self.title += data
        elif inside in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.text.append(data)

    def handle_comment(self, data):
        # Words of a figure are drawn as shapes; what they say stands beside them as a comment.
        self.curves.append(data.strip())


def page_of(result, path, **more):
    page = Page(html.write_report(result, path, **more).read_text())
    assert page.open == []
    return page


def table_of(rows):
    return [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return {
        "interruptible": toy_result(folder / "i"),
        "contract": toy_result(folder / "c", policy="contract"),
        "confidence": toy_result(folder / "k", policy="confidence"),
        "front": toy_result(folder / "f", objectives=("value", "params")),
    }


@pytest.mark.parametrize("name", ["interruptible", "contract", "confidence", "front"])
def test_all_figures_and_nothing_from_elsewhere(results, name, tmp_path):
    result = results[name]
    page = page_of(result, tmp_path / "report.html")
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert [reference for reference in page.references if not reference.startswith("#")] == []
    assert page.tags.count("svg") == 1
    assert page.tables["The choice"] == table_of(choice.choice_rows(result))
    assert page.tables["Beside the baselines"] == table_of(choice.baseline_rows(result))
    text = sentences(" ".join(page.text))
    for line in choice.lines(result):
        assert line in text
    assert f"Budgets uniform:0,10 ms , policy {result.config.policy} ," in text
    assert result.config.profile["identity"] in text
    assert result.config.outcomes["identity"] in text


def test_what_a_policy_adds(results, tmp_path):
    confident = page_of(results["confidence"], tmp_path / "k.html")
    assert confident.tables["Operating points"] == table_of(choice.point_rows(results["confidence"]))
    plain = page_of(results["interruptible"], tmp_path / "i.html")
    assert plain.tables["What each further exit buys"] == [
        ["at most exits", "best expected value"], ["0", "0.1800"], ["1", "0.4500"], ["2", "0.4800"]
    ]  # fmt: skip
    several = page_of(results["front"], tmp_path / "f.html")
    assert several.tables["The front"] == table_of(front.front_rows(results["front"].front))
    assert front.front_lines(results["front"].front)[0] in sentences(" ".join(several.text))


def test_the_figure_names_its_curves(results, tmp_path):
    plain = page_of(results["interruptible"], tmp_path / "i.html").curves
    assert {"the choice", "backbone alone", "best single exit", "budget (ms)", "accuracy"} <= set(plain)
    confident = page_of(results["confidence"], tmp_path / "k.html").curves
    assert {"the choice, interrupted", "the choice, by confidence"} <= set(confident)


def test_lines_and_tables_of_the_caller_stand_first(results, tmp_path):
    rows = [{"setting": "fp32", "value": 0.5}]
    page = page_of(results["interruptible"], tmp_path / "r.html", lines=["Setting: fp32."], tables=[("Tried", rows)])
    assert next(iter(page.tables)) == "Tried"
    assert page.tables["Tried"] == [["setting", "value"], ["fp32", "0.5"]]
    text = " ".join(page.text)
    assert text.index("Setting: fp32.") < text.index("Expected accuracy")


def test_text_of_the_user_is_text(tmp_path):
    strange = '<script>alert("1")</script> & <b>bold</b>'
    result = toy_result(tmp_path, source=strange)
    page = page_of(result, tmp_path / "report.html", lines=[strange], tables=[(strange, [{strange: strange}])])
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert page.tables[strange] == [[strange], [strange]]
    assert sentences(" ".join(page.text)).count(strange) == 2


def test_notes_are_shown(results, tmp_path):
    result = toy_result(tmp_path, budget="uniform:20,30")
    assert result.notes
    text = sentences(" ".join(page_of(result, tmp_path / "report.html").text))
    assert all(note in text for note in result.notes)


def test_the_same_search_writes_the_same_page(results, tmp_path):
    one, other = (html.write_report(results["interruptible"], tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == other.read_bytes()


def test_a_page_that_cannot_be_written_leaves_nothing(results, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot be written"):
        html.write_report(results["interruptible"], tmp_path / "file" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
